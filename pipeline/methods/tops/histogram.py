"""Counts of values on a fixed, signed, logarithmic grid: four bins per octave, from 2⁻²⁵ to beyond 57,344.

The grid is that of half-precision numbers truncated to two bits of mantissa. A value's bin is then a few bits of its
representation, and binning is a conversion and a shift. A positive bin holds edge < x ≤ next edge, a negative one is
its mirror image. One bin holds zero and what rounds to it (|x| ≤ 2⁻²⁵), and the outermost bins reach to infinity.
Below 2⁻¹⁴ the bins of an octave merge, as half precision loses bits there. The edges are half a unit of half precision
above round numbers (less than 0.05 %), because the conversion rounds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_SIDE = 124  # bins of one sign: 31 exponents of half precision × 4
ZERO = _SIDE  # the bin of zero
BINS = 2 * _SIDE + 1
RAW = 256  # counters of a channel before folding: the upper byte of half precision
_GROUP = 128  # channels whose counters are numbered within 16 bits


def _edges() -> np.ndarray:
    bits = np.arange(_SIDE, dtype=np.uint16) << 8
    below, above = (half.view(np.float16).astype(np.float64) for half in (bits, bits + np.uint16(1)))
    side = np.append((below + above) / 2, np.inf)
    return np.concatenate([-side[::-1], side])


EDGES = _edges()  # float64 (BINS + 1,), ascending; bin b lies between EDGES[b] and EDGES[b + 1]


class Counter:
    """Counts values into the bins of each channel, on one device; it reuses its working memory."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self._raw = torch.zeros(RAW, channels, dtype=torch.int64, device=device)
        self._places: dict[tuple[int, int], Tensor] = {}

    def add(self, values: Tensor, scratch: Tensor, first: int = 0) -> None:
        """Count values; NaN is not counted.

        values : float32 (row, column, channel), channels adjacent in memory.
        scratch : float16 of one dimension, at least as large as the values of 128 channels; overwritten.
        first : number of the first of these channels.
        """
        rows, columns, channels = values.shape
        for start in range(0, channels, _GROUP):
            part = values[:, :, start : start + _GROUP]
            wide = part.shape[2]
            half = scratch[: rows * columns * wide].view(rows, columns, wide)
            half.copy_(part)
            key = half.view(torch.int16).view(rows, columns * wide)
            key -= 1  # gives zero a bin of its own, among the codes of NaN, which no value has
            key >>= 8
            key *= wide  # the counters of a bin are adjacent over the channels, so consecutive values count in
            key += self._first(columns, wide)  # different counters near in memory; writes to the same one would wait
            self._raw[:, first + start : first + start + wide] += self._counted(key.view(-1), wide).view(RAW, wide)

    def counts(self) -> np.ndarray:
        """The counts, int64 (channel, bin)."""
        raw = self._raw.cpu().numpy().T
        negative, positive = raw[:, :_SIDE], raw[:, RAW // 2 : RAW // 2 + _SIDE]
        zero = raw[:, RAW // 2 - 1 : RAW // 2] + raw[:, RAW - 1 :]  # of +0 and of −0
        return np.concatenate([negative[:, ::-1], zero, positive], axis=1)

    def _counted(self, key: Tensor, wide: int) -> Tensor:
        """How often each counter is hit. Off the CPU, bincount would wait for the device to learn the largest key."""
        if key.device.type == "cpu":
            return torch.bincount(key, minlength=wide * RAW)
        counts = torch.zeros(wide * RAW, dtype=torch.int64, device=key.device)
        return counts.scatter_add_(0, key.long(), torch.ones((), dtype=torch.int64, device=key.device).expand(len(key)))

    def _first(self, columns: int, wide: int) -> Tensor:
        """The counter of bin 0 for each value of a row, int16 (column · channel,)."""
        if (columns, wide) not in self._places:
            channel = torch.arange(wide, device=self._raw.device) + RAW // 2 * wide
            self._places[columns, wide] = channel.to(torch.int16).repeat(columns)
        return self._places[columns, wide]


def rectified(counts: np.ndarray) -> np.ndarray:
    """The counts of the same values after a ReLU."""
    after = counts.copy()
    after[:, : ZERO + 1] = 0
    after[:, ZERO] = counts[:, : ZERO + 1].sum(axis=1)
    return after


def positive_share(counts: np.ndarray) -> np.ndarray:
    """The share of values above zero (above 2⁻²⁵), float64 (unit,); NaN if nothing was counted."""
    total = counts.sum(axis=1)
    return np.divide(counts[:, ZERO + 1 :].sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def quantiles(counts: np.ndarray, least: np.ndarray, most: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantiles, float64 (unit, level), estimated from the counts, linear within a bin; NaN if nothing was counted.

    counts : (unit, bin).
    least, most : (unit,), minimum and maximum, which narrow the outermost bins.
    levels : in [0, 1].
    """
    running = counts.cumsum(axis=1)
    total = running[:, -1:]
    wanted = total * np.asarray(levels)[None, :]  # (unit, level)
    place = np.stack([(running >= at[:, None]).argmax(axis=1) for at in np.maximum(wanted, 1e-9).T], axis=1)
    inside = np.take_along_axis(counts, place, axis=1)
    before = np.take_along_axis(running, place, axis=1) - inside
    share = np.divide(wanted - before, inside, out=np.zeros(wanted.shape), where=inside > 0)
    least, most = np.asarray(least, np.float64)[:, None], np.asarray(most, np.float64)[:, None]
    low = np.where(place == ZERO, 0.0, EDGES[place])
    high = np.where(place == ZERO, 0.0, EDGES[place + 1])
    low, high = np.clip(low, least, most), np.clip(high, least, most)
    same = low == high  # including infinities, whose difference would be NaN
    span = np.subtract(high, low, out=np.zeros(low.shape), where=~same)
    return np.where(total > 0, low + span * share, np.nan)
