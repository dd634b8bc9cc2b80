"""Reduce a batch of a layer's maps: each map's largest value, its place, and the map's moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.tops.histogram import Counter
from pipeline.methods.tops.positions import Memory, first_of, least_of, spread_of

_SLICE = {"cpu": 3 << 17, "cuda": 1 << 27}  # values reduced at a time: 1.5 MB, about a core's cache; half a GB


@dataclass(frozen=True)
class Reading:
    """Extremes, place and moments of every map, (image, unit), in memory that the caller provides.

    value : float32, the spatial maximum, NaN if any value is.
    place : int32, row · width + column of the maximum's first position.
    least, mean, squares : float32, minimum, mean and Σ (x − mean)²; only filled if statistics of positions are
        requested.
    """

    value: np.ndarray
    place: np.ndarray
    least: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def blank(cls, images: int, units: int) -> Reading:
        arrays = [np.zeros((images, units), np.float32) for _ in range(5)]
        arrays[1] = np.zeros((images, units), np.int32)
        return cls(*arrays)

    def rows(self, start: int, stop: int) -> Reading:
        """A view of the images start … stop−1."""
        arrays = (self.value, self.place, self.least, self.mean, self.squares)
        return Reading(*(array[start:stop] for array in arrays))


class MapReader:
    """Reduces maps on their device. All layers share its working memory."""

    def __init__(self, device: torch.device) -> None:
        self._slice = _SLICE["cpu" if device.type == "cpu" else "cuda"]
        self._memory = Memory(device)

    def read(self, maps: Tensor, into: Reading, rectified: Reading | None, counter: Counter | None) -> None:
        """Reduce maps, which stay unchanged.

        maps : (image, unit, row, column) or (image, unit), in any memory format.
        into : receives the reading.
        rectified : receives the reading of the same maps after a ReLU.
        counter : counts all values; None if neither counts nor moments are requested.
        """
        beside = maps.permute(0, 2, 3, 1) if maps.dim() == 4 else maps[:, None, None, :]
        step = max(1, self._slice // maps[0].numel())
        for start in range(0, len(maps), step):
            part = beside[start : start + step]
            part = part if part.is_contiguous() else self._like("turned", part).copy_(part)
            over = None if rectified is None else rectified.rows(start, start + step)
            self._read(part, into.rows(start, start + step), over, counter)

    def _read(self, part: Tensor, rows: Reading, over: Reading | None, counter: Counter | None) -> None:
        """Reduce maps (image, row, column, unit), channels adjacent in memory."""
        rows.value[:], rows.place[:] = first_of(part, self._memory)
        np.add(rows.value, np.float32(0), out=rows.value)  # −0 becomes 0
        if over is not None:
            np.maximum(rows.value, 0, out=over.value)  # passes NaN on
            over.place[:] = np.where(rows.value > 0, rows.place, 0)
        if counter is None:
            return
        images, height, width, units = part.shape
        bad = np.isnan(rows.value)
        if bad.any():  # counts and moments leave such maps out
            part = part.masked_fill(torch.from_numpy(bad).to(part.device)[:, None, None, :], float("nan"))
        half = self._memory.of("half", images * height * width * min(units, 128), torch.float16)
        counter.add(part.view(-1, width, units), half)
        rows.least[:] = least_of(part)
        other = self._like("apart", part)
        rows.mean[:], rows.squares[:] = spread_of(part, other)
        if over is not None:
            np.maximum(rows.least, 0, out=over.least)
            over.mean[:], over.squares[:] = spread_of(torch.clamp(part, min=0, out=other), other)

    def _like(self, use: str, part: Tensor) -> Tensor:
        return self._memory.of(use, part.numel(), torch.float32).view(part.shape)
