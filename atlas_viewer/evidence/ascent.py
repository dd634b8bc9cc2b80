"""The pictures of one layer in one style, with their numbers, read when asked for; and what a judge saw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.climb import Climb, scalar
from atlas_viewer.field import Group


@dataclass(frozen=True)
class SweepPlace:
    """Where a style stands in a style search.

    axis : none, decay, blur, norm, contribution or random. place : in its row from 1, 0 for none; or its draw's
    number. base : the style that all its numbers but the regularizers are from.
    """

    axis: str
    place: int
    base: str


@dataclass(frozen=True)
class Pictures(Climb):
    """One style of one layer. Arrays begin with (unit, sample); row i belongs to unit units[i]."""

    @property
    def kind(self) -> Group:
        """The part of the schema that the group follows."""
        return format.STYLE

    @cached_property
    def style(self) -> str:
        """The style's true name."""
        return str(self.group.attrs["style"])

    @property
    def name(self) -> str:
        """The style's true name."""
        return self.style

    @cached_property
    def canvas(self) -> str:
        """What was optimized: window or image."""
        return str(self.group.attrs["canvas"])

    @cached_property
    def direction(self) -> str:
        """maximize or minimize."""
        return str(self.group.attrs["direction"])

    @cached_property
    def sweep(self) -> SweepPlace | None:
        """The style's place in a style search; None for a style that was asked for by its name."""
        about = self.group.attrs
        if "sweep" not in about:
            return None
        return SweepPlace(str(about["sweep"]), int(about["sweep_place"]), str(about["sweep_base"]))

    @cached_property
    def asked(self) -> np.ndarray:
        """(unit, sample) whether the picture was asked for and tried, whatever became of it."""
        return self.group["status"][...] != format.Status.missing


@dataclass(frozen=True)
class Scores:
    """What one judge saw in the pictures of one style; arrays begin with (unit, sample)."""

    group: h5py.Group

    @cached_property
    def judge(self) -> str:
        """The judge's true name."""
        return str(self.group.parent.attrs["judge"])

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the judge's definition and weights."""
        return str(self.group.parent.attrs["judge_digest"])

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the judge's classes; empty where they are not stored."""
        return tuple(self.group.parent["labels"].asstr()[...]) if "labels" in self.group.parent else ()

    @cached_property
    def rates(self) -> dict[str, str | int | float | bool]:
        """The rates over all judged pictures, by name."""
        names = sorted(set(self.group.attrs) - {"meaning", "pictures"})
        return {name: scalar(self.group.attrs[name]) for name in names}

    @cached_property
    def target(self) -> np.ndarray:
        """(unit,) the judge's class that stands for the unit, or -1."""
        return self.group["target"][...]

    @cached_property
    def top1(self) -> np.ndarray:
        """(unit, sample) the judge's first class, or -1."""
        return self.group["top1"][...]

    @cached_property
    def target_probability(self) -> np.ndarray:
        """(unit, sample) probability of the target."""
        return self.group["target_probability"][...]

    @cached_property
    def target_rank(self) -> np.ndarray:
        """(unit, sample) place of the target among the classes; 0 is the first."""
        return self.group["target_rank"][...]

    def name(self, number: int) -> str:
        """What the judge calls a class: its label, or its number."""
        return self.labels[number] if 0 <= number < len(self.labels) else f"class {number}"
