"""Assemble the dataset side of an atlas from the blocks: what the merge writes, and which hits are projected back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.data.batches import check_bad
from pipeline.methods.tops.histogram import EDGES
from pipeline.methods.tops.result import (
    DatasetResult,
    FoldedNames,
    LayerArrays,
    encode_images,
    encode_layer,
    images_record,
    layer_record,
    read_tops,
)
from pipeline.methods.tops.statistics import LEVELS, Distribution, LayerStatistics, reduce
from pipeline.methods.tops.stored_blocks import StoredBlocks
from pipeline.methods.tops.task import MineTask, mining_of
from pipeline.methods.tops.topk import Hits
from pipeline.nets.network import Network
from pipeline.nets.window import frames
from pipeline.plan import Plan
from pipeline.records import record_digest
from pipeline.resources import Resources
from pipeline.store.shard import ShardFolder


def put_together(
    plan: Plan, mined: Sequence[MineTask], shards: ShardFolder, resources: Resources
) -> DatasetResult | None:
    """Assemble hits and statistics of every mined layer from all blocks, store them, and read back what is requested.

    Memory holds one layer and a few blocks of it, whatever the number of blocks.

    mined : the tasks of the blocks.
    Raises MissingBlockError if a block is missing, RefusedDataset if too many images could not be read.
    """
    blocks, index = StoredBlocks(mined, shards, FoldedNames(mined).stored(shards)), resources.source.index
    dataset, skipped = mining_of(plan).dataset, blocks.skipped
    check_bad(skipped, dataset.images, dataset.bad_share, dataset.name)
    numbers: set[int] = set()
    for name in mined[0].layers:
        layer = _layer(resources.network, plan, blocks, name)
        shards.write(record_digest(layer_record(mined, name)), encode_layer(mined, name, layer))
        for fields in layer.hits.values():
            numbers.update(np.unique(fields["image"]).tolist())
    chosen = sorted(numbers - {-1})
    images = DatasetResult(
        layers={},
        numbers=tuple(chosen),
        keys=tuple(index.keys[number] for number in chosen),
        hashes=index.hashes[chosen],
        labels=index.labels[chosen],
        skipped=tuple((bad.key, bad.reason) for bad in skipped),
        packages=tuple(sorted(blocks.packages)),
    )
    shards.write(record_digest(images_record(mined)), encode_images(mined, images))
    return read_tops(plan, mined, shards, [])


def _layer(network: Network, plan: Plan, blocks: StoredBlocks, name: str) -> LayerArrays:
    mining = mining_of(plan)
    tops, classes = mining.tops, len(mining.dataset.classes)
    result = reduce(blocks.layer(name), k=tops.k, classes=classes, quantile_hits=tops.quantiles)
    rows, columns = frames(network, name, 0), frames(network, name, 1)
    hits = {}
    for kind, best in result.hits.items():
        hits[kind] = _fields(best, rows, columns)
    return LayerArrays(
        hits=hits,
        statistics=_statistics(result.statistics, bool(classes)),
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
    arrays |= {
        "edge": EDGES.astype(np.float32),
        "quantile": np.array(LEVELS, np.float32),
        "not_a_number": statistics.not_a_number,
        "dead": statistics.dead,
        "never_varies": statistics.never_varies,
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
