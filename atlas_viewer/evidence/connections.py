"""Connections: the units of the layers below and above that a unit is joined with most strongly by weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.field import Attribute, Field, Group, subgroups

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

INCOMING, OUTGOING = "incoming", "outgoing"
CONNECTIONS = Group(
    "/layers/<layer>/connections/<other>",
    "the strongest connections of each unit with the units of another layer that one layer of weights joins it with; "
    "between the two lie, beside it, only operators that keep channels apart and local response normalization",
    (
        Attribute("other", "text", "original name of the other layer"),
        Attribute("direction", "text", "incoming: the other layer lies below; outgoing: above"),
        Attribute("strength", "text", "what a strength is"),
        Attribute("revision", "int", "revision of the program that read the weights"),
    ),
    (
        Field("linked", "i4", ("unit", "link"),
              "numbers of the other layer's units, the largest strength in magnitude first; -1 for none"),
        Field("weight", "f4", ("unit", "link"),
              "weight between the two units, a kernel summed over its positions, times the fixed scales of "
              "normalizations in between"),
        Field("strength", "f4", ("unit", "link"), "weight times the activity of the unit below; see the attribute"),
    ),
    required=False,
)  # fmt: skip
GROUPS = (CONNECTIONS,)


@dataclass(frozen=True)
class Connections:
    """The strongest connections of the units of a layer with those of another; arrays are (unit, link)."""

    group: h5py.Group

    @classmethod
    def of(cls, layer: Layer) -> tuple[Connections, ...]:
        """The connections of a layer, by the name of the other layer."""
        return tuple(cls(group) for group in subgroups(layer.group, "connections"))

    @property
    def other(self) -> str:
        """The original name of the other layer."""
        return str(self.group.attrs["other"])

    @property
    def is_incoming(self) -> bool:
        """Whether the other layer lies below."""
        return str(self.group.attrs["direction"]) == INCOMING

    @property
    def meaning(self) -> str:
        """What a strength is, in words."""
        return str(self.group.attrs["strength"])

    @cached_property
    def linked(self) -> np.ndarray:
        """Numbers of the other layer's units, strongest first; -1 for none."""
        return self.group["linked"][...]

    @cached_property
    def weight(self) -> np.ndarray:
        """The weights; NaN for none."""
        return self.group["weight"][...]

    @cached_property
    def strength(self) -> np.ndarray:
        """The strengths, positive where the unit below raises the one above; NaN for none."""
        return self.group["strength"][...]


def faults(file: h5py.File) -> Iterator[str]:
    """Connections with a layer that the network does not have, or with units that it does not have."""
    names = file["network/layers/name"].asstr()[...].tolist()
    for path in CONNECTIONS.paths(file):
        group = file[path]
        other, linked = str(group.attrs["other"]), group["linked"][...]
        if str(group.attrs["direction"]) not in (INCOMING, OUTGOING):
            yield f"{path}: attribute direction is {group.attrs['direction']!r}, expected {INCOMING} or {OUTGOING}"
        if other not in names:
            yield f"{path}: layer {other!r} is not in the layer table"
        elif linked.size and linked.max() >= file["network/layers/channels"][names.index(other)]:
            yield f"{path}/linked: a unit that layer {other!r} does not have"
