"""Mining every layer against the bare forward pass of the same images in the same batches, and with decoding."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.console import compose_config
from jobs.request import read_settings
from pipeline.data.archive import open_archive
from pipeline.data.batches import batches
from pipeline.data.source import ImageSource
from pipeline.methods.tops.mine import MineSettings, mine_block
from pipeline.nets.caffe import caffe_network
from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Network
from pipeline.nets.open_network import open_network
from pipeline.settings import ModelSettings

QUESTION = "images per second mined in every layer, against the forward pass alone, and with decoding; one thread each"
EVERYTHING = MineSettings(k=9, smallest=True, own_class=True, quantiles=True, positions=True)
NO_POSITIONS = MineSettings(k=9, smallest=True, own_class=True, quantiles=True, positions=False)
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Measurement:
    """What is mined: a network and `count` images of a dataset in batches of one size; noise without a dataset."""

    network: Network
    source: ImageSource | None
    count: int
    batch: int

    @property
    def layers(self) -> list[str]:
        return list(self.network.layers)

    def decoded(self) -> Iterator[Batch]:
        """Yield batches, which this thread decodes on demand."""
        size, read = self.network.preprocessing, []
        if self.source is not None:
            read = batches(
                self.source,
                0,
                self.count,
                height=size.height,
                width=size.width,
                preprocess="resize",
                fill=(0, 0, 0),
                reduced=False,
                batch=self.batch,
                threads=0,
                skipped=[],
            )
        for batch in read:
            yield np.array(batch.images), batch.pixels, batch.count
        if self.source is None:
            random = np.random.default_rng(0)
            for start in range(0, self.count, self.batch):
                pixels = random.integers(0, 256, (self.batch, size.height, size.width, 3), np.uint8)
                yield np.arange(start, start + self.batch), pixels, self.batch

    def mine(self, decoded: Iterator[Batch], settings: MineSettings) -> None:
        labels = {image: image % 10 for image in range(self.count)}
        asked = {"settings": settings, "sample": range(self.count), "labels": labels, "classes": 10, "device": _CPU}
        mine_block(self.network, self.layers, decoded, **asked)

    def forward(self, images: list[torch.Tensor]) -> None:
        with torch.inference_mode():
            for part in images:
                self.network.run(part, self.layers[-1:])


def measure(short: bool) -> Figures:
    """Measure all variants in turn; the ratios are medians over the turns."""
    torch.set_num_threads(1)
    figures = Figures()
    folder = Path(os.environ.get("ATLAS_TEST_DATA", ""))
    with tempfile.TemporaryDirectory() as cache:
        open_photos = partial(open_archive, labels=[], limit=None, cache=Path(cache), progress=None)
        small, large = (
            open_photos(name, str(path)) if (path := folder / f"{name}.tar").is_file() else None
            for name in ("tiny-val", "photos-1000")
        )
        doodlenet = compose_config("atlas", ["model=doodlenet"]).model
        network = open_network(read_settings(ModelSettings, doodlenet, "model"))
        _compare(figures, Measurement(network, small, 2048 if short else 8192, 64), 5)
        weights = folder / "squeezenet_v1.1.caffemodel"
        if weights.is_file():
            _compare(figures, Measurement(_squeezenet(weights), large, 128 if short else 1000, 8), 3)
    return figures


def _compare(figures: Figures, work: Measurement, runs: int) -> None:
    size, decoded_batches = work.network.preprocessing, list(work.decoded())
    planes = [torch.from_numpy(size.centred(pixels)) for _, pixels, _ in decoded_batches]
    beside = [centred(size, pixels, _CPU) for _, pixels, _ in decoded_batches]
    ways: dict[str, Callable[[], object]] = {
        "forward alone, planes": lambda: work.forward(planes),
        "forward alone, channels side by side": lambda: work.forward(beside),
        "mined, everything": lambda: work.mine(iter(decoded_batches), EVERYTHING),
        "mined, without statistics of positions": lambda: work.mine(iter(decoded_batches), NO_POSITIONS),
        "decoded": lambda: list(work.decoded()),
        "decoded and mined": lambda: work.mine(work.decoded(), EVERYTHING),
    }
    seconds = dict(zip(ways, seconds_in_turn(runs, *ways.values()), strict=True))
    name = work.network.name
    for way, taken in seconds.items():
        figures.add(f"{name}: {way}", work.count / statistics.median(taken), "images/s")
    plain, quick, whole, few, decoded, both = seconds.values()
    aim = "(target: at least 0.9)"
    figures.add(f"{name}: everything / forward, planes", median_ratio(plain, whole), aim)
    figures.add(f"{name}: everything / forward, side by side", median_ratio(quick, whole), "")
    figures.add(f"{name}: without positions / forward, side by side", median_ratio(quick, few), "")
    parts = [a + b for a, b in zip(plain, decoded, strict=True)]
    figures.add(f"{name}: with decoding / (forward, planes, then decoding)", median_ratio(parts, both), aim)


def _squeezenet(weights: Path) -> Network:
    definition = str(files("pipeline.nets") / "definitions" / "squeezenet_v1_1.prototxt")
    return caffe_network("squeezenet", definition, str(weights), order="BGR", mean=(104.0, 117.0, 123.0))
