"""Mining every layer against the bare forward pass of the same images in the same batches."""

from __future__ import annotations

import io
import os
import statistics
import tarfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.console import compose_config
from jobs.request import read_settings
from pipeline.methods.mine import Batch, MineSettings, centred, mine_block
from pipeline.nets.caffe.reader import caffe_network
from pipeline.nets.model import open_network
from pipeline.nets.network import Network
from pipeline.settings import ModelSettings

QUESTION = "images per second mined in every layer, decoding aside, against the forward pass alone; one thread each"
EVERYTHING = MineSettings(k=9, smallest=True, own_class=True, quantiles=True, positions=True)
NO_POSITIONS = MineSettings(k=9, smallest=True, own_class=True, quantiles=True, positions=False)
_MEAN = (104.0, 117.0, 123.0)


def measure(short: bool) -> Figures:
    """All ways in turn; the shares are medians over the turns."""
    torch.set_num_threads(1)
    figures = Figures()
    doodlenet = open_network(read_settings(ModelSettings, compose_config("atlas", ["model=doodlenet"]).model, "model"))
    _compare(figures, doodlenet, 512 if short else 4096, 32, 5 if short else 9)
    squeezenet = _squeezenet()
    if squeezenet is not None:
        _compare(figures, squeezenet, 64 if short else 512, 8, 5 if short else 9)
    return figures


def _compare(figures: Figures, network: Network, count: int, batch: int, runs: int) -> None:
    cpu, layers, size = torch.device("cpu"), list(network.layers), network.preprocessing
    pixels = _pixels(count, size.height, size.width)
    blocked = [pixels[start : start + batch] for start in range(0, count, batch)]
    plain = [torch.from_numpy(size.centred(part)) for part in blocked]
    beside = [centred(size, part, cpu) for part in blocked]

    def forward(images: list[torch.Tensor]) -> None:
        with torch.inference_mode():
            for part in images:
                network.run(part, layers[-1:])

    def mine(settings: MineSettings) -> None:
        labels = {image: image % 10 for image in range(count)}
        mine_block(
            network,
            layers,
            _batches(blocked, batch),
            settings=settings,
            sample=range(count),
            labels=labels,
            classes=10,
            device=cpu,
        )

    bare, bare_beside, whole, maxima = seconds_in_turn(
        runs, lambda: forward(plain), lambda: forward(beside), lambda: mine(EVERYTHING), lambda: mine(NO_POSITIONS)
    )
    name = network.name
    for what, seconds in (
        ("forward alone, planes", bare),
        ("forward alone, channels side by side", bare_beside),
        ("mined, everything", whole),
        ("mined, without statistics of positions", maxima),
    ):
        figures.add(f"{name}: {what}", count / statistics.median(seconds), "images/s")
    figures.add(f"{name}: everything / planes", median_ratio(bare, whole), "(at least 0.9 is the aim)")
    figures.add(f"{name}: everything / side by side", median_ratio(bare_beside, whole), "")
    figures.add(f"{name}: without positions / side by side", median_ratio(bare_beside, maxima), "")


def _batches(blocked: list[np.ndarray], batch: int) -> Iterator[Batch]:
    for at, part in enumerate(blocked):
        yield np.arange(at * batch, at * batch + len(part)), part, len(part)


def _pixels(count: int, height: int, width: int) -> np.ndarray:
    """Photos of ATLAS_TEST_DATA, enlarged, over and over; noise without them."""
    photos = Path(os.environ.get("ATLAS_TEST_DATA", "")) / "tiny-train.tar"
    if not photos.is_file():
        return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    pixels = []
    with tarfile.open(photos) as tar:
        for member in tar:
            if member.isfile():
                picture = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                pixels.append(np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)))
            if len(pixels) == min(count, 512):
                break
    return np.stack([pixels[at % len(pixels)] for at in range(count)])


def _squeezenet() -> Network | None:
    weights = Path(os.environ.get("ATLAS_TEST_DATA", "")) / "squeezenet_v1.1.caffemodel"
    definition = str(files("pipeline.nets") / "definitions" / "squeezenet_v1_1.prototxt")
    if not weights.is_file():
        return None
    return caffe_network("squeezenet", definition, str(weights), order="BGR", mean=_MEAN)
