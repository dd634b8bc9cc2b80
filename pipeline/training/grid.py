"""How much of a grid lies over images: the marks that strides and repeated pixels leave in what a generator makes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PERIODS = (2, 4, 8, 16)  # pixels: strides and their products
_NEIGHBOURS = 2  # frequencies on either side that a peak is held against
_FLOOR = 1e-12  # share of all power below which rounding speaks
_LEAST_PLACE = 3  # of a frequency: below, neighbours are the image's slow parts


def periods(size: tuple[int, int]) -> tuple[int, ...]:
    """The periods that images of so many rows and columns can show."""
    side = _side(size)
    return tuple(period for period in PERIODS if side // period >= _LEAST_PLACE)


def axis_power(images: Tensor) -> np.ndarray:
    """Power of images' lines and columns by frequency, float64 (axis, frequency): from 0 to one half a pixel.

    images : (batch, channel, row, column), cut to a square about their centre whose side all periods divide. The sum
    over images and channels of |DFT|² where the other axis's frequency is zero; of several batches it may be added.
    """
    side = _side(tuple(images.shape[-2:]))
    top, left = (images.shape[-2] - side) // 2, (images.shape[-1] - side) // 2
    square = images[..., top : top + side, left : left + side].double()
    both = [torch.fft.rfft(square.mean(axis)).abs().square().flatten(0, 1).sum(0) for axis in (-1, -2)]
    return torch.stack(both).cpu().numpy()


def grid_decibels(power: np.ndarray) -> dict[int, float]:
    """Power at the axis frequency of each period over the mean of its neighbours', by period: 0 dB is no grid.

    power : as axis_power returns, or a sum of such. The louder axis counts; 0 where there is no power at all.
    """
    most = power.shape[1] - 1
    power = np.maximum(power, max(_FLOOR * float(power.sum()), np.finfo(np.float64).tiny))
    found = {}
    for period in periods((2 * most, 2 * most)):
        place = 2 * most // period
        near = [at for at in range(place - _NEIGHBOURS, place + _NEIGHBOURS + 1) if at != place and at <= most]
        found[period] = float(10 * np.log10(power[:, place] / power[:, near].mean(1)).max())
    return found


def _side(size: tuple[int, int]) -> int:
    least = min(size)
    return least - least % PERIODS[-1] if least >= PERIODS[-1] else least - least % 2
