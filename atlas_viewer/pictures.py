"""The pictures of one layer in one style, with their numbers, read when asked for; and what a judge saw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from atlas_viewer import format


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
class Pictures:
    """One style of one layer. Arrays begin with (unit, sample); row i belongs to unit units[i]."""

    group: h5py.Group
    units: np.ndarray

    @cached_property
    def style(self) -> str:
        """The style's true name."""
        return str(self.group.attrs["style"])

    @cached_property
    def measure(self) -> str:
        """What an activation is here."""
        return str(self.group.attrs["measure"])

    @cached_property
    def canvas(self) -> str:
        """What was optimized: window or image."""
        return str(self.group.attrs["canvas"])

    @cached_property
    def position(self) -> tuple[int, int]:
        """Row and column that were maximized."""
        return int(self.group.attrs["row"]), int(self.group.attrs["column"])

    @cached_property
    def direction(self) -> str:
        """maximize or minimize."""
        return str(self.group.attrs["direction"])

    @cached_property
    def cut(self) -> tuple[int, int, int, int]:
        """Pixels of the window that lie outside the image: top, left, bottom, right."""
        return tuple(np.asarray(self.group.attrs["cut"]).tolist())

    @cached_property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """The numbers of the style, by name."""
        known = {"meaning", *(attribute.name for attribute in format.STYLE.attributes)}
        return {name: scalar(self.group.attrs[name]) for name in sorted(self.group.attrs) if name not in known}

    @cached_property
    def sweep(self) -> SweepPlace | None:
        """The style's place in a style search; None for a style that was asked for by its name."""
        about = self.group.attrs
        if "sweep" not in about:
            return None
        return SweepPlace(str(about["sweep"]), int(about["sweep_place"]), str(about["sweep_base"]))

    @cached_property
    def samples(self) -> int:
        """How many pictures a unit has."""
        return self.group["pixels"].shape[1]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture in pixels."""
        return self.group["pixels"].shape[2:4]

    @cached_property
    def pixels(self) -> h5py.Dataset:
        """(unit, sample, y, x, rgb) uint8, read when indexed; zeros where a picture is not there."""
        return self.group["pixels"]

    @cached_property
    def activation(self) -> np.ndarray:
        """(unit, sample) activation of the stored pixels; NaN where a picture is not there."""
        return self.group["activation"][...]

    @cached_property
    def activation_float(self) -> np.ndarray:
        """(unit, sample) activation before rounding."""
        return self.group["activation_float"][...]

    @cached_property
    def best_step(self) -> np.ndarray:
        """(unit, sample) step whose picture is stored, or -1."""
        return self.group["best_step"][...]

    @property
    def seed(self) -> int:
        """Seed of all random starts."""
        return int(self.group.attrs["seed"])

    @cached_property
    def attempt(self) -> np.ndarray:
        """(unit, sample) which start each picture is from: 0 the first, then fresh ones."""
        return self.group["attempt"][...]

    @cached_property
    def status(self) -> tuple[tuple[format.Status, ...], ...]:
        """What became of each picture, by unit and sample."""
        return tuple(tuple(map(format.Status, row)) for row in self.group["status"][...].tolist())

    @cached_property
    def reason(self) -> tuple[str, ...]:
        """Why pictures of each unit are not there, or empty."""
        if "reason" not in self.group:
            return ("",) * len(self.units)
        return tuple(self.group["reason"].asstr()[...])

    @cached_property
    def trace(self) -> h5py.Dataset:
        """(unit, sample, point) activation on the way, read when indexed; NaN after an early end."""
        return self.group["trace"]

    @cached_property
    def trace_step(self) -> np.ndarray:
        """(point,) step of each point of the trace."""
        return self.group["trace_step"][...]

    @cached_property
    def asked(self) -> np.ndarray:
        """(unit, sample) whether the picture was asked for and tried, whatever became of it."""
        return self.group["status"][...] != format.Status.missing

    @cached_property
    def there(self) -> np.ndarray:
        """(unit, sample) whether there is a picture; one that never made its unit active counts."""
        return np.isfinite(self.activation)

    @cached_property
    def best_sample(self) -> np.ndarray:
        """(unit,) the sample that goes furthest in the style's direction, -1 where a unit has no picture.

        A picture whose status is ok comes before any other.
        """
        sign = -1.0 if self.direction == "minimize" else 1.0
        value = np.where(self.there, sign * self.activation, -np.inf)
        ok = self.group["status"][...] == format.Status.ok
        value = np.where(ok.any(axis=1, keepdims=True) & ~ok, -np.inf, value)
        return np.where(np.isfinite(value).any(axis=1), value.argmax(axis=1) if value.size else -1, -1)

    def mean_under(self, mean: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        """The part of the mean image (y, x, rgb) that lies under the pictures, or its colour (1, 1, rgb)."""
        if mean.shape[:2] == self.size:
            return mean
        top, left, bottom, right = window
        part = mean[top:bottom, left:right]
        return part if part.shape[:2] == self.size else mean.mean(axis=(0, 1), keepdims=True)


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


def scalar(value: object) -> str | int | float | bool:
    """An attribute as a plain Python value."""
    return value.item() if isinstance(value, np.generic) else value
