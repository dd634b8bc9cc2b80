"""The hits of every kind and the statistics of each unit of a layer, computed from all blocks of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.methods.tops import moments, topk
from pipeline.methods.tops.blocks import LayerBlock
from pipeline.methods.tops.histogram import positive_share, quantiles
from pipeline.methods.tops.moments import Moments
from pipeline.methods.tops.redundancy import redundant_units
from pipeline.methods.tops.settings import REDUNDANT
from pipeline.methods.tops.topk import Hits

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
    total: _Total | None = None
    for block in blocks:
        if total is None:
            total = _Total(block, classes)
        total.add(block, k)
    if total is None:
        raise ValueError("statistics of a layer: no block, expected at least one")
    return total.result(k, quantile_hits)


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


class _Total:
    """The running sum of blocks."""

    def __init__(self, first: LayerBlock, classes: int) -> None:
        units = first.units
        self._width, self._gated = first.width, first.gated
        self._hits = {"largest": None, "smallest": None, "own_class": None}
        self._maxima = Moments.empty(units)
        self._positions = Moments.empty(units)
        self._sums = {
            name: np.zeros_like(array)
            for name in ("not_a_number", "active", "maxima_counts", "position_counts")
            if (array := getattr(first, name)) is not None
        }
        self._class_counts = np.zeros((classes, 1), np.int64)
        self._class_sums = np.zeros((classes, units))
        self._samples: tuple[list[np.ndarray], ...] = ([], [], [])  # images, values, places

    def add(self, block: LayerBlock, k: int) -> None:
        for kind, held in self._hits.items():
            new = getattr(block, kind)
            if new is not None:
                held = Hits.empty(block.units, k) if held is None else held
                self._hits[kind] = topk.merge(held, new, k, smallest=kind == "smallest")
        with np.errstate(invalid="ignore"):  # values may be infinite
            self._maxima = moments.merge(self._maxima, block.maxima)
            if block.positions is not None:
                self._positions = moments.merge(self._positions, block.positions)
        for name, sum_ in self._sums.items():
            sum_ += getattr(block, name)
        if block.class_counts.shape[1] > self._class_counts.shape[1]:
            self._class_counts = np.repeat(self._class_counts, block.units, axis=1)
        self._class_counts[block.classes] += block.class_counts
        self._class_sums[block.classes] += block.class_sums
        for parts, part in zip(
            self._samples, (block.sample_images, block.sample_values, block.sample_places), strict=True
        ):
            parts.append(part)

    def result(self, k: int, quantile_hits: bool) -> LayerResult:
        images, values, places = map(_joined, self._samples)
        hits = {"class" if kind == "own_class" else kind: best for kind, best in self._hits.items() if best is not None}
        if quantile_hits:
            hits["quantile"] = quantile_images(images, values, places, self._width, k)
        return LayerResult(hits, self._statistics(values))

    def _statistics(self, sample: np.ndarray) -> LayerStatistics:
        maxima = _spread(self._maxima, self._sums["maxima_counts"])
        seen = self._maxima.count
        share = np.divide(self._sums["active"], seen, out=np.full(len(seen), np.nan), where=seen > 0)
        positions = None
        if "position_counts" in self._sums:
            positions = _spread(self._positions, self._sums["position_counts"])
        everywhere = self._maxima if positions is None else self._positions  # perhaps of a part of the images
        never_varies = np.minimum(everywhere.least, self._maxima.least) >= self._maxima.most
        nearest, correlation = redundant_units(sample)
        counts = self._class_counts.T  # (unit or 1, class)
        mean = np.divide(self._class_sums.T, counts, out=np.full(self._class_sums.T.shape, np.nan), where=counts > 0)
        return LayerStatistics(
            maxima=replace(maxima, active=share),
            positions=positions,
            not_a_number=self._sums["not_a_number"],
            dead=never_varies | (self._gated & (self._maxima.most <= 0)),
            never_varies=never_varies,
            nearest=nearest,
            correlation=correlation,
            redundant_unit=np.where(np.abs(np.nan_to_num(correlation)) >= REDUNDANT, nearest, -1).astype(np.int32),
            class_mean=mean.astype(np.float32),
            class_images=counts.max(axis=0, initial=0),
        )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The rows of all parts, which are released one by one, so that memory holds them hardly more than once."""
    whole, at = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.result_type(*parts)), 0
    while parts:
        part = parts.pop(0)
        whole[at : at + len(part)] = part
        at += len(part)
    return whole


def _spread(values: Moments, counts: np.ndarray) -> Distribution:
    at_levels = quantiles(counts, values.least, values.most, np.array(LEVELS))
    return Distribution(values, counts, at_levels, positive_share(counts))
