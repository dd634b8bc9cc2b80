"""Folding blocks of a dataset whose classes come in random order, at CaffeNet's width: time, bytes, memory."""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jobs.bench.figures import Figures
from pipeline.methods.tops import moments
from pipeline.methods.tops.blocks import RELU, BlockResult, LayerBlock, Source
from pipeline.methods.tops.folding import fold
from pipeline.methods.tops.histogram import BINS
from pipeline.methods.tops.statistics import reduce
from pipeline.methods.tops.stored_blocks import STEP, FoldedNames, StoredBlocks
from pipeline.methods.tops.topk import best_images
from pipeline.records import Record
from pipeline.store.shard import ShardFolder, encode_shard

QUESTION = "folding 16 blocks of 2,048 images in random order, at CaffeNet's width, 1,000 classes"
WIDTHS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256, "fc6": 4096, "fc7": 4096, "fc8": 1000}
IMAGES, CLASSES, K, SAMPLE, DATASET = 2048, 1000, 9, 20_000, 1_281_167


@dataclass(frozen=True)
class Block:
    """As much of a task as its shard needs."""

    number: int
    layers: tuple[str, ...]
    mining: Any

    @property
    def id(self) -> str:
        return f"{self.number:032x}"

    @property
    def words(self) -> str:
        return f"block {self.number}"

    def record(self) -> Record:
        return {"number": self.number}

    def flaw(self, facts: object) -> None:
        return None


def measure(short: bool) -> Figures:
    """short : an eighth of the units."""
    figures, count = Figures(), STEP + 4
    result = _result(8 if short else 1)
    mining = SimpleNamespace(tops=SimpleNamespace(k=K), dataset=SimpleNamespace(classes=range(CLASSES)))
    tasks: Any = [Block(number, tuple(result.layers), mining) for number in range(count)]
    with tempfile.TemporaryDirectory() as name:
        shards, started = ShardFolder(Path(name)), time.perf_counter()
        data = encode_shard(tasks[0].record(), result.arrays(), {"skipped": [], "packages": []})
        figures.add("units, those of ReLUs included", sum(block.units for block in result.layers.values()), "")
        figures.add("encoding a block", time.perf_counter() - started, "s")
        figures.add("a block", len(data) / 1e6, "MB")
        for task in tasks:
            shards.write(task.id, encode_shard(task.record(), result.arrays(), {"skipped": [], "packages": []}))
        started = time.perf_counter()
        fold(tasks, shards, 0, STEP, lambda: False)
        figures.add(f"folding {STEP} blocks", time.perf_counter() - started, "s")
        sizes = [shards.path(one).stat().st_size for one in FoldedNames(tasks).ids(STEP)]
        figures.add("their sum", sum(sizes) / 1e6, "MB")
        started = time.perf_counter()
        blocks = StoredBlocks(tasks, shards, STEP)
        for layer in tasks[0].layers:
            reduce(blocks.layer(layer), k=K, classes=CLASSES, quantile_hits=True)
        figures.add(f"reducing the sum and {count - STEP} further blocks", time.perf_counter() - started, "s")
    figures.add("most memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")
    return figures


def _result(part: int) -> BlockResult:
    """A block of random values in every layer, and in the ReLU of each but the last. part : one unit in so many."""
    random = np.random.default_rng(0)
    images, labels = np.arange(IMAGES), random.integers(0, CLASSES, IMAGES)
    layers: dict[str, LayerBlock] = {}
    sources: dict[str, Source] = {}
    for name, width in WIDTHS.items():
        values = random.normal(0, 4, (IMAGES, width // part)).astype(np.float32)
        layers[name] = _block(values, images, labels)
        if name != "fc8":
            layers[f"relu_{name}"] = _block(np.maximum(values, 0), images, labels)
            sources[f"relu_{name}"] = Source(RELU, (name,))
    return BlockResult(layers, sources)


def _block(values: np.ndarray, images: np.ndarray, labels: np.ndarray) -> LayerBlock:
    units, places = values.shape[1], np.zeros(values.shape, np.int32)
    classes, row = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(classes), units))
    np.add.at(sums, row, values)
    chosen = slice(0, IMAGES * SAMPLE // DATASET)
    counts = np.tile(np.bincount(np.arange(IMAGES) % BINS, minlength=BINS), (units, 1))
    return LayerBlock(
        width=1,
        gated=True,
        largest=best_images(values, images, places, 1, K),
        smallest=best_images(values, images, places, 1, K, smallest=True),
        own_class=None,
        not_a_number=np.zeros(units, np.int64),
        active=(values > 0).sum(axis=0),
        maxima=moments.of_values(values, None),
        positions=moments.of_values(values, None),
        maxima_counts=counts,
        position_counts=counts,
        classes=classes,
        class_counts=np.bincount(row)[:, None],
        class_sums=sums,
        sample_images=images[chosen],
        sample_values=values[chosen],
        sample_places=places[chosen].astype(np.uint16),
    )
