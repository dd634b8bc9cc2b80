"""Assemble the dataset side of an atlas from the blocks: what the merge writes, and which hits are projected back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.data.batches import Skipped, check_bad
from pipeline.methods.tops.blocks import read_layer
from pipeline.methods.tops.histogram import EDGES
from pipeline.methods.tops.result import DatasetResult, LayerArrays, hit_images
from pipeline.methods.tops.statistics import LEVELS, Distribution, LayerResult, LayerStatistics, reduce
from pipeline.methods.tops.task import MineTask, mining_of, top_units
from pipeline.methods.tops.topk import Hits
from pipeline.nets.network import Network
from pipeline.nets.window import frames
from pipeline.plan import Plan
from pipeline.resources import Resources
from pipeline.store.shard import Shard, ShardFolder


def put_together(plan: Plan, mined: Sequence[MineTask], shards: ShardFolder, resources: Resources) -> DatasetResult:
    """Hits and statistics of every requested layer, from all blocks of a plan.

    mined : the tasks of the blocks.
    Raises LookupError if a block is missing, RefusedDataset if too many images could not be read.
    """
    reduction, index = Reduction(plan, mined, shards), resources.source.index
    dataset = mining_of(plan).dataset
    skipped = reduction.skipped
    check_bad(skipped, dataset.images, dataset.bad_share, dataset.name)
    asked = [layer.name for layer in plan.layers() if top_units(plan, layer.name)]
    layers = {name: _layer(resources.network, plan, reduction, name) for name in asked}
    numbers = hit_images(plan, layers)
    return DatasetResult(
        layers=layers,
        numbers=numbers,
        keys=tuple(index.keys[number] for number in numbers),
        hashes=index.hashes[list(numbers)],
        labels=index.labels[list(numbers)],
        skipped=tuple((bad.key, bad.reason) for bad in skipped),
        packages=tuple(sorted(reduction.packages)),
    )


class Reduction:
    """Assembles all blocks of a plan, one layer at a time."""

    def __init__(self, plan: Plan, tasks: Sequence[MineTask], shards: ShardFolder) -> None:
        """Raises ShardError for a damaged shard, LookupError for a missing one."""
        self._mining = mining_of(plan)
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
        tops, classes = self._mining.tops, len(self._mining.dataset.classes)
        return reduce(blocks, k=tops.k, classes=classes, quantile_hits=tops.quantiles)


def _layer(network: Network, plan: Plan, reduction: Reduction, name: str) -> LayerArrays:
    result = reduction.layer(name)
    rows, columns = frames(network, name, 0), frames(network, name, 1)
    hits = {}
    for kind, best in result.hits.items():
        hits[kind] = _fields(best, rows, columns)
    return LayerArrays(
        hits=hits,
        statistics=_statistics(result.statistics, bool(mining_of(plan).dataset.classes)),
        frame=(rows.size, columns.size),
    )


def _fields(hits: Hits, rows, columns) -> dict[str, np.ndarray]:
    exists = hits.image >= 0
    row, column = np.where(exists, hits.row, 0), np.where(exists, hits.column, 0)
    window = [rows.start[row], columns.start[column], rows.stop[row], columns.stop[column]]
    frame = [rows.first[row], columns.first[column]]
    blank = ~exists[..., None]
    return {
        "activation": hits.value.astype(np.float32),
        "image": hits.image,
        "position": np.where(blank, -1, np.stack([hits.row, hits.column], axis=-1)).astype(np.int32),
        "window": np.where(blank, -1, np.stack(window, axis=-1)).astype(np.int32),
        "frame": np.where(blank, -1, np.stack(frame, axis=-1)).astype(np.int32),
    }


def _statistics(statistics: LayerStatistics, labelled: bool) -> dict[str, np.ndarray]:
    """The arrays of /layers/<layer>/statistics, over all units of the layer."""
    arrays = _spread("image", statistics.maxima)
    if statistics.positions is not None:
        arrays |= _spread("position", statistics.positions)
    whole = statistics.maxima if statistics.positions is None else statistics.positions
    arrays |= {
        "edge": EDGES.astype(np.float32),
        "quantile": np.array(LEVELS, np.float32),
        "not_a_number": statistics.not_a_number,
        "dead": statistics.dead,
        "never_varies": whole.moments.least >= whole.moments.most,
        "redundant_unit": statistics.redundant_unit,
        "redundant_correlation": statistics.correlation.astype(np.float32),
        "nearest": statistics.nearest,
    }
    if labelled:
        arrays |= {"class_mean": statistics.class_mean, "class_count": statistics.class_images}
    return arrays


def _spread(of: str, spread: Distribution) -> dict[str, np.ndarray]:
    values = spread.moments
    empty = values.count == 0
    return {
        f"{of}_count": values.count,
        f"{of}_mean": np.where(empty, np.nan, values.mean),
        f"{of}_variance": values.variance,
        f"{of}_min": np.where(empty, np.nan, values.least),
        f"{of}_max": np.where(empty, np.nan, values.most),
        f"{of}_histogram": spread.counts,
        f"{of}_quantiles": spread.quantiles.astype(np.float32),
        f"active_{of}s": spread.active,
    }
