"""Readings of maps: each map's largest value and its first place, kept on the device until they are merged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Readings:
    """The readings of the images that wait to be merged, batch by batch, for every layer.

    They stay on the device of the maps, so that a GPU is waited for once for many batches.
    """

    def __init__(self, layers: Iterable[str]) -> None:
        self._parts: dict[str, list[tuple[Tensor, Tensor | None]]] = {name: [] for name in layers}
        self._places: dict[str, int] = {}  # layer → number of positions

    def read(self, name: str, maps: Tensor) -> Tensor:
        """Read the maps of a layer, (image, unit, row, column) or (image, unit), of further images.

        Returns each map's largest value, (image, unit).
        """
        value, place = first_of(maps)
        if place is None:
            value = value.clone()  # maps of one position, which may be overwritten
        self._parts[name].append((value, place))
        self._places[name] = maps.shape[2:].numel()
        return value

    def taken(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield each layer with its readings of all images, (image, unit), and forget them.

        They are the largest value, float32, NaN if any value is; and its place, of `place_type`. The place is
        row · width + column of the first position; any position for NaN.
        """
        for name, parts in self._parts.items():
            if not parts:
                continue
            values, places = zip(*parts, strict=True)
            parts.clear()
            value = torch.cat(values).add_(0).cpu().numpy()  # −0 becomes 0
            kind = place_type(self._places[name])
            if places[0] is None:
                yield name, value, np.broadcast_to(kind(0), value.shape)
            else:
                yield name, value, torch.cat(places).cpu().numpy().astype(kind)


def place_type(positions: int) -> type[np.integer]:
    """The type of the numbers of a map's positions."""
    return np.uint16 if positions <= 1 << 16 else np.int32


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
    value, place = functional.max_pool2d_with_indices(maps, maps.shape[2:])
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
