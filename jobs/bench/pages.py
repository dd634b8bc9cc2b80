"""Time, bytes and files of the pages of an atlas of CaffeNet's shape.

Its pictures are a few real ones, stored once and shown again and again through virtual datasets, so that the atlas of
10,568 units takes a few hundred megabytes and reading it costs what reading a real one costs, except for the disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence import dataset
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.statistics import STATISTICS
from atlas_viewer.evidence.tops import TOPS, ZERO_BYTE
from atlas_viewer.field import Field, Group, Status
from atlas_viewer.site.build import Summary, build
from jobs.bench.figures import Figures

QUESTION = "time, bytes and files of the pages of an atlas of CaffeNet's shape: 4 styles of 9, hits, a run for fc8"
IMAGES = "photos-1000.tar"  # in the folder ATLAS_TEST_DATA, unless images=… names another
TABLE = {  # channels, side of the map, window, stride, offset
    "conv1": (96, 55, 11, 4, 0),
    "conv2": (256, 27, 51, 8, -16),
    "conv3": (384, 13, 99, 16, -32),
    "conv4": (384, 13, 131, 16, -48),
    "conv5": (256, 13, 163, 16, -64),
    "fc6": (4096, 1, 227, 0, 0),
    "fc7": (4096, 1, 227, 0, 0),
    "fc8": (1000, 1, 227, 0, 0),
}
SIDE, CLASSES, SAMPLES, RANKS, POINTS, PHOTOS, WORKERS = 227, 1000, 9, 9, 24, 500, 2
STYLES = ("sparse", "high_frequency", "low_frequency", "contribution")
POOL = 16  # units whose pictures are stored; the others' are the same chunks, through a virtual dataset
MEAN = np.array([104.00699, 116.66877, 122.67891], "f4")  # blue, green, red
FAINT = 0.3  # contrast of a picture by gradient ascent over that of a photo


@dataclass(frozen=True)
class Shape:
    """What the atlas has: units of each layer, and the layers with a run of DGN-AM."""

    units: Mapping[str, int]
    runs: tuple[str, ...] = ("fc8",)


@dataclass(frozen=True)
class Pools:
    """Pictures to choose from, uint8 (picture, 227, 227, rgb): of the dataset, by gradient ascent, back-projections."""

    photos: np.ndarray
    pictures: np.ndarray
    signals: np.ndarray

    @classmethod
    def of(cls, photos: np.ndarray) -> Pools:
        """Pools made of photos: with faint contrast and without detail, as ascent leaves them; and their edges."""
        from PIL import Image

        def smooth(photo: np.ndarray) -> np.ndarray:
            small = Image.fromarray(photo).resize((SIDE // 3, SIDE // 3), Image.Resampling.BOX)
            return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))

        mean = MEAN[::-1]
        faint = [np.clip((smooth(photo) - mean) * FAINT + mean, 0, 255).astype("u1") for photo in photos]
        edges = [photo - (np.roll(photo, 1, axis=0) + np.roll(photo, 1, axis=1)) / 2 for photo in photos.astype("f4")]
        signals = [np.clip(edge * 1.5 + ZERO_BYTE, 1, 255).astype("u1") for edge in edges]
        return cls(photos, np.stack(faint), np.stack(signals))


SHORT = Shape({"conv1": 4, "conv3": 4, "conv5": 8, "fc6": 96, "fc8": 12})
WHOLE = Shape({layer: row[0] for layer, row in TABLE.items()}, ("fc8", "conv5"))


def write_atlas(path: Path, shape: Shape, pools: Pools) -> None:
    """Write the atlas."""
    with format.create(path) as file:
        about = {"format": format.FORMAT, "version": format.VERSION, "model": "caffenet", "model_digest": "ab" * 32}
        root = format.ROOT.create(file, about)
        format.ROOT["settings"].write(root, "seed: 0\n")
        format.ROOT["packages"].write(root, "torch 2.13.0\n")
        _write_network(file, tuple(shape.units))
        _write_dataset(file, pools.photos)
        for number, (layer, units) in enumerate(shape.units.items()):
            _write_layer(file, layer, units, layer in shape.runs, pools, np.random.default_rng(number))


def photographs(tar: Path | None, count: int) -> np.ndarray:
    """The first images of a tar at the network's input size, or noise where there is no tar."""
    if tar is None:
        return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), "u1")
    return np.stack([image for image, _ in zip(_decoded(tar), range(count), strict=False)])


def _decoded(tar: Path) -> Iterator[np.ndarray]:
    from PIL import Image

    with tarfile.open(tar) as opened:
        for member in opened:
            if member.isfile():
                picture = Image.open(io.BytesIO(opened.extractfile(member).read())).convert("RGB")  # type: ignore[union-attr]
                yield np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _write_network(file: object, layers: tuple[str, ...]) -> None:
    preprocessing = format.PREPROCESSING.create(file, {"height": SIDE, "width": SIDE, "channels": "BGR"})
    format.PREPROCESSING["mean"].write(preprocessing, MEAN.reshape(3, 1, 1))
    format.PREPROCESSING["gain"].write(preprocessing, np.ones(3))
    network = format.NETWORK.create(file)
    format.NETWORK["labels"].write(network, [f"class number {number}" for number in range(CLASSES)])
    table = format.LAYERS.create(file)
    rows = [TABLE[layer] for layer in layers]
    columns = {
        "name": layers,
        "kind": ["linear" if row[1] == 1 else "conv" for row in rows],
        "channels": [row[0] for row in rows],
        "height": [row[1] for row in rows],
        "width": [row[1] for row in rows],
        "window_size": [(row[2], row[2]) for row in rows],
        "window_stride": [(row[3], row[3]) for row in rows],
        "window_offset": [(row[4], row[4]) for row in rows],
        "has_units": [True] * len(layers),
        "class_layer": [layer == "fc8" for layer in layers],
    }
    for name, values in columns.items():
        format.LAYERS[name].write(table, values)
    graph = format.GRAPH.create(file)
    format.GRAPH["nodes"].write(graph, ("data", *layers))
    format.GRAPH["edges"].write(graph, [(node, node + 1) for node in range(len(layers))])


def _write_dataset(file: object, photos: np.ndarray) -> None:
    about = {"name": "photos", "kind": "tar", "digest": "f" * 64, "preprocess": "squash", "reduced_decoding": False}
    group = dataset.DATASET.create(file, about | {"images": len(photos), "skipped": 0, "pixels": "stored"})
    dataset.DATASET["classes"].write(group, [f"class number {number}" for number in range(CLASSES)])
    for name in ("skipped_key", "skipped_reason"):
        dataset.DATASET[name].write(group, ())
    images, count = dataset.IMAGES.create(file, {}), len(photos)
    arrays = {
        "number": np.arange(count),
        "key": [f"n{row:08}/n{row:08}_{row}.jpg" for row in range(count)],
        "hash": np.tile(np.arange(count)[:, None] % 251, (1, 32)),
        "label": np.arange(count) % CLASSES,
        "placement": np.tile([0, 0, 375, 500], (count, 1)),
        "size": np.tile([375, 500], (count, 1)),
    }
    for name, values in arrays.items():
        dataset.IMAGES[name].write(images, values)
    _write_chunks(dataset.IMAGES["pixels"], images, {"image": count, "y": SIDE, "x": SIDE}, photos)


def _write_layer(file: object, layer: str, units: int, by_prior: bool, pools: Pools, rng: np.random.Generator) -> None:
    _, size, window, stride, offset = TABLE[layer]
    first = offset + size // 2 * stride
    format.LAYER.create(file, {"layer": layer}, layer=layer)
    group = format.UNITS.create(file, layer=layer)
    format.UNITS["index"].write(group, range(units))
    format.UNITS["label"].write(group, [f"class number {unit}" if layer == "fc8" else "" for unit in range(units)])
    format.UNITS["status"].write(group, [int(Status.ok)] * units)
    for name in ("window", "window_unclipped"):
        format.UNITS[name].write(group, (first, first, first + window, first + window))
    for style in STYLES:
        about = {"style": style, "measure": f"value of {layer}", "canvas": "window", "row": size // 2}
        about |= {"column": size // 2, "seed": 0, "direction": "maximize", "cut": [0, 0, 0, 0], "decay": 0.0001}
        about |= {"blur_radius": 1.0, "blur_every": 4, "policy": "scale_free", "rate": 100.0, "max_iter": 1000}
        _write_climb(STYLE, STYLE.create(file, about, layer=layer, style=style), units, window, pools, rng)
    if by_prior:
        about = {"run": "made", "prior": "made", "prior_digest": "d" * 64, "measure": f"value of {layer}", "seed": 0}
        about |= {"row": size // 2, "column": size // 2, "cut": [0, 0, 0, 0], "iterations": 200}
        _write_climb(RUN, RUN.create(file, about, layer=layer, run="made"), units, window, pools, rng)
    for kind in ("largest", "quantile", "smallest", *(("class",) if layer == "fc8" else ())):
        _write_hits(file, layer, kind, units, pools, rng)
    _write_statistics(file, layer, units, len(pools.photos), rng)


def _write_climb(kind: Group, group: object, units: int, window: int, pools: Pools, rng: np.random.Generator) -> None:
    """The pictures of a style; of a run, photos."""
    pool = pools.pictures if kind is STYLE else pools.photos
    top = int(rng.integers(0, SIDE - window + 1))
    for name in ("pixels", "best_pixels") if kind is RUN else ("pixels",):
        chosen = pool[rng.integers(0, len(pool), POOL * SAMPLES)][:, top : top + window, top : top + window]
        sizes = {"unit": units, "sample": SAMPLES, "y": window, "x": window}
        _write_chunks(kind[name], group, sizes, chosen.reshape(POOL, SAMPLES, *chosen.shape[1:]))
    shape = units, SAMPLES
    activation = rng.normal(40, 9, shape)
    climbs = np.sort(rng.normal(20, 9, (*shape, POINTS)), axis=-1)
    arrays = {
        "activation": activation,
        "activation_float": activation + 0.25,
        "best_step": np.full(shape, 999),
        "status": np.full(shape, int(Status.ok)),
        "trace": climbs,
        "trace_step": np.linspace(0, 999, POINTS).astype(int),
        "attempt": np.zeros(shape),
    }
    if kind is RUN:
        arrays |= {"best_activation": activation + 2, "best_activation_float": activation + 2}
        arrays |= {"code": np.zeros((*shape, 8)), "best_code": np.zeros((*shape, 8)), "code_norm": activation}
    for name, values in arrays.items():
        kind[name].write(group, values)


def _write_hits(file: object, layer: str, kind: str, units: int, pools: Pools, rng: np.random.Generator) -> None:
    _, size, window, stride, offset = TABLE[layer]
    side = min(window, SIDE)
    about = {"kind": kind, "measure": f"value of {layer}", "height": side, "width": side, "lrn": "derivative"}
    group, shape = TOPS.create(file, about, layer=layer, kind=kind), (units, RANKS)
    position = rng.integers(0, size, (*shape, 2))
    frame = offset + position * stride
    arrays = {
        "image": rng.integers(0, len(pools.photos), shape),
        "activation": -np.sort(-rng.normal(30, 9, shape), axis=1),
        "position": position,
        "frame": frame,
        "window": np.concatenate([np.maximum(frame, 0), np.minimum(frame + side, SIDE)], axis=-1),
    }
    if kind == "quantile":
        arrays["quantile"] = np.linspace(1, 0, RANKS)
    for name, values in arrays.items():
        TOPS[name].write(group, values)
    rules = ("deconvnet",) if side == SIDE else ("deconvnet", "guided", "gradient")
    for rule in rules if kind in ("largest", "class") else ():
        picked = pools.signals[rng.integers(0, len(pools.signals), POOL * RANKS)][:, :side, :side]
        signals = picked.reshape(POOL, RANKS, side, side, 3)
        _write_chunks(TOPS[rule], group, {"unit": units, "rank": RANKS, "y": side, "x": side}, signals)
        TOPS[f"{rule}_scale"].write(group, np.full(shape, 0.01))


def _write_statistics(file: object, layer: str, units: int, images: int, rng: np.random.Generator) -> None:
    group = STATISTICS.create(file, {"measure": f"value of {layer}", "redundancy_threshold": 0.98}, layer=layer)
    edges = np.concatenate([[-np.inf], np.linspace(-40, 80, 121), [np.inf]])
    histogram = rng.integers(0, 2 * images // 120, (units, 122))
    for what in ("image", "position"):
        arrays = {
            "count": np.full(units, images),
            "mean": np.full(units, 12.0),
            "variance": np.full(units, 30.0),
            "min": np.full(units, -9.0),
            "max": rng.normal(38, 6, units),
            "histogram": histogram,
            "quantiles": np.tile(np.linspace(-5, 30, 7), (units, 1)),
        }
        for name, values in arrays.items():
            STATISTICS[f"{what}_{name}"].write(group, values)
    arrays = {
        "edge": edges,
        "quantile": (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99),
        "active_images": np.full(units, 0.8),
        "active_positions": np.full(units, 0.2),
        "dead": np.zeros(units, bool),
        "never_varies": np.zeros(units, bool),
        "redundant_unit": np.full(units, -1),
        "redundant_correlation": np.full(units, 0.6),
        "nearest": (np.arange(units) + 1) % units,
        "class_mean": rng.normal(12, 5, (units, CLASSES)),
        "class_count": np.full(CLASSES, max(images // CLASSES, 1)),
    }
    for name, values in arrays.items():
        STATISTICS[name].write(group, values)


def _write_chunks(field: Field, group: object, sizes: Mapping[str, int], pool: np.ndarray) -> None:
    """The dataset of pictures, one a chunk: a pool along the first axis, repeated as often as needed."""
    import h5py

    rows = field.shape(sizes)[0]
    axis = field.axes[0]
    few = field.create(_aside(group) if rows > len(pool) else group, {**sizes, axis: min(rows, len(pool))})
    lead = pool.shape[:-3]
    digests = np.zeros((rows, *lead[1:]), "u8")
    for place in np.ndindex(*(min(rows, lead[0]), *lead[1:])):
        chunk = field.encode(pool[place])
        few.id.write_direct_chunk((*place, 0, 0, 0), chunk)
        digests[(slice(place[0], None, len(pool)), *place[1:])] = int.from_bytes(
            hashlib.sha256(chunk).digest()[:8], "big"
        )
    if axis == "unit":
        group.create_dataset(f"{field.name}_digest", data=digests)  # type: ignore[attr-defined]
    if rows <= len(pool):
        return
    layout = h5py.VirtualLayout(field.shape(sizes), few.dtype)
    for start in range(0, rows, len(pool)):
        count = min(len(pool), rows - start)
        layout[start : start + count] = h5py.VirtualSource(few)[:count]
    group.create_virtual_dataset(field.name, layout, fillvalue=0)  # type: ignore[attr-defined]


def _aside(group: object) -> object:
    """A place for the pool of a group's pictures, outside of what the schema knows."""
    return group.file.require_group(f"pool{group.name}")  # type: ignore[attr-defined]


def measure(short: bool, images: str | None = None) -> Figures:
    """Build the pages of the atlas by two processes, again unchanged, and again after one picture has changed.

    A short run has some units of each kind of layer; the figures of all 10,568 follow from theirs.
    images : a tar of photos; None for IMAGES in the folder ATLAS_TEST_DATA, or noise if that is missing.
    """
    tar = Path(images) if images is not None else Path(os.environ.get("ATLAS_TEST_DATA", "")) / IMAGES
    shape, figures = SHORT if short else WHOLE, Figures()
    with tempfile.TemporaryDirectory() as folder:
        atlas, out = Path(folder) / "atlas.h5", Path(folder) / "site"
        write_atlas(atlas, shape, Pools.of(photographs(tar if tar.is_file() else None, PHOTOS)))
        units = sum(shape.units.values())
        seconds, summary = _timed(atlas, out)
        figures.add("units", units, "")
        figures.add("all pages", seconds, "s")
        figures.add("a unit", 1e3 * seconds * WORKERS / units, "ms of a core")
        figures.add("a unit", summary.bytes / units / 1e3, "kB")
        figures.add("files", summary.files, "")
        figures.add("all bytes", summary.bytes / 1e9, "GB")
        seconds, _ = _timed(atlas, out)
        figures.add("again, unchanged", seconds, "s")
        _change(atlas)
        seconds, summary = _timed(atlas, out)
        figures.add("again, one picture changed", seconds, "s")
        figures.add("blocks drawn for it", summary.blocks, "")
    return figures


def _timed(atlas: Path, out: Path) -> tuple[float, Summary]:
    start = time.perf_counter()
    summary = build(atlas, out, workers=WORKERS)
    return time.perf_counter() - start, summary


def _change(atlas: Path) -> None:
    """Change one number of one unit of fc6, as another picture would."""
    import h5py

    with h5py.File(atlas, "r+") as file:
        file["layers/fc6/ascent/sparse/activation"][3, 0] = 41
