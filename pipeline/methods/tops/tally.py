"""The hits and the statistics of a layer's units, over the images of a block so far, from each image's maxima."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.methods.tops import moments, topk
from pipeline.methods.tops.histogram import Counter
from pipeline.methods.tops.moments import Moments
from pipeline.methods.tops.reading import place_type
from pipeline.methods.tops.topk import Hits

_BYTE = 255  # images counted in single bytes


@dataclass(frozen=True)
class Images:
    """Some images.

    numbers : (image,).
    sampled : bool (image,), whether each is in the sample.
    labels : (image,), class; −1 for none.
    by_class : (image,), rows in the order of their classes, those without a class first.
    classes, starts : the classes that occur, ascending, and where each begins in `by_class`.
    """

    numbers: np.ndarray
    sampled: np.ndarray
    labels: np.ndarray
    by_class: np.ndarray
    classes: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray, labels: np.ndarray, sampled: np.ndarray) -> Images:
        order = np.argsort(labels, kind="stable")
        present, starts = np.unique(labels[order], return_index=True)
        has = present >= 0
        return cls(numbers, sampled, labels, order, present[has], starts[has])


class Tally:
    """Hits and statistics of a layer. Units are added in parts; no order of the parts decides a bit."""

    def __init__(
        self,
        units: int,
        height: int,
        width: int,
        k: int,
        classes: int,
        *,
        smallest: bool,
        own_class: bool,
        distribution: bool,
    ) -> None:
        """
        smallest, own_class : whether these hits are kept.
        distribution : whether histogram and sample are kept; of a ReLU's layer, they follow from that below.
        """
        self._k, self._width, self._place_type = k, width, place_type(height * width)
        self._largest = Hits.empty(units, k)
        self._smallest = Hits.empty(units, k) if smallest else None
        self._own_class = Hits.empty(units, k) if own_class else None
        self._not_a_number, self._active = np.zeros(units, np.int64), np.zeros(units, np.int64)
        self.maxima = Moments.empty(units)
        self._class_counts, self._class_sums = np.zeros((classes, units), np.int64), np.zeros((classes, units))
        self._counter = Counter(units, torch.device("cpu")) if distribution else None
        self._sample: list[tuple[slice, np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, images: Images, value: np.ndarray, place: np.ndarray, at: slice) -> None:
        """Add the readings of some units, (image, unit). at : which units they are.

        All units of some images are added before those of further images.
        """
        if not len(value):
            return
        common = (images.numbers, place, self._width, self._k)
        self._merge_hits(self._largest, topk.best_images(value, *common), at)
        if self._smallest is not None:
            self._merge_hits(self._smallest, topk.best_images(value, *common, smallest=True), at, smallest=True)
        if self._own_class is not None:
            part = topk.best_of_own_class(value, *common, images.labels - at.start)
            self._merge_hits(self._own_class, part, at)
        good = ~np.isnan(value) if np.isnan(value.max(axis=0)).any() else None
        if good is not None:
            self._not_a_number[at] += len(value) - good.sum(axis=0)
        self._active[at] += _positive(value)
        self._add_sums(images, value, good, at)
        if self._counter is not None:
            scratch = torch.empty(value.size, dtype=torch.float16)
            self._counter.add(torch.from_numpy(value)[None], scratch, at.start)
            chosen = slice(None) if images.sampled.all() else images.sampled  # a slice copies nothing
            self._sample.append((at, images.numbers[chosen], value[chosen], place[chosen]))

    def distribution(self) -> dict[str, np.ndarray | None]:
        """Histogram and sample, as fields of a `LayerBlock`."""
        units = len(self._active)
        numbers = [numbers for at, numbers, _, _ in self._sample if at.start == 0]
        images = np.concatenate([np.zeros(0, np.int64), *numbers])
        values, places = np.empty((len(images), units), np.float32), np.empty((len(images), units), self._place_type)
        filled = np.zeros(units, np.int64)  # of each unit: further images may be cut into other parts
        while self._sample:  # releases them one by one
            at, numbers, value, place = self._sample.pop(0)
            row = int(filled[at.start])
            filled[at] += len(numbers)
            values[row : row + len(numbers), at], places[row : row + len(numbers), at] = value, place
        return {
            "maxima_counts": self._counter.counts(),
            "sample_images": images,
            "sample_values": values,
            "sample_places": places,
        }

    def fields(self) -> dict[str, object]:
        """All else, as fields of a `LayerBlock`."""
        present = np.flatnonzero(self._class_counts.any(axis=1))
        counts = self._class_counts[present]
        return {
            "largest": self._largest,
            "smallest": self._smallest,
            "own_class": self._own_class,
            "not_a_number": self._not_a_number,
            "active": self._active,
            "maxima": self.maxima,
            "classes": present,
            "class_counts": counts if self._not_a_number.any() else counts[:, :1],
            "class_sums": self._class_sums[present],
        }

    def _merge_hits(self, held: Hits, new: Hits, at: slice, *, smallest: bool = False) -> None:
        before = Hits(*(getattr(held, name)[at] for name in topk.FIELDS))
        merged = topk.merge(before, new, self._k, smallest=smallest)
        for name in topk.FIELDS:
            getattr(held, name)[at] = getattr(merged, name)

    def _add_sums(self, images: Images, value: np.ndarray, good: np.ndarray | None, at: slice) -> None:
        """Add to the moments and to the sums of classes."""
        with np.errstate(invalid="ignore"):  # the spread of infinities is NaN
            single = moments.of_values(value, good)
        before = Moments(*(getattr(self.maxima, name)[at] for name in moments.FIELDS))
        with np.errstate(invalid="ignore"):
            merged = moments.merge(before, single)
        for name in moments.FIELDS:
            getattr(self.maxima, name)[at] = getattr(merged, name)
        if not len(images.classes):
            return
        bounds = [*images.starts.tolist(), len(value)]
        for label, start, stop in zip(images.classes.tolist(), bounds, bounds[1:], strict=False):
            rows = images.by_class[start:stop]
            ours = value[rows].astype(np.float64)
            if good is not None:
                ours[~good[rows]] = 0.0
            self._class_sums[label, at] += ours[0] if len(rows) == 1 else ours.sum(axis=0)
            self._class_counts[label, at] += len(rows) if good is None else good[rows].sum(axis=0)


def _positive(value: np.ndarray) -> np.ndarray:
    """How many values of each column are above zero, int64 (unit,)."""
    total = np.zeros(value.shape[1], np.int64)
    for start in range(0, len(value), _BYTE):
        above = np.greater(value[start : start + _BYTE], 0).view(np.uint8)
        total += np.add.reduce(above, axis=0, dtype=np.uint8)
    return total
