"""Readings of maps: each map's largest value and its first place, kept on the device until they are merged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Readings:
    """The readings of the images that wait to be merged, (image, unit), the units of all layers side by side.

    They stay on the device of the maps, so that a GPU is waited for once for many batches.
    """

    def __init__(self, units: Mapping[str, int], images: int, device: torch.device) -> None:
        """
        units : layer → number of its units, in the order of their columns.
        images : maximum number of images.
        """
        self.columns: dict[str, slice] = {}
        at = 0
        for name, count in units.items():
            self.columns[name] = slice(at, at + count)
            at += count
        self._value = torch.zeros(images, at, device=device)
        self._place = torch.zeros(images, at, dtype=torch.int32, device=device)

    def read(self, name: str, maps: Tensor, start: int) -> Tensor:
        """Read the maps of a layer, (image, unit, row, column) or (image, unit), into the rows from `start` on.

        Returns each map's largest value, (image, unit).
        """
        rows, at = slice(start, start + len(maps)), self.columns[name]
        value, place = first_of(maps)
        torch.add(value, 0, out=self._value[rows, at])  # −0 becomes 0
        if place is not None:
            self._place[rows, at] = place
        return value

    def taken(self, images: int) -> tuple[np.ndarray, np.ndarray]:
        """The readings of the first images: the largest value, float32, NaN if any value is; its place, int32.

        The place is row · width + column of the first position; any position for NaN. On a CPU both are views.
        """
        return self._value[:images].cpu().numpy(), self._place[:images].cpu().numpy()


def first_of(maps: Tensor) -> tuple[Tensor, Tensor | None]:
    """Each map's largest value, NaN if it contains any, and its first place, both (image, unit).

    maps : (image, unit, row, column) or (image, unit), in any memory format.
    The place is None for maps of one position.
    """
    if maps.dim() == 2 or maps.shape[2] * maps.shape[3] == 1:
        return maps.flatten(1), None
    beside = maps.contiguous(memory_format=torch.channels_last)
    return (first_on_host if maps.device.type == "cpu" else first_on_device)(beside)


def first_on_host(maps: Tensor) -> tuple[Tensor, Tensor]:
    """`first_of` on a CPU: pooling finds value and place in one pass, many channels at a time."""
    value, place = functional.max_pool2d(maps, maps.shape[2:], return_indices=True)
    return value.flatten(1), place.flatten(1)


def first_on_device(maps: Tensor) -> tuple[Tensor, Tensor]:
    """`first_of` on other devices, where pooling gives one thread the whole map.

    Positions are numbered in descending order, and the largest number at which the value is the maximum is the first
    place.
    """
    height, width = maps.shape[2:]
    value = maps.amax(dim=(2, 3))
    left = ((maps == value[:, :, None, None]) * _falling(height, width, maps.device)).amax(dim=(2, 3))
    return value, (height * width - left).clamp_(max=height * width - 1)  # NaN does not equal itself


@lru_cache(maxsize=64)  # one entry for each size of map in a network
def _falling(height: int, width: int, device: torch.device) -> Tensor:
    """Positions of a map numbered from height · width down to 1, int32 (row, column)."""
    return torch.arange(height * width, 0, -1, dtype=torch.int32, device=device).view(height, width)
