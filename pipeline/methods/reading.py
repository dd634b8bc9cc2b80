"""What one batch of a layer's maps is reduced to: each map's largest value and place, and its moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.histogram import Counter

_SLICE = {"cpu": 1 << 20, "cuda": 1 << 27}  # values reduced at a time: 4 MB, near a core's caches; half a GB


@dataclass(frozen=True)
class Reading:
    """Of every map its extremes, place and moments, (image, unit), in memory that the reader of it gave.

    value : float32, the spatial maximum, NaN if any value is; place : int32, row · width + column of the first
    position that has it. least, mean, squares : float32; squares is Σ (x − mean)². The last three are not filled
    where the statistics of positions are not wanted.
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
        """The same memory, of some images."""
        arrays = (self.value, self.place, self.least, self.mean, self.squares)
        return Reading(*(array[start:stop] for array in arrays))


class MapReader:
    """Reduces maps on their device, with working memory that all layers share."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._slice = _SLICE["cpu" if device.type == "cpu" else "cuda"]
        self._memory: dict[tuple[int, torch.dtype], Tensor] = {}

    def read(self, maps: Tensor, into: Reading, rectified: Reading | None, counter: Counter | None) -> None:
        """Reduce maps, (image, unit, row, column) or (image, unit), in any memory format; they stay as they are.

        into : gets the reading. rectified : gets that of the same maps after a ReLU. counter : counts all values;
        None if neither that nor the moments are wanted.
        """
        images, units = maps.shape[:2]
        positions = maps[0, 0].numel()
        step = max(1, self._slice // (units * positions))
        for start in range(0, images, step):
            part = maps[start : start + step]
            flat = self._planes(part)
            rows = into.rows(start, start + len(part))
            bad = self._extremes(flat, rows)
            over = None if rectified is None else rectified.rows(start, start + len(part))
            if over is not None:
                np.maximum(rows.value, 0, out=over.value)  # passes NaN on
                over.place[:] = np.where(rows.value > 0, rows.place, 0)
            if counter is not None:
                self._moments(flat, rows, over, bad, counter)

    def _planes(self, maps: Tensor) -> Tensor:
        """A copy that may be written over, (image, unit, position), the positions of a map side by side."""
        source = maps.flatten(2) if maps.dim() == 4 else maps[:, :, None]
        images, units, positions = source.shape
        planes = self._scratch(0, source.shape)
        if source.stride(1) == 1 and units % 64 == 0 and units * positions >= 1 << 15 and source.device.type == "cpu":
            for image in range(images):  # torch turns a matrix in tiles, which is faster where rows share cache lines
                planes[image].copy_(source[image])
            return planes
        return planes.copy_(source)

    def _extremes(self, flat: Tensor, rows: Reading) -> np.ndarray | None:
        """Fill in value and place; return which maps hold something that is not a number, None if none does."""
        if flat.shape[2] == 1:
            rows.value[:], rows.place[:] = flat[:, :, 0].cpu().numpy(), 0
        else:
            rows.value[:], rows.place[:] = (first_of_host if flat.device.type == "cpu" else first_of_device)(flat)
        np.add(rows.value, np.float32(0), out=rows.value)  # −0 becomes 0
        bad = np.isnan(rows.value)
        return bad if bad.any() else None

    def _moments(
        self, flat: Tensor, rows: Reading, over: Reading | None, bad: np.ndarray | None, counter: Counter
    ) -> None:
        if bad is not None:  # neither counts nor moments take a value of such a map
            flat[torch.from_numpy(bad).to(flat.device)] = float("nan")
        units = min(flat.shape[1], 128)
        counter.add(flat, self._memory_of(2, flat.shape[0] * units * flat.shape[2], torch.float16))
        rows.least[:] = flat.amin(dim=2).cpu().numpy()
        self._spread(flat, rows, keep=over is not None)
        if over is not None:
            np.maximum(rows.least, 0, out=over.least)
            self._spread(flat.relu_(), over, keep=False)

    def _spread(self, flat: Tensor, rows: Reading, *, keep: bool) -> None:
        """Fill in mean and squares; the maps are written over unless they are to be kept."""
        mean = flat.sum(dim=2).div_(flat.shape[2])
        other = self._scratch(1, flat.shape) if keep else flat
        apart = torch.sub(flat, mean[:, :, None], out=other)
        rows.mean[:] = mean.cpu().numpy()
        rows.squares[:] = apart.square_().sum(dim=2).cpu().numpy()  # a norm would add in a row and lose digits

    def _scratch(self, which: int, shape: torch.Size) -> Tensor:
        return self._memory_of(which, shape.numel(), torch.float32).view(shape)

    def _memory_of(self, which: int, size: int, dtype: torch.dtype) -> Tensor:
        held = self._memory.get((which, dtype))
        if held is None or held.numel() < size:
            held = self._memory[which, dtype] = torch.empty(size, dtype=dtype, device=self._device)
        return held[:size]


def first_of_host(flat: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Each map's largest value, NaN if it holds any, and the first place of it; maps (image, unit, position)."""
    values = flat.numpy()
    place = values.argmax(axis=2)  # NumPy's is vectorised, ten times as fast as torch's; NaN is largest for it
    starts = np.arange(0, values.size, values.shape[2]).reshape(place.shape)
    return values.reshape(-1)[starts + place], place


def first_of_device(flat: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The same, computed where the maps are; torch does not promise the first of equal values by itself."""
    value = flat.amax(dim=2)
    places = torch.arange(flat.shape[2], dtype=torch.int32, device=flat.device)
    place = torch.where((flat == value[:, :, None]) | flat.isnan(), places, flat.shape[2]).amin(dim=2)
    return value.cpu().numpy(), place.cpu().numpy()
