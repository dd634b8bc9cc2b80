"""The pictures of one layer by one search of a prior's codes, last and best, with their codes, read when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.field import Group, Status
from atlas_viewer.format_dgn import DGN


@dataclass(frozen=True)
class Search(Climb):
    """One search of one layer. Arrays begin with (unit, sample); row i belongs to unit units[i].

    What has no prefix is of the last iterate, what is called best_ of the one with the largest activation.
    """

    @property
    def kind(self) -> Group:
        """The part of the schema that the group follows."""
        return DGN

    @cached_property
    def name(self) -> str:
        """The search's true name: the prior's, and the variant's if any."""
        return str(self.group.attrs["search"])

    @property
    def direction(self) -> str:
        """Always maximize."""
        return "maximize"

    @cached_property
    def prior(self) -> str:
        """True name of the prior whose codes were searched."""
        return str(self.group.attrs["prior"])

    @cached_property
    def prior_digest(self) -> str:
        """SHA-256 of the prior, in hexadecimal."""
        return str(self.group.attrs["prior_digest"])

    @cached_property
    def best_pixels(self) -> h5py.Dataset:
        """(unit, sample, y, x, rgb) uint8, the best iterate, read when indexed; zeros where it is not there."""
        return self.group["best_pixels"]

    @cached_property
    def best_activation(self) -> np.ndarray:
        """(unit, sample) activation of the best iterate's stored pixels; NaN where it is not there."""
        return self.group["best_activation"][...]

    @cached_property
    def best_activation_float(self) -> np.ndarray:
        """(unit, sample) activation of the best iterate before rounding."""
        return self.group["best_activation_float"][...]

    @cached_property
    def code(self) -> h5py.Dataset:
        """(unit, sample, code) code of the last iterate, flattened, read when indexed."""
        return self.group["code"]

    @cached_property
    def best_code(self) -> h5py.Dataset:
        """(unit, sample, code) code of the best iterate, flattened, read when indexed."""
        return self.group["best_code"]

    @cached_property
    def code_norm(self) -> np.ndarray:
        """(unit, sample) L2 norm of the last iterate's code."""
        return self.group["code_norm"][...]

    def of(self, row: int) -> UnitSearch:
        """The pictures of the unit in a row."""
        return UnitSearch(self, row)


@dataclass(frozen=True)
class UnitSearch:
    """The pictures of one search of one unit; arrays begin with (sample,)."""

    search: Search
    row: int

    @property
    def pixels(self) -> np.ndarray:
        """(sample, y, x, rgb) uint8, the last iterate; zeros where a picture is not there (see `status`)."""
        return self.search.pixels[self.row]

    @property
    def best_pixels(self) -> np.ndarray:
        """(sample, y, x, rgb) uint8, the best iterate."""
        return self.search.best_pixels[self.row]

    @property
    def code(self) -> np.ndarray:
        """(sample, code) float32, the last iterate's, flattened; the prior's generator makes its picture of it."""
        return self.search.code[self.row]

    @property
    def best_code(self) -> np.ndarray:
        """(sample, code) float32, the best iterate's, flattened."""
        return self.search.best_code[self.row]

    @property
    def activation(self) -> np.ndarray:
        """(sample,) activation of the last iterate's stored pixels; NaN where a picture is not there."""
        return self.search.activation[self.row]

    @property
    def best_activation(self) -> np.ndarray:
        """(sample,) activation of the best iterate's stored pixels."""
        return self.search.best_activation[self.row]

    @property
    def status(self) -> tuple[Status, ...]:
        """What became of each picture."""
        return self.search.status[self.row]

    @property
    def trace(self) -> tuple[np.ndarray, np.ndarray]:
        """The steps (point,) and the activations there (sample, point); NaN after an early end."""
        return self.search.trace_step, self.search.trace[self.row]
