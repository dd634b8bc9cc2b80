"""Combinations: pictures that excite several units at once, with the activation of each unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.evidence.climb import STOPPED, numbers
from atlas_viewer.evidence.dgn import BY_PRIOR
from atlas_viewer.evidence.priors import code_faults
from atlas_viewer.field import CODE_AXIS, Attribute, Field, Group, Status, subgroups

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas

COMBINATION = Group(
    "/combinations/<name>",
    "pictures that excite several units at once (Nguyen et al. 2016, Eq. 2); row i of every array with the axis item "
    "belongs to the units member_unit[i]",
    (
        Attribute("name", "text", "original name of the set of combinations"),
        Attribute("layer", "text", "layer of all the units"),
        Attribute("balance", "float", "weight of the penalty on the difference of the activations; 0 for none"),
        *BY_PRIOR,
    ),
    (
        Field("member_unit", "i4", ("item", "member"), "units that are combined; -1 beyond an item's last"),
        Field("member_label", "text", ("item", "member"), "names of these units, or empty"),
        Field("member_weight", "f4", ("item", "member"), "weight of each unit's activation in the objective"),
        Field("pixels", "u1", ("item", "sample", "y", "x", "rgb"), "the pictures of the last iterate, true colours",
              "pixel levels, 0 to 255"),
        Field("member_activation", "f4", ("item", "sample", "member"),
              "activation of each unit for the stored pixels", "activation"),
        Field("code", "f4", ("item", "sample", CODE_AXIS), "code of the last iterate, flattened", "code"),
        Field("stopped", "i4", ("item", "sample"), STOPPED, "steps", required=False),
        Field("status", "status", ("item", "sample"), "outcome of the picture"),
        Field("reason", "text", ("item",), "why pictures of the item are missing, or empty", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (COMBINATION,)


@dataclass(frozen=True)
class Combinations:
    """One set of combinations of an open atlas. Arrays begin with (item,): one combination of units per item."""

    group: h5py.Group

    @classmethod
    def of(cls, atlas: Atlas) -> dict[str, Combinations]:
        """The sets of combinations of an atlas by original name."""
        return {each.name: each for each in map(cls, subgroups(atlas.file, "combinations"))}

    @cached_property
    def name(self) -> str:
        """The set's original name."""
        return str(self.group.attrs["name"])

    @cached_property
    def layer(self) -> str:
        """The layer of all the units."""
        return str(self.group.attrs["layer"])

    @cached_property
    def balance(self) -> float:
        """Weight of the penalty on the difference of the activations; 0 for none."""
        return float(self.group.attrs["balance"])

    @cached_property
    def prior(self) -> str:
        """Original name of the prior whose codes were optimized."""
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
        """The values of the setting, by name."""
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
        """(item, sample, y, x, rgb) uint8, read when indexed; zeros where a picture is missing."""
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
        """(item, sample, member) activation of each unit for the stored pixels; NaN for a missing picture."""
        return self.group["member_activation"][...]

    @cached_property
    def code(self) -> h5py.Dataset:
        """(item, sample, code) code of each picture, flattened, read when indexed."""
        return self.group["code"]

    @cached_property
    def stopped(self) -> np.ndarray | None:
        """(item, sample) step at which the climb stopped without a gradient, or -1; None where it was not recorded."""
        return self.group["stopped"][...] if "stopped" in self.group else None

    @cached_property
    def status(self) -> tuple[tuple[Status, ...], ...]:
        """The status of each picture, by item and sample."""
        return tuple(tuple(map(Status, row)) for row in self.group["status"][...].tolist())

    @cached_property
    def reason(self) -> tuple[str, ...]:
        """Why pictures of each combination are missing, or empty."""
        return tuple(self.group["reason"].asstr()[...]) if "reason" in self.group else ("",) * len(self)

    @cached_property
    def there(self) -> np.ndarray:
        """(item, sample) whether the picture exists."""
        unseen = ~np.isfinite(self.member_activation) & (self.member_unit[:, None, :] >= 0)
        return ~unseen.any(axis=-1)

    @cached_property
    def ratio(self) -> np.ndarray:
        """(item, sample) smallest activation of an item's units over the largest; 1 is balanced, NaN without a picture.

        It is negative where only some of the units are excited.
        """
        real = np.broadcast_to(self.member_unit[:, None, :] >= 0, self.member_activation.shape)
        least = np.where(real, self.member_activation, np.inf).min(axis=-1)
        most = np.where(real, self.member_activation, -np.inf).max(axis=-1)
        ratios = np.full(least.shape, np.nan)
        return np.divide(least, most, out=ratios, where=self.there & (most > 0))

    def __len__(self) -> int:
        return len(self.member_unit)


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between the combinations of an open file, their priors and the network."""
    for combination in COMBINATION.within(file):
        yield from (f"{combination.name}{fault}" for fault in code_faults(file, combination))
        yield from (f"{combination.name}{fault}" for fault in _member_faults(file, combination))


def _member_faults(file: h5py.File, group: h5py.Group) -> Iterator[str]:
    layers = file["network/layers/name"].asstr()[...].tolist()
    layer, units = group.attrs["layer"], group["member_unit"][...]
    if layer not in layers:
        yield f": layer {layer!r} is not in the layer table"
        return
    channels = int(file["network/layers/channels"][layers.index(layer)])
    if units.size and not (units.min() >= -1 and units.max() < channels):
        yield f"/member_unit: not within -1 to {channels - 1}"
    real = units >= 0
    if not real[:, :1].all() or (np.diff(real.astype(int), axis=1) > 0).any():
        yield "/member_unit: expected units first, then -1"
    status, activation = group["status"][...], group["member_activation"][...]
    finished = (status == Status.ok)[:, :, None] & real[:, None, :]
    if not np.isfinite(activation[finished]).all():
        yield "/member_activation: not finite where status is ok"
