"""Reductions of maps over their positions, with the channels of a position adjacent in memory.

Whole rows of a map are then added to each other, as long contiguous vectors, whatever the size of the map. A sum has
the same bits whatever other units are present. On a CPU the reductions use NumPy, which compares several times as fast
as torch, and squares and adds in one pass; on other devices they use torch.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def first_of(part: Tensor, memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    """Each map's largest value, NaN if it contains any, and its first place, both (image, unit).

    part : (image, row, column, unit).
    The place is computed as a maximum, because argmax across channels is slow in NumPy and torch: positions are
    numbered in descending order, and the largest number at which the value is the maximum is the first place.
    """
    images, height, width, units = part.shape
    if height * width == 1:
        return part.view(images, units).cpu().numpy(), np.zeros((images, units), np.int32)
    falling = _falling(height, width, units)
    value, left = first_on_host(part, falling, memory) if part.device.type == "cpu" else first_on_device(part, falling)
    place = height * width - left.astype(np.int32)
    for image, unit in np.argwhere(np.isnan(value)):  # NaN does not equal itself
        place[image, unit] = int(part[image, :, :, unit].isnan().flatten().cpu().numpy().argmax())
    return value, place


def first_on_host(part: Tensor, falling: np.ndarray, memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    """Each map's largest value, and the largest of the descending numbers at its positions; 0 for NaN."""
    maps = part.numpy()
    value = _over(np.maximum, maps)
    lines, wide = maps.reshape(len(maps), *falling.shape), np.tile(value, (1, maps.shape[2]))[:, None]
    equal = memory.of("equal", maps.size, torch.bool).numpy().reshape(lines.shape)
    weighted = memory.of("weighted", maps.size, torch.from_numpy(falling).dtype).numpy().reshape(lines.shape)
    np.multiply(np.equal(lines, wide, out=equal).view(np.uint8), falling, out=weighted)
    return value, _over(np.maximum, weighted.reshape(maps.shape))


def first_on_device(part: Tensor, falling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`first_on_host` on the device of the maps."""
    value = part.amax(dim=(1, 2))
    numbers = torch.from_numpy(falling).to(part.device).view(part[0].shape)
    left = ((part == value[:, None, None]) * numbers).amax(dim=(1, 2))
    return value.cpu().numpy(), left.cpu().numpy()


def least_of(part: Tensor) -> np.ndarray:
    """Each map's smallest value, (image, unit)."""
    return _over(np.minimum, part.numpy()) if part.device.type == "cpu" else part.amin(dim=(1, 2)).cpu().numpy()


def spread_of(part: Tensor, memory: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Each map's mean and Σ (x − mean)², float32 (image, unit).

    memory : as large as the maps, overwritten; may be that of the maps.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # maps may hold infinities
        return (spread_on_host if part.device.type == "cpu" else spread_on_device)(part, memory)


def spread_on_host(part: Tensor, memory: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`spread_of` on a CPU: squares and adds in one pass."""
    images, height, width, units = part.shape
    lines, apart = (maps.view(images, height, width * units) for maps in (part, memory))
    mean = _over(np.add, part.numpy()) / np.float32(height * width)
    torch.sub(lines, torch.from_numpy(np.tile(mean, (1, width))[:, None]), out=apart)
    across = np.einsum("ihc,ihc->ic", apart.numpy(), apart.numpy())
    return mean, np.add.reduce(across.reshape(images, width, units), axis=1)


def spread_on_device(part: Tensor, memory: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`spread_of` on the device of the maps."""
    mean = part.sum(dim=(1, 2)).div_(part.shape[1] * part.shape[2])
    apart = torch.sub(part, mean[:, None, None], out=memory)
    return mean.cpu().numpy(), apart.square_().sum(dim=(1, 2)).cpu().numpy()


class Memory:
    """Working memory, by its use, that calls share."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[tuple[str, torch.dtype], Tensor] = {}

    def of(self, use: str, size: int, dtype: torch.dtype) -> Tensor:
        """Memory of one dimension; its content is undefined."""
        held = self._held.get((use, dtype))
        if held is None or held.numel() < size:
            held = self._held[use, dtype] = torch.empty(size, dtype=dtype, device=self._device)
        return held[:size]


def _over(what: np.ufunc, maps: np.ndarray) -> np.ndarray:
    """Reduce maps (image, row, column, unit) over their positions to (image, unit): first over rows, then columns."""
    images, height, width, units = maps.shape
    lines = maps.reshape(images, height, width * units)
    across = what.reduce(lines, axis=1) if height > 1 else lines[:, 0]
    return what.reduce(across.reshape(images, width, units), axis=1) if width > 1 else across


@lru_cache(maxsize=64)  # one entry for each size of map in a network
def _falling(height: int, width: int, units: int) -> np.ndarray:
    """Positions of a map numbered from height · width down to 1, (row, column · unit), in the smallest integer type."""
    count = height * width
    narrow = next(kind for kind in (np.uint8, np.int16, np.int32) if count <= np.iinfo(kind).max)
    left = np.arange(count, 0, -1, dtype=narrow).reshape(height, width)
    return np.ascontiguousarray(np.repeat(left, units, axis=1))
