"""The dataset side of an atlas, put together from the blocks: what the merge writes, and which hits are projected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.compute.mining import Reduction
from pipeline.compute.resources import Resources
from pipeline.data.batches import check_bad
from pipeline.methods.histogram import EDGES
from pipeline.methods.statistics import LEVELS, LayerStatistics, Spread
from pipeline.methods.topk import Hits
from pipeline.nets.network import Network
from pipeline.nets.window import frames
from pipeline.plan import Plan
from pipeline.store.shard import ShardFolder
from pipeline.store.tops import TopArrays, Tops, hit_images
from pipeline.tasks import MineTask


def put_together(plan: Plan, mined: Sequence[MineTask], shards: ShardFolder, resources: Resources) -> Tops:
    """Hits and statistics of every layer that is asked for, from all blocks of a plan.

    Raises LookupError where a block is missing, DataError if more images could not be read than is allowed.
    """
    reduction, dataset, index = Reduction(plan, mined, shards), plan.mining.dataset, resources.source.index
    skipped = reduction.skipped
    check_bad(skipped, dataset.images, dataset.bad_share, dataset.name)
    asked = [layer.name for layer in plan.layers() if layer.name in plan.tops]
    layers = {name: _layer(resources.network, plan, reduction, name) for name in asked}
    numbers = hit_images(plan, layers)
    return Tops(
        layers=layers,
        numbers=numbers,
        keys=tuple(index.keys[number] for number in numbers),
        hashes=index.hashes[list(numbers)],
        labels=index.labels[list(numbers)],
        skipped=tuple((bad.key, bad.reason) for bad in skipped),
        packages=tuple(sorted(reduction.packages)),
    )


def _layer(network: Network, plan: Plan, reduction: Reduction, name: str) -> TopArrays:
    result = reduction.layer(name)
    rows, columns = frames(network, name, 0), frames(network, name, 1)
    hits = {}
    for kind, found in result.hits.items():
        hits[kind] = _fields(found, rows, columns)
    return TopArrays(
        hits=hits,
        statistics=_statistics(result.statistics, bool(plan.mining.dataset.classes)),
        frame=(rows.size, columns.size),
    )


def _fields(found: Hits, rows, columns) -> dict[str, np.ndarray]:
    there = found.image >= 0
    row, column = np.where(there, found.row, 0), np.where(there, found.column, 0)
    window = [rows.start[row], columns.start[column], rows.stop[row], columns.stop[column]]
    frame = [rows.first[row], columns.first[column]]
    blank = ~there[..., None]
    return {
        "activation": found.value.astype(np.float32),
        "image": found.image,
        "position": np.where(blank, -1, np.stack([found.row, found.column], axis=-1)).astype(np.int32),
        "window": np.where(blank, -1, np.stack(window, axis=-1)).astype(np.int32),
        "frame": np.where(blank, -1, np.stack(frame, axis=-1)).astype(np.int32),
    }


def _statistics(found: LayerStatistics, labelled: bool) -> dict[str, np.ndarray]:
    """The arrays of /layers/<layer>/statistics, over all units of the layer."""
    arrays = _spread("image", found.maxima)
    if found.positions is not None:
        arrays |= _spread("position", found.positions)
    whole = found.maxima if found.positions is None else found.positions
    arrays |= {
        "edge": EDGES.astype(np.float32),
        "quantile": np.array(LEVELS, np.float32),
        "not_a_number": found.not_a_number,
        "dead": found.dead,
        "never_varies": whole.moments.least >= whole.moments.most,
        "twin": found.twin,
        "twin_correlation": found.correlation.astype(np.float32),
        "nearest": found.nearest,
    }
    if labelled:
        arrays |= {"class_mean": found.class_mean, "class_count": found.class_images}
    return arrays


def _spread(of: str, spread: Spread) -> dict[str, np.ndarray]:
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
