"""Mining every layer against the bare forward pass of the same images in the same batches, and with decoding."""

from __future__ import annotations

import os
import tempfile
import time
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

QUESTION = (
    "images per CPU second mined in every layer, against the bare forward pass in the same layout, and with decoding"
)
EVERYTHING = MineSettings(k=9, smallest=True, own_class=True, quantiles=True, positions=True)
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

    def mine(self, decoded: Iterator[Batch], share: float) -> None:
        """Mine everything. share : of the images, those whose positions are counted."""
        counted = range(self.count) if share == 1 else range(0, self.count, round(1 / share))
        mine_block(
            self.network,
            self.layers,
            decoded,
            settings=EVERYTHING,
            sample=range(self.count),
            position_sample=counted,
            labels={image: image % 10 for image in range(self.count)},
            classes=10,
            device=_CPU,
        )

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
        config = compose_config("atlas", ["model=doodlenet"])
        network, tops = open_network(read_settings(ModelSettings, config.model, "model")), config.tops
        share = tops.position_share
        _compare(figures, Measurement(network, small, 1024 if short else 8192, tops.batch), 3 if short else 5, share)
        weights = folder / "squeezenet_v1.1.caffemodel"
        if weights.is_file():
            photos = Measurement(squeezenet(weights), large, 64 if short else 1000, tops.batch)
            _compare(figures, photos, 2 if short else 3, share)
    return figures


def _compare(figures: Figures, work: Measurement, runs: int, share: float) -> None:
    """Measure all ways in turn. The forward pass is that of centred images in the layout that mining gives them."""
    size, decoded_batches = work.network.preprocessing, list(work.decoded())
    beside = [centred(size, pixels, _CPU) for _, pixels, _ in decoded_batches]
    ways: dict[str, Callable[[], object]] = {
        "forward alone": lambda: work.forward(beside),
        "mined": lambda: work.mine(iter(decoded_batches), share),
        "mined, positions of all images": lambda: work.mine(iter(decoded_batches), 1),
        "decoded": lambda: list(work.decoded()),
        "decoded and mined": lambda: work.mine(work.decoded(), share),
    }
    seconds = dict(zip(ways, seconds_in_turn(runs, *ways.values(), clock=time.process_time), strict=True))
    name = work.network.name
    for way, taken in seconds.items():
        figures.add_median(f"{name}: {way}", [work.count / each for each in taken], "images/s")
    forward, mined, all_positions, decoded, both = seconds.values()
    aim = "(target: at least 0.9)"
    figures.add(f"{name}: mined / forward", median_ratio(forward, mined), aim)
    figures.add(f"{name}: mined with positions of all images / forward", median_ratio(forward, all_positions), "")
    parts = [a + b for a, b in zip(forward, decoded, strict=True)]
    figures.add(f"{name}: with decoding / (forward, then decoding)", median_ratio(parts, both), aim)


def squeezenet(weights: Path) -> Network:
    """SqueezeNet 1.1 with the weights in a file."""
    definition = str(files("pipeline.nets") / "definitions" / "squeezenet_v1_1.prototxt")
    return caffe_network("squeezenet", definition, str(weights), order="BGR", mean=(104.0, 117.0, 123.0))
