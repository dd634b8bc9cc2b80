"""A small made-up atlas: three layers, two styles, some failures, labels that HTML would trip over."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from atlas_viewer import format
from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.evidence.scores import JUDGE, SCORES
from atlas_viewer.field import write_picture
from atlas_viewer.seal import seal_all, seal_file

sys.path.insert(0, str(Path(__file__).parent))  # the dataset side and the priors' side, each in a module of its own

from generated_atlas import write_generated, write_interpretability, write_run
from mined_atlas import write_dataset, write_mined_layer
from numbers_table import ASCENT, DGN, write_numbers

LAYERS = ("conv1", "mixed/3a", "fc8")
MINED = ("conv1", "relu1", "mixed/3a", "fc8")
LABELS = ("tench, <i>Tinca</i>", "Schäferhund & Söhne", 'quote" onload="x', "空 sky", "</title><script>", "b")
SIDES = {"conv1": 5, "relu1": 5, "mixed/3a": 12, "fc8": 24}
UNITS = {"conv1": [0, 1, 2, 3, 4], "relu1": [0, 1, 2, 4], "mixed/3a": [2, 3, 5, 7], "fc8": [0, 1, 2, 3, 4, 5]}
TABLE = {  # kind, channels, height, width, window's size, stride and offset
    "conv1": ("conv", 5, 20, 20, (5, 5), (1, 1), (0, 0)),
    "relu1": ("relu", 5, 20, 20, (5, 5), (1, 1), (0, 0)),
    "mixed/3a": ("conv", 8, 7, 7, (13, 13), (3, 3), (-4, -4)),
    "fc8": ("linear", 6, 1, 1, (24, 24), (0, 0), (0, 0)),
}
STYLES = {"low_frequency": (3, 1.0), "sparse": (2, 0.5)}  # samples, blur width
DIGEST = "0123456789abcdef" * 4


@pytest.fixture(scope="session")
def sound_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a sound atlas that no test may change."""
    path = tmp_path_factory.mktemp("atlas") / "atlas.h5"
    _write_atlas(path)
    return path


@pytest.fixture(scope="session")
def mined_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a sound atlas with a dataset, that no test may change; relu1 has hits and no ascent."""
    path = tmp_path_factory.mktemp("mined") / "atlas.h5"
    _write_atlas(path, mined=True)
    return path


@pytest.fixture(scope="session")
def generated_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a sound atlas with a dataset and pictures by runs of DGN-AM, that no test may change."""
    path = tmp_path_factory.mktemp("generated") / "atlas.h5"
    _write_atlas(path, mined=True, generated=True)
    return path


@pytest.fixture(scope="session")
def write_atlas() -> Callable[..., None]:
    """The function that writes the made-up atlas: a path, the layer to `change`, whether it is `mined`, `generated`."""
    return _write_atlas


@pytest.fixture
def damaged(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[Callable[[h5py.File], None]], h5py.File]]:
    """A function that copies a sound atlas, damages it as told, and returns it open."""
    opened: list[h5py.File] = []

    def damage(how: Callable[[h5py.File], None], *, mined: bool = False, generated: bool = False) -> h5py.File:
        sound = "generated_atlas" if generated else "mined_atlas" if mined else "sound_atlas"
        shutil.copyfile(request.getfixturevalue(sound), tmp_path / "atlas.h5")
        file = h5py.File(tmp_path / "atlas.h5", "r+")
        opened.append(file)
        how(file)
        return file

    yield damage
    for file in opened:
        file.close()


def _write_atlas(
    path: Path,
    *,
    change: str | None = None,
    mined: bool = False,
    generated: bool = False,
    pixels: str = "stored",
    shift: int = 0,
) -> None:
    """Write the made-up atlas; with `change`, the pixels of that one layer are others.

    mined : adds a dataset. generated : adds what learned priors found; it needs a dataset.
    """
    layers = MINED if mined else LAYERS
    with format.create(path) as file:
        header = {"format": format.FORMAT, "version": format.VERSION}
        root = format.ROOT.create(file, header | {"model": "doodlenet", "model_digest": DIGEST})
        format.ROOT["settings"].write(root, "seed: 0\nname: <b>bold</b>\n")
        format.ROOT["packages"].write(root, "numpy 2.4.6\ntorch 2.13.0\n")
        write_network(file, layers)
        write_numbers(file, "ascent", ASCENT)
        if generated:
            write_numbers(file, "dgn", DGN)
        if mined:
            write_dataset(file, pixels=pixels, shift=shift)
        names = format.group_names(layers)
        for number, layer in enumerate(layers):
            write_layer(file, names[layer], layer, seed=number + 100 * (change == layer))
            if mined:
                write_mined_layer(file, names[layer], layer, UNITS[layer])
            if generated and layer in LAYERS:
                write_run(file, names[layer], layer, UNITS[layer], SIDES[layer])
        if generated:
            write_generated(file, names["fc8"], LABELS)
            write_interpretability(file, names["fc8"], UNITS["fc8"], ("ascent/sparse", "dgn/toy"))
        seal_all(file)
    seal_file(path)


def write_network(file: h5py.File, layers: tuple[str, ...]) -> None:
    preprocessing = format.PREPROCESSING.create(file, {"height": 24, "width": 24, "channels": "BGR"})
    mean = np.array([104, 117, 123], "f4").reshape(3, 1, 1)
    format.PREPROCESSING["mean"].write(preprocessing, mean)
    format.PREPROCESSING["gain"].write(preprocessing, np.ones(3))
    network = format.NETWORK.create(file)
    format.NETWORK["labels"].write(network, LABELS)
    table = format.LAYERS.create(file)
    names = ("kind", "channels", "height", "width", "window_size", "window_stride", "window_offset")
    columns = {
        "name": layers,
        **{name: [TABLE[layer][at] for layer in layers] for at, name in enumerate(names)},
        "has_units": [True] * len(layers),
        "class_layer": [layer == "fc8" for layer in layers],
    }
    for name, values in columns.items():
        format.LAYERS[name].write(table, values)
    graph = format.GRAPH.create(file)
    format.GRAPH["nodes"].write(graph, ("data", *layers))
    last = len(layers)
    line = [(node, node + 1) for node in range(last - 1)]
    format.GRAPH["edges"].write(graph, [*line, (0, last - 1), (last - 1, last)])


def write_layer(file: h5py.File, key: str, layer: str, seed: int) -> None:
    format.LAYER.create(file, {"layer": layer}, layer=key)
    units = format.UNITS.create(file, layer=key)
    index, side = UNITS[layer], SIDES[layer]
    ok, failed = int(format.Status.ok), int(format.Status.failed)
    format.UNITS["unit"].write(units, index)
    format.UNITS["label"].write(units, LABELS if layer == "fc8" else [""] * len(index))
    statuses = [failed if layer == "mixed/3a" and row == 1 else ok for row in range(len(index))]
    format.UNITS["status"].write(units, statuses)
    window = (2, 3, 2 + side, 3 + side) if side < 24 else (0, 0, 24, 24)
    cut = layer == "mixed/3a"  # as if a row of its window lay outside
    format.UNITS["window"].write(units, window)
    format.UNITS["window_unclipped"].write(units, (window[0] - cut, *window[1:]))
    for style, (samples, blur) in STYLES.items() if layer in LAYERS else ():
        attributes = {
            "style": style,
            "measure": f"value of {layer}, before its ReLU",
            "canvas": "window",
            "row": 3,
            "column": 3,
            "seed": 7,
            "direction": "maximize",
            "cut": [int(cut), 0, 0, 0],
            "max_iter": 20,
            "blur_width": blur,
            "policy": "constant",
        }
        group = STYLE.create(file, attributes, layer=key, style=style)
        write_style(group, index, statuses, side, samples, seed)
    if layer == "fc8":
        write_scores(file, key, samples=STYLES["sparse"][0])


def write_style(group: h5py.Group, index: list[int], statuses: list[int], side: int, samples: int, seed: int) -> None:
    """Pictures, the last sample of the last unit never active; the reason stands where a unit failed."""
    units, generator = len(statuses), np.random.default_rng([seed, samples])
    status = np.repeat(np.array(statuses, "u1")[:, None], samples, axis=1)
    status[-1, -1] = format.Status.never_active
    fine = status == format.Status.ok
    pixels = generator.integers(90, 150, (units, samples, side, side, 3), "u1")
    activation = np.where(fine, generator.normal(40, 9, (units, samples)), np.nan)
    trace = np.where(fine[:, :, None], np.linspace(-1, 40, 5), np.nan)
    reason = ["the <gradient> overflowed" if value == format.Status.failed else "" for value in statuses]
    stored = STYLE["pixels"].create(group, {"unit": units, "sample": samples, "y": side, "x": side})
    digests = np.zeros((units, samples), "u8")
    for at in zip(*np.nonzero(fine), strict=True):
        digests[at] = write_picture(stored, at, STYLE["pixels"].encode(pixels[at][None, None]))
    arrays = {
        "unit": index,
        "pixels_digest": digests,
        "activation": activation,
        "activation_float": activation + 0.25,
        "best_step": np.where(fine, 19, -1),
        "status": status,
        "reason": reason,
        "trace": trace,
        "trace_step": (0, 5, 10, 15, 19),
        "attempt": np.zeros((units, samples), "u1"),
    }
    for name, values in arrays.items():
        STYLE[name].write(group, values)


def write_scores(file: h5py.File, key: str, samples: int) -> None:
    said = {"judge": "squeeze", "judge_digest": DIGEST[::-1]}
    judge = JUDGE.create(file, said, layer=key, judge="squeeze")
    JUDGE["labels"].write(judge, LABELS)
    rates = {"pictures": "ascent/sparse", "top1_rate": 0.5, "top5_rate": 1.0}
    group = SCORES.create(file, rates, layer=key, judge="squeeze", setting="sparse")
    units = len(LABELS)
    SCORES["unit"].write(group, range(units))
    SCORES["target"].write(group, range(units))
    SCORES["top1"].write(group, np.arange(units)[:, None] + np.zeros((1, samples), int))
    SCORES["target_probability"].write(group, np.full((units, samples), 0.75))
    SCORES["target_rank"].write(group, np.zeros((units, samples)))
