"""Pictures that excite several units at once, with what each unit makes of them, read when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from atlas_viewer.evidence.climb import numbers
from atlas_viewer.field import Status
from atlas_viewer.format_dgn import COMBINATION


@dataclass(frozen=True)
class Combinations:
    """One set of combinations of an open atlas. Arrays begin with (item,): a combination of units each."""

    group: h5py.Group

    @cached_property
    def name(self) -> str:
        """The set's true name."""
        return str(self.group.attrs["name"])

    @cached_property
    def layer(self) -> str:
        """The layer of all the units."""
        return str(self.group.attrs["layer"])

    @cached_property
    def balance(self) -> float:
        """Weight of the penalty on the difference of the activations; 0 without."""
        return float(self.group.attrs["balance"])

    @cached_property
    def prior(self) -> str:
        """True name of the prior whose codes were searched."""
        return str(self.group.attrs["prior"])

    @property
    def measure(self) -> str:
        """What an activation is here."""
        return str(self.group.attrs["measure"])

    @property
    def seed(self) -> int:
        """Seed of all random starts."""
        return int(self.group.attrs["seed"])

    @cached_property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """The numbers of the setting, by name."""
        return numbers(self.group, COMBINATION)

    @cached_property
    def member_unit(self) -> np.ndarray:
        """(item, member) numbers of the units; -1 beyond an item's last."""
        return self.group["member_unit"][...]

    @cached_property
    def member_label(self) -> tuple[tuple[str, ...], ...]:
        """(item, member) names of the units, or empty."""
        return tuple(map(tuple, self.group["member_label"].asstr()[...].tolist()))

    @cached_property
    def member_weight(self) -> np.ndarray:
        """(item, member) weight of each unit's activation in the objective."""
        return self.group["member_weight"][...]

    @cached_property
    def pixels(self) -> h5py.Dataset:
        """(item, sample, y, x, rgb) uint8, read when indexed; zeros where a picture is not there."""
        return self.group["pixels"]

    @cached_property
    def samples(self) -> int:
        """How many pictures a combination has."""
        return self.group["pixels"].shape[1]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture in pixels."""
        return self.group["pixels"].shape[2:4]

    @cached_property
    def member_activation(self) -> np.ndarray:
        """(item, sample, member) activation of each unit for the stored pixels; NaN where there is no picture."""
        return self.group["member_activation"][...]

    @cached_property
    def code(self) -> h5py.Dataset:
        """(item, sample, code) code of each picture, flattened, read when indexed."""
        return self.group["code"]

    @cached_property
    def status(self) -> tuple[tuple[Status, ...], ...]:
        """What became of each picture, by item and sample."""
        return tuple(tuple(map(Status, row)) for row in self.group["status"][...].tolist())

    @cached_property
    def reason(self) -> tuple[str, ...]:
        """Why pictures of each combination are not there, or empty."""
        return tuple(self.group["reason"].asstr()[...]) if "reason" in self.group else ("",) * len(self)

    @cached_property
    def there(self) -> np.ndarray:
        """(item, sample) whether there is a picture."""
        unseen = ~np.isfinite(self.member_activation) & (self.member_unit[:, None, :] >= 0)
        return ~unseen.any(axis=-1)

    @cached_property
    def ratio(self) -> np.ndarray:
        """(item, sample) the least activation of an item's units over the largest: 1 is balanced; NaN without one.

        It is below zero where only some of the units are excited.
        """
        real = np.broadcast_to(self.member_unit[:, None, :] >= 0, self.member_activation.shape)
        least = np.where(real, self.member_activation, np.inf).min(axis=-1)
        most = np.where(real, self.member_activation, -np.inf).max(axis=-1)
        found = np.full(least.shape, np.nan)
        return np.divide(least, most, out=found, where=self.there & (most > 0))

    def __len__(self) -> int:
        return len(self.member_unit)
