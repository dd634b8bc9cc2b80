"""What an atlas says of a prior: its card, whose codes it inverts, and how these are spread over real images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from atlas_viewer.evidence.climb import numbers
from atlas_viewer.format_dgn import PRIOR


@dataclass(frozen=True)
class PriorCard:
    """One prior of an open atlas, without its generator."""

    group: h5py.Group

    @property
    def name(self) -> str:
        """The prior's true name."""
        return str(self.group.attrs["prior"])

    @property
    def digest(self) -> str:
        """SHA-256 of its generator and code statistics, in hexadecimal."""
        return str(self.group.attrs["digest"])

    @property
    def network(self) -> str:
        """Name of the network whose codes it inverts."""
        return str(self.group.attrs["network"])

    @property
    def network_digest(self) -> str:
        """SHA-256 of that network; empty where it is not known."""
        return str(self.group.attrs["network_digest"])

    @property
    def code_layer(self) -> str:
        """The layer whose values are its codes."""
        return str(self.group.attrs["code_layer"])

    @property
    def code_shape(self) -> tuple[int, ...]:
        """One number, or channels, rows, columns."""
        return tuple(np.asarray(self.group.attrs["code_shape"]).tolist())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images in pixels."""
        return int(self.group.attrs["height"]), int(self.group.attrs["width"])

    @property
    def trained_on(self) -> str:
        """What it was trained on."""
        return str(self.group.attrs["trained_on"])

    @property
    def licence(self) -> str:
        """Its licence."""
        return str(self.group.attrs["licence"])

    @cached_property
    def card(self) -> str:
        """Its card, Markdown."""
        return str(self.group["card"].asstr()[()])

    @cached_property
    def mean(self) -> np.ndarray:
        """(code,) mean of each entry over real images."""
        return self.group["mean"][...]

    @cached_property
    def deviation(self) -> np.ndarray:
        """(code,) standard deviation of each entry over real images."""
        return self.group["deviation"][...]

    @cached_property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """What else is said of it, by name."""
        return numbers(self.group, PRIOR)
