"""The memorisation test of one search: the real images that lie nearest to each synthetic picture of a class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np


@dataclass(frozen=True)
class Memorisation:
    """One memorisation test. Arrays begin with (unit,): units of the class layer, rising."""

    group: h5py.Group

    @property
    def search(self) -> str:
        """True name of the search whose last iterates were compared."""
        return str(self.group.attrs["search"])

    @property
    def layer(self) -> str:
        """The class layer, whose units the pictures are of."""
        return str(self.group.attrs["layer"])

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that distances were taken in: pixels, and layers by name."""
        return tuple(self.group["spaces"].asstr()[...])

    @cached_property
    def units(self) -> np.ndarray:
        """(unit,) numbers of the units."""
        return self.group["unit"][...]

    @cached_property
    def images(self) -> np.ndarray:
        """(unit,) images of the unit's class that were compared."""
        return self.group["images"][...]

    @cached_property
    def nearest(self) -> np.ndarray:
        """(unit, sample, space) row of the nearest image among the dataset's stored ones; -1 where there is none."""
        return self.group["nearest"][...]

    @cached_property
    def distance(self) -> np.ndarray:
        """(unit, sample, space) its Euclidean distance; NaN where there is none."""
        return self.group["distance"][...]

    @cached_property
    def typical(self) -> np.ndarray:
        """(unit, space) median, over the class's images, of the distance to the nearest other one."""
        return self.group["typical"][...]

    def row(self, unit: int) -> int | None:
        """Where a unit stands on the axis unit; None where it was not compared."""
        found = np.flatnonzero(self.units == unit)
        return int(found[0]) if found.size else None
