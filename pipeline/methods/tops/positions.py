"""Counts and moments of a layer's values at all positions, for the images whose positions are counted.

Maps are read with the channels of a position adjacent in memory. Whole rows of a map are then added to each other, as
long contiguous vectors, whatever the size of the map. On a CPU the sums use NumPy, which compares several times as fast
as torch, and squares and adds in one pass; on other devices they use torch, and nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.tops.histogram import Counter
from pipeline.methods.tops.moments import Moments

_HELD = {"cpu": 1 << 17, "cuda": 1 << 22}  # values counted at a time: 0.5 MB, which stays in a core's cache; 16 MB
_ROWS = 256  # rows of maps counted at a time; bounds the error of their sums in single precision


class Positions:
    """The values at all positions of one layer, and of the ReLU above it if that is requested too.

    An image that holds NaN anywhere is left out for that unit. Sums over _ROWS rows are in single precision, all others
    in double. A sum has the same bits whatever other units are present.
    """

    def __init__(self, units: int, width: int, memory: Memory, *, rectified: bool) -> None:
        self._memory, self._host = memory, memory.device.type == "cpu"
        self._counter = Counter(units, memory.device)
        room = min(max(1, _HELD["cpu" if self._host else "cuda"] // (units * width)), _ROWS)
        self._held = torch.empty(room, width, units, device=memory.device)  # rows of small maps, to count them together
        self._rows, self._held_most = 0, []  # rows that wait, and the largest values of their maps
        self._own, self._over = _Sums(units), _Sums(units) if rectified else None
        self._least = torch.full((units,), math.inf, device=memory.device)
        self._most = torch.full((units,), -math.inf, device=memory.device)

    def add(self, maps: Tensor, value: Tensor, chosen: Sequence[int]) -> None:
        """Add some images of a batch.

        maps : (image, unit, row, column), unchanged.
        value : (image, unit), their largest values, NaN where a map holds NaN.
        chosen : numbers of the images in the batch.
        """
        height, room = maps.shape[2], len(self._held)
        for image in chosen:
            lines, most = maps[image].permute(1, 2, 0), value[image]
            self._most = torch.fmax(self._most, most)
            if self._rows + height > room:
                self._add_held()
            if height <= room:
                self._held[self._rows : self._rows + height] = lines
                self._rows += height
                self._held_most.append(most)
                continue
            bad = most.isnan()
            left_out = not self._host or bool(bad.any())
            if left_out:  # the whole map, for the counter too
                lines = lines.masked_fill(bad, math.nan)
            for start in range(0, height, room):
                self._add(lines[start : start + room], left_out)

    def counts(self) -> np.ndarray:
        """The counts, int64 (unit, bin)."""
        self._add_held()
        return self._counter.counts()

    def moments(self, *, rectified: bool = False) -> Moments:
        """The moments of the layer, or of the ReLU above it."""
        self._add_held()
        least, most = (part.cpu().numpy().astype(np.float64) for part in (self._least, self._most))
        if not rectified:
            return self._own.moments(least, most)
        lowest, highest = (np.where(most < least, part, np.maximum(part, 0)) for part in (least, most))  # not of none
        return self._over.moments(lowest, highest)

    def _add_held(self) -> None:
        if not self._rows:
            return
        lines, bad = self._held[: self._rows], torch.stack(self._held_most).isnan()
        left_out = not self._host or bool(bad.any())
        if left_out:  # whole maps, for the counter too
            lines.view(len(bad), -1, *lines.shape[1:]).masked_fill_(bad[:, None, None], math.nan)
        self._add(lines, left_out)
        self._rows = 0
        self._held_most.clear()

    def _add(self, lines: Tensor, left_out: bool) -> None:
        """Count values (row, column, unit). left_out : whether some may be NaN, which do not count."""
        rows, columns, units = lines.shape
        half = self._memory.of("half", rows * columns * min(units, 128), torch.float16)
        self._counter.add(lines, half)
        low = lines.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf) if left_out else lines
        self._least = torch.minimum(self._least, (least_on_host if self._host else least_on_device)(low))
        other = self._memory.of("apart", lines.numel(), torch.float32).view(lines.shape)
        with np.errstate(invalid="ignore", over="ignore"):  # maps may hold infinities
            self._own.add(lines, other, left_out)
            if self._over is not None:
                self._over.add(torch.clamp(lines, min=0, out=other), other, left_out)


class Memory:
    """Working memory of a device, by its use, that layers share."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: dict[tuple[str, torch.dtype], Tensor] = {}

    def of(self, use: str, size: int, dtype: torch.dtype) -> Tensor:
        """Memory of one dimension; its content is undefined."""
        held = self._held.get((use, dtype))
        if held is None or held.numel() < size:
            held = self._held[use, dtype] = torch.empty(size, dtype=dtype, device=self.device)
        return held[:size]


@dataclass
class _Sums:
    """Sums over the values so far, as tensors on their device, (unit,).

    units : how many.
    shift : float32, a value that is probably near the mean: the first one.
    count : int64.
    first, second : float64, Σ (x − shift) and Σ (x − shift)².
    """

    units: int
    shift: Tensor | None = None
    count: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None

    def add(self, lines: Tensor, other: Tensor, left_out: bool) -> None:
        """Add values (row, column, unit).

        other : memory as large, overwritten; may be that of the values.
        left_out : whether some may be NaN, which do not count.
        """
        if self.shift is None:
            self.shift = torch.nan_to_num(lines[0, 0], nan=0.0, posinf=0.0, neginf=0.0)
        spread = spread_on_host if lines.device.type == "cpu" else spread_on_device
        count = torch.tensor(lines.shape[0] * lines.shape[1])
        if left_out:
            bad = lines.isnan()
            count = (~bad).sum(dim=(0, 1))
            lines = torch.where(bad, self.shift, lines)
        parts = (count, *spread(lines, self.shift, other))
        if self.count is not None:
            parts = tuple(a + b for a, b in zip((self.count, self.first, self.second), parts, strict=True))
        self.count, self.first, self.second = parts

    def moments(self, least: np.ndarray, most: np.ndarray) -> Moments:
        """The moments of the values. least, most : float64 (unit,), their extremes."""
        if self.count is None:
            return Moments.empty(self.units)
        count, first, second, shift = (
            getattr(self, name).cpu().numpy() for name in ("count", "first", "second", "shift")
        )
        count = np.broadcast_to(count, self.units).copy()
        with np.errstate(invalid="ignore", over="ignore"):
            apart = first / np.maximum(count, 1)
            squares = np.maximum(second - first * apart, 0)  # passes NaN on
        mean = np.where(count > 0, shift + apart, 0.0)
        return Moments(count, mean, squares, least, most)


def least_on_host(lines: Tensor) -> Tensor:
    """Each unit's smallest value in lines (row, column, unit) on a CPU, (unit,)."""
    rows, columns, units = lines.shape
    across = np.minimum.reduce(lines.numpy().reshape(rows, columns * units), axis=0)
    return torch.from_numpy(np.minimum.reduce(across.reshape(columns, units), axis=0))


def least_on_device(lines: Tensor) -> Tensor:
    """`least_on_host` on other devices."""
    return lines.amin(dim=(0, 1))


def spread_on_host(lines: Tensor, shift: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Each unit's Σ (x − shift) and Σ (x − shift)² over lines (row, column, unit) on a CPU, float64 (unit,).

    memory : as large as the lines, overwritten.
    """
    rows, columns, units = lines.shape
    flat, apart = (part.reshape(rows, columns * units) for part in (lines, memory))
    torch.sub(flat, shift.repeat(columns), out=apart)
    sums = np.add.reduce(apart.numpy(), axis=0), np.einsum("rc,rc->c", apart.numpy(), apart.numpy())
    first, second = (across.reshape(columns, units).sum(axis=0, dtype=np.float64) for across in sums)
    return torch.from_numpy(first), torch.from_numpy(second)


def spread_on_device(lines: Tensor, shift: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """`spread_on_host` on other devices."""
    apart = torch.sub(lines, shift, out=memory)
    first = apart.sum(dim=0).double().sum(dim=0)
    return first, apart.square_().sum(dim=0).double().sum(dim=0)
