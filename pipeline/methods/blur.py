"""Gaussian blur as two small matrix products."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

TRUNCATE = 4.0  # standard deviations; the taps beyond are left out, as scipy.ndimage does by default


def blur(image: Tensor, radius: float) -> Tensor:
    """Each channel blurred by a Gaussian of standard deviation `radius` pixels; the sum of a channel is kept.

    image : (batch, channel, row, column). At the border the image continues as its mirror image, edge pixel
    included (d c b a | a b c d | d c b a), as often as the taps need it.
    Source: Yosinski et al. 2015, section 3; equal to scipy.ndimage.gaussian_filter with its defaults.
    """
    rows = _matrix_on(image.shape[2], radius, image.dtype, image.device)
    columns = _matrix_on(image.shape[3], radius, image.dtype, image.device)
    return rows @ (image @ columns.T)


@functools.lru_cache(maxsize=64)
def blur_matrix(size: int, radius: float) -> np.ndarray:
    """The blur of one axis as a float64 matrix (output, input), read-only."""
    reach = int(TRUNCATE * radius + 0.5)
    offsets = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (offsets / radius) ** 2) if radius > 0 else np.ones(1)
    taps /= taps.sum()
    source = (np.arange(size)[:, None] + offsets) % (2 * size)  # the mirrored image repeats every 2·size
    source = np.where(source < size, source, 2 * size - 1 - source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), taps)
    matrix.flags.writeable = False
    return matrix


@functools.lru_cache(maxsize=64)
def _matrix_on(size: int, radius: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(blur_matrix(size, radius), dtype=dtype, device=device)
