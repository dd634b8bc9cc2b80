"""Hits and statistics of all layers over a block of images, as a shard; and the blocks together, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.compute.images import MINE_AHEAD, read_batches
from pipeline.compute.resources import Resources, package_versions, placed, prepare
from pipeline.data.batches import Skipped
from pipeline.errors import DataError
from pipeline.methods.blocks import read_layer
from pipeline.methods.mine import MineSettings, mine_block
from pipeline.methods.statistics import LayerResult, reduce
from pipeline.plan import Plan
from pipeline.store.shard import Shard, ShardFolder, encode_shard
from pipeline.tasks import MineTask


def compute_mining(task: MineTask, resources: Resources) -> bytes:
    """The shard of a block of images: the block's arrays, and the images that were left out with their reasons."""
    if resources.source is None:
        raise DataError("mining: no dataset; choose one by DATASET=…")
    mining, index, skipped = task.mining, resources.source.index, []
    device = prepare(mining.device)
    top, dataset = mining.top, mining.dataset
    images = range(task.start, task.stop)
    result = mine_block(
        placed(resources.network, device),
        task.layers,
        _batches(task, resources, skipped),
        settings=MineSettings(top.k, top.smallest, top.own_class and dataset.ordered, top.quantiles, top.positions),
        sample=_sample(resources, top.sample, images),
        labels={image: int(index.labels[image]) for image in images if index.labels[image] >= 0},
        classes=len(dataset.classes),
        device=device,
    )
    facts = {
        "packages": package_versions(),
        "skipped": [[bad.image, bad.key, bad.reason] for bad in skipped],
    }
    return encode_shard(task.record(), result.arrays(), facts)


def _sample(resources: Resources, count: int, images: range) -> set[int]:
    """Those of the images that are in the sample from which quantiles and correlations come."""
    chosen = resources.source.index.sample(count)
    low, high = np.searchsorted(chosen, [images.start, images.stop])
    return set(chosen[low:high].tolist())


def _batches(
    task: MineTask, resources: Resources, skipped: list[Skipped]
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    found = read_batches(task.mining, resources, task.start, task.stop, task.batch, MINE_AHEAD, skipped)
    for batch in found:
        yield np.array(batch.images, np.int64), batch.pixels, batch.count


class Reduction:
    """What all blocks of a plan say together, a layer at a time."""

    def __init__(self, plan: Plan, tasks: Sequence[MineTask], shards: ShardFolder) -> None:
        """Raises ShardError for a damaged shard, LookupError for a missing one."""
        self._mining = plan.mining
        self._shards: list[Shard] = []
        for task in tasks:
            shard = shards.read(task.id, task.record())
            if shard is None:
                raise LookupError(task.words)
            self._shards.append(shard)

    @property
    def skipped(self) -> list[Skipped]:
        """The images that were left out, in order."""
        return [Skipped(*bad) for shard in self._shards for bad in shard.facts["skipped"]]

    @property
    def packages(self) -> set[str]:
        return {package for shard in self._shards for package in shard.facts["packages"]}

    def layer(self, name: str) -> LayerResult:
        """Hits by kind and statistics of a layer's units."""
        blocks = (read_layer(shard.array, name) for shard in self._shards)
        top, classes = self._mining.top, len(self._mining.dataset.classes)
        return reduce(blocks, k=top.k, classes=classes, quantile_hits=top.quantiles)
