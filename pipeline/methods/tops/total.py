"""The sum of blocks of a layer, to which further blocks are added; it can be stored as a block itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.methods.tops import moments, topk
from pipeline.methods.tops.blocks import LayerBlock
from pipeline.methods.tops.moments import Moments
from pipeline.methods.tops.topk import Hits

_KINDS = ("largest", "smallest", "own_class")
_COUNTS = ("not_a_number", "active", "maxima_counts", "position_counts")


class Total:
    """The sum of the blocks of a layer so far.

    A sum that starts from the sum of the first blocks, as `block` gives it, has the same bits as one of all blocks.

    width, gated : as in a `LayerBlock`.
    hits : kind → hits; None for a kind that is not requested.
    maxima, positions : moments; the latter None if not requested.
    sums : "not_a_number", "active", "maxima_counts" and, if positions are requested, "position_counts".
    class_counts : int64 (class, unit), or (class, 1) if it is the same for all units.
    class_sums : float64 (class, unit).
    """

    def __init__(self, first: LayerBlock, classes: int) -> None:
        """first : a block that gives the form, and is not added."""
        units = first.units
        self.width, self.gated = first.width, first.gated
        self.hits: dict[str, Hits | None] = dict.fromkeys(_KINDS)
        self.maxima = Moments.empty(units)
        self.positions = None if first.positions is None else Moments.empty(units)
        self.sums = {name: np.zeros_like(array) for name in _COUNTS if (array := getattr(first, name)) is not None}
        self.class_counts = np.zeros((classes, 1), np.int64)
        self.class_sums = np.zeros((classes, units))
        self._samples: tuple[list[np.ndarray], ...] = ([], [], [])  # images, values, places

    @classmethod
    def of(cls, blocks: Iterable[LayerBlock], *, k: int, classes: int) -> Total:
        """The sum of blocks, in the order of their images; each is read once. Raises ValueError without blocks."""
        total: Total | None = None
        for block in blocks:
            if total is None:
                total = cls(block, classes)
            total.add(block, k)
        if total is None:
            raise ValueError("statistics of a layer: no block, expected at least one")
        return total

    def add(self, block: LayerBlock, k: int) -> None:
        for kind, held in self.hits.items():
            new = getattr(block, kind)
            if new is not None:
                held = Hits.empty(block.units, k) if held is None else held
                self.hits[kind] = topk.merge(held, new, k, smallest=kind == "smallest")
        with np.errstate(invalid="ignore"):  # values may be infinite
            self.maxima = moments.merge(self.maxima, block.maxima)
            if self.positions is not None:
                self.positions = moments.merge(self.positions, block.positions)
        for name, sum_ in self.sums.items():
            sum_ += getattr(block, name)
        if block.class_counts.shape[1] > self.class_counts.shape[1]:
            self.class_counts = np.repeat(self.class_counts, block.units, axis=1)
        self.class_counts[block.classes] += block.class_counts
        self.class_sums[block.classes] += block.class_sums
        for parts, part in zip(
            self._samples, (block.sample_images, block.sample_values, block.sample_places), strict=True
        ):
            parts.append(part)

    def sample(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, values and places of the sample, as in a `LayerBlock`; the sum gives them away."""
        images, values, places = map(_joined, self._samples)
        return images, values, places

    def block(self) -> LayerBlock:
        """The sum as one block of all images. The sum gives its sample away, and is not added to afterwards."""
        present = np.flatnonzero(self.class_counts.any(axis=1))
        images, values, places = self.sample()
        return LayerBlock(
            width=self.width,
            gated=self.gated,
            **self.hits,
            maxima=self.maxima,
            positions=self.positions,
            **{name: self.sums.get(name) for name in _COUNTS},
            classes=present,
            class_counts=self.class_counts[present],
            class_sums=self.class_sums[present],
            sample_images=images,
            sample_values=values,
            sample_places=places,
        )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The rows of all parts, which are released one by one, so that memory holds them hardly more than once."""
    whole, at = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.result_type(*parts)), 0
    while parts:
        part = parts.pop(0)
        whole[at : at + len(part)] = part
        at += len(part)
    return whole
