"""The hits of every kind and the statistics of each unit of a layer, computed from all blocks of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.methods.tops import topk
from pipeline.methods.tops.blocks import LayerBlock
from pipeline.methods.tops.histogram import positive_share, quantiles
from pipeline.methods.tops.moments import Moments
from pipeline.methods.tops.redundancy import redundant_units
from pipeline.methods.tops.settings import REDUNDANT
from pipeline.methods.tops.topk import Hits
from pipeline.methods.tops.total import Total

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)  # levels of the quantiles


@dataclass(frozen=True)
class Distribution:
    """The distribution of each unit's values.

    moments : count, mean, variance, minimum, maximum.
    counts : int64 (unit, bin), on `histogram.EDGES`.
    quantiles : float64 (unit, level) at LEVELS, estimated from the counts.
    active : float64 (unit,), share of values above zero; NaN without values.
    """

    moments: Moments
    counts: np.ndarray
    quantiles: np.ndarray
    active: np.ndarray


@dataclass(frozen=True)
class LayerStatistics:
    """The statistics of a layer's units over a dataset.

    maxima : distribution of the per-image spatial maxima.
    positions : distribution of the values at all positions of the images whose positions were counted, or None if not
        requested; its active share counts values up to 2⁻²⁵ as zero.
    not_a_number : int64 (unit,), number of images left out because of NaN.
    dead : bool (unit,), whether the unit is constant, or (if zero or less means off) off in every image.
    never_varies : bool (unit,), whether it has one value at every position that was counted and as every image's
        maximum.
    nearest : int32 (unit,), the unit with the largest |correlation|, −1 for none.
    correlation : float32 (unit,), correlation with that unit.
    redundant_unit : int32 (unit,), `nearest` where |correlation| ≥ REDUNDANT, else −1.
    class_mean : float32 (unit, class), mean of the maxima; NaN for a class without images.
    class_images : int64 (class,), number of images of the class, for the unit with the most of them.
    """

    maxima: Distribution
    positions: Distribution | None
    not_a_number: np.ndarray
    dead: np.ndarray
    never_varies: np.ndarray
    nearest: np.ndarray
    correlation: np.ndarray
    redundant_unit: np.ndarray
    class_mean: np.ndarray
    class_images: np.ndarray


@dataclass(frozen=True)
class LayerResult:
    """A layer over a whole dataset. hits : requested kind ("largest", "smallest", "quantile", "class") → hits."""

    hits: dict[str, Hits]
    statistics: LayerStatistics


def reduce(blocks: Iterable[LayerBlock], *, k: int, classes: int, quantile_hits: bool) -> LayerResult:
    """Combine all blocks of a layer.

    blocks : in the order of their images; each is read once.
    The cut of the images into blocks affects only the last bits of means and variances. Where and when a block was
    computed has no effect. Raises ValueError without blocks.
    """
    total = Total.of(blocks, k=k, classes=classes)
    images, values, places = total.sample()
    hits = {"class" if kind == "own_class" else kind: best for kind, best in total.hits.items() if best is not None}
    if quantile_hits:
        hits["quantile"] = quantile_images(images, values, places, total.width, k)
    return LayerResult(hits, _statistics(total, values))


def selective_classes(class_mean: np.ndarray, count: int) -> np.ndarray:
    """The `count` classes with the largest mean, best first, int64 (unit, rank); −1 if there are too few.

    class_mean : (unit, class), NaN for a class without images.
    The lower class number wins a tie.
    """
    order = np.argsort(-class_mean, axis=1, kind="stable")[:, :count]  # NaN sorts last
    none = np.isnan(np.take_along_axis(class_mean, order, axis=1))
    best = np.where(none, -1, order)
    return np.pad(best, ((0, 0), (0, count - best.shape[1])), constant_values=-1)


def quantile_images(images: np.ndarray, values: np.ndarray, places: np.ndarray, width: int, k: int) -> Hits:
    """For every unit, k images evenly spaced over its values in descending order; all images if available are fewer.

    images : int64 (image,), ascending.
    values : float32 (image, unit); an image whose value is NaN is left out.
    places : (image, unit), row · width + column.
    """
    count, units = values.shape
    if count == 0:
        return Hits.empty(units, k)
    hits = []
    for start in range(0, units, _COLUMNS):  # bounds memory
        part = slice(start, start + _COLUMNS)
        order = topk.best_images(values[:, part], images, places[:, part], width, count)
        available = (order.image != topk.MISSING).sum(axis=1)[:, None]
        steps = np.arange(k)[None, :]
        spaced = np.rint(steps * (available - 1) / max(k - 1, 1)).astype(np.int64)
        rank = np.where(available <= k, np.minimum(steps, count - 1), spaced)
        none = (available <= k) & (steps >= available)
        chosen = Hits(*(np.take_along_axis(getattr(order, name), rank, axis=1) for name in topk.FIELDS))
        empty = Hits.empty(*rank.shape)
        hits.append(Hits(*(np.where(none, getattr(empty, name), getattr(chosen, name)) for name in topk.FIELDS)))
    return Hits.join(hits)


_COLUMNS = 128


def _statistics(total: Total, values: np.ndarray) -> LayerStatistics:
    """values : float32 (image, unit), the maxima of the sample."""
    maxima = _spread(total.maxima, total.sums["maxima_counts"])
    seen = total.maxima.count
    share = np.divide(total.sums["active"], seen, out=np.full(len(seen), np.nan), where=seen > 0)
    positions = None if total.positions is None else _spread(total.positions, total.sums["position_counts"])
    everywhere = total.maxima if total.positions is None else total.positions  # perhaps of a part of the images
    never_varies = np.minimum(everywhere.least, total.maxima.least) >= total.maxima.most
    nearest, correlation = redundant_units(values)
    counts = total.class_counts.T  # (unit or 1, class)
    sums = total.class_sums.T
    mean = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return LayerStatistics(
        maxima=replace(maxima, active=share),
        positions=positions,
        not_a_number=total.sums["not_a_number"],
        dead=never_varies | (total.gated & (total.maxima.most <= 0)),
        never_varies=never_varies,
        nearest=nearest,
        correlation=correlation,
        redundant_unit=np.where(np.abs(np.nan_to_num(correlation)) >= REDUNDANT, nearest, -1).astype(np.int32),
        class_mean=mean.astype(np.float32),
        class_images=counts.max(axis=0, initial=0),
    )


def _spread(values: Moments, counts: np.ndarray) -> Distribution:
    at_levels = quantiles(counts, values.least, values.most, np.array(LEVELS))
    return Distribution(values, counts, at_levels, positive_share(counts))
