"""The dataset side of the made-up atlas: sixteen small images, hits that stick out of them, odd units, bad files."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np

from atlas_viewer.evidence.connections import CONNECTIONS
from atlas_viewer.evidence.dataset import DATASET, IMAGES
from atlas_viewer.evidence.statistics import STATISTICS
from atlas_viewer.evidence.tops import TOPS
from atlas_viewer.field import write_picture

COUNT, SIDE, RANKS = 16, 24, 3
CLASSES = ("tench, <i>Tinca</i>", "Schäferhund & Söhne", "", "空 sky")  # the third has no name
FRAMES = {"conv1": 5, "relu1": 5, "mixed/3a": 12, "fc8": 24}  # sides of windows; of fc8, the image's
EDGES = np.array([-np.inf, -4, -1, -0.001, 0.001, 1, 4, 16, 64, np.inf])
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAXIMA = np.linspace(2, 40, COUNT)  # of every ordinary unit, image by image


def write_dataset(file: h5py.File, *, pixels: str, shift: int) -> None:
    """The group of the dataset. shift : is added to the images' levels, so that another number changes them all."""
    about = {"name": "odd <photos>", "kind": "tar", "digest": "f" * 64, "preprocess": "squash"}
    about |= {"reduced_decoding": True, "images": COUNT, "skipped": 2, "waiting": 3, "pixels": pixels}
    group = DATASET.create(file, about)
    DATASET["classes"].write(group, CLASSES)
    DATASET["skipped_key"].write(group, ("a/cut.jpg", "<b>.png"))
    DATASET["skipped_reason"].write(group, ("the file ends early", "the file is empty"))
    images = IMAGES.create(file, {})
    stored = image_pixels(shift)
    hashes = [list(hashlib.sha256(image.tobytes()).digest()) for image in stored]
    arrays = {
        "number": 10 * np.arange(COUNT),
        "key": [f"n{row}/<i>{row}.jpg" for row in range(COUNT)],
        "hash": np.array(hashes, "u1"),
        "label": [row % 4 if row else -1 for row in range(COUNT)],
        "placement": np.tile([10, 20, 58, 116], (COUNT, 1)),  # two pixels a row, four a column
        "size": np.tile([70, 140], (COUNT, 1)),
    }
    for name, values in arrays.items():
        IMAGES[name].write(images, values)
    if pixels == "stored":
        dataset = IMAGES["pixels"].create(images, {"image": COUNT, "y": SIDE, "x": SIDE})
        digests = [
            write_picture(dataset, (row,), IMAGES["pixels"].encode(image[None])) for row, image in enumerate(stored)
        ]
        IMAGES["pixels_digest"].write(images, digests)


def image_pixels(shift: int = 0) -> np.ndarray:
    """(image, y, x, rgb): red says the row, green the column, blue the image."""
    image, y, x = np.indices((COUNT, SIDE, SIDE))
    return np.stack([10 * y + shift, 10 * x + shift, 10 * image], axis=-1).astype("u1")


def write_mined_layer(file: h5py.File, key: str, layer: str, units: list[int]) -> None:
    """Hits of every kind and statistics. The last unit is dead: no hits; the first two are redundant."""
    kinds = ("largest", "quantile", "smallest", *(["class"] if layer == "fc8" else []))
    for kind in kinds:
        write_tops(file, key, layer, units, kind)
    write_statistics(file, key, layer, units)


def write_tops(file: h5py.File, key: str, layer: str, units: list[int], kind: str) -> None:
    side, rules = FRAMES[layer], ("deconvnet", "guided", "gradient") if kind == "largest" else ()
    about = {"kind": kind, "measure": f"value of {layer}, before its ReLU", "height": side, "width": side}
    group = TOPS.create(file, about | {"lrn": "derivative"}, layer=key, kind=kind)
    shape = len(units), RANKS
    steps = {"largest": [15, 14, 13], "quantile": [15, 8, 0], "smallest": [0, 1, 2], "class": [14, 10, 6]}[kind]
    image = np.tile(np.array(steps), (len(units), 1))
    there = np.ones(shape, bool)
    there[-1] = False
    # at a near border, inside, at a far one; the whole image has one position alone
    frame = np.array([[-2, -1], [4, 6], [SIDE - side + 3, 0]]) if side < SIDE else np.zeros((RANKS, 2), int)
    window = np.concatenate([np.maximum(frame, 0), np.minimum(frame + side, SIDE)], axis=1)
    arrays = {
        "unit": units,
        "image": np.where(there, image, -1),
        "activation": np.where(there, MAXIMA[image], np.nan),
        "position": np.where(there[..., None], np.arange(RANKS)[:, None] + np.arange(2), -1),
        "window": np.where(there[..., None], window, -1),
        "frame": np.where(there[..., None], frame, -1),
    }
    for name, values in arrays.items():
        TOPS[name].write(group, values)
    if kind == "quantile":
        TOPS["quantile"].write(group, (1, 0.5, 0))
    for rule in rules:
        scale = np.where(there, 0.25, np.nan)
        scale[0, 2] = np.nan  # not computed
        stored = TOPS[rule].create(group, {"unit": len(units), "rank": RANKS, "y": side, "x": side})
        digests = np.zeros(shape, "u8")
        for row, rank in zip(*np.nonzero(np.isfinite(scale)), strict=True):
            chunk = signal(side, window[rank], frame[rank])[None, None]
            digests[row, rank] = write_picture(stored, (row, rank), TOPS[rule].encode(chunk))
        TOPS[f"{rule}_digest"].write(group, digests)
        TOPS[f"{rule}_scale"].write(group, scale)
    if rules:
        TOPS["reason"].write(group, ["out of <memory>", *[""] * (len(units) - 1)])


def signal(side: int, window: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """An encoded back-projection: a slope inside the window, zero outside."""
    encoded = np.full((side, side, 3), 128, "u1")
    top, left, bottom, right = window - np.tile(frame, 2)
    encoded[top:bottom, left:right] = np.arange(left, right)[None, :, None] + 128
    return encoded


def write_statistics(file: h5py.File, key: str, layer: str, units: list[int]) -> None:
    about = {"measure": f"value of {layer}, before its ReLU", "redundancy_threshold": 0.98, "sample": COUNT}
    group = STATISTICS.create(file, about, layer=key)
    STATISTICS["unit"].write(group, units)
    count, dead = len(units), np.arange(len(units)) == len(units) - 1
    maxima = np.where(dead[:, None], 0.0, MAXIMA)
    histogram = np.stack([np.histogram(row, EDGES)[0] for row in maxima])
    for what in ("image", "position"):
        arrays = {
            "count": np.full(count, COUNT),
            "mean": maxima.mean(axis=1),
            "variance": maxima.var(axis=1),
            "min": maxima.min(axis=1),
            "max": maxima.max(axis=1),
            "histogram": histogram,
            "quantiles": np.quantile(maxima, LEVELS, axis=1).T,
        }
        for name, values in arrays.items():
            STATISTICS[f"{what}_{name}"].write(group, values)
    means = np.stack([np.where(dead, 0, MAXIMA[number::4].mean()) for number in range(len(CLASSES))], axis=1)
    means[:, 2] = np.nan
    arrays = {
        "edge": EDGES,
        "quantile": LEVELS,
        "active_images": np.where(dead, 0, 1.0),
        "active_positions": np.where(dead, 0, 0.25),
        "dead": dead,
        "never_varies": dead,
        "redundant_unit": [units[1], units[0], *[-1] * (count - 2)],
        "redundant_correlation": np.where(dead, np.nan, [0.99, 0.99, *[0.5] * (count - 2)]),
        "nearest": np.where(dead, -1, [units[1], units[0], *[units[0]] * (count - 2)]),
        "class_mean": means,
        "class_count": [3, 4, 0, 4],
    }
    for name, values in arrays.items():
        STATISTICS[name].write(group, values)


def write_connections(file: h5py.File, key: str, layer: str, units: list[int]) -> None:
    """The inputs of fc8 from mixed/3a, two of them and one that is not in the atlas, and the way back."""
    if layer not in ("mixed/3a", "fc8"):
        return
    upper = layer == "fc8"
    about = {"other": "mixed/3a" if upper else "fc8", "direction": "incoming" if upper else "outgoing"}
    other = about["other"].replace("/", ".")
    group = CONNECTIONS.create(file, about | {"strength": "weight × <mean>", "revision": 1}, layer=key, other=other)
    count = len(units)
    CONNECTIONS["unit"].write(group, units)
    CONNECTIONS["linked"].write(group, np.tile([5, 2, 4, -1] if upper else [4, 0, -1, -1], (count, 1)))
    strength = np.array([3.0, -2.0, 1.0, np.nan] if upper else [3.0, -2.0, np.nan, np.nan])
    CONNECTIONS["strength"].write(group, np.tile(strength, (count, 1)))
    CONNECTIONS["weight"].write(group, np.tile(strength / 10, (count, 1)))
