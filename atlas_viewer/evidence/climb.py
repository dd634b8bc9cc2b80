"""What styles of ascent and runs of DGN-AM share: attributes, arrays, the reader's properties, consistency checks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import h5py
import numpy as np

from atlas_viewer.field import GENERAL, Attribute, Field, Group, Status

MEASURE = Attribute("measure", "text", "what an activation is: the value of which layer, before or after what")
REVISION = Attribute("revision", "int", "revision of the method's program that made the pictures", required=False)
PRECISION = Attribute("precision", "text", "bf16 for pictures that climbed in bfloat16; none for float32. Stored "
                      "activations are measured in float32, traces during the climb", required=False)  # fmt: skip
SEED = Attribute("seed", "int", "seed of all random starts; each start follows from it and the picture's address")
POSITION = (
    Attribute("row", "int", "row of the position that was maximized"),
    Attribute("column", "int", "column of the position that was maximized"),
)
CUT = Attribute("cut", "int[]", "pixels of the window outside the image, not shown: top, left, bottom, right")
REASON = Field("reason", "text", ("unit",), "why pictures of the unit are missing, or empty", required=False)
TRACE = (
    Field("trace", "f4", ("unit", "sample", "point"), "activation during the ascent; NaN after an early end",
          "activation"),
    Field("trace_step", "i4", ("point",), "step of each point of the trace", "steps"),
)  # fmt: skip
STATUS = Field("status", "status", ("unit", "sample"), "outcome of the picture")
STOPPED = "step at which the climb stopped because no gradient was left; -1 where it ran to its end, and for no picture"
NONE, RANDOM = "none", "random"  # the places in a sweep that belong to no axis


def sweep_attributes(base: str) -> tuple[Attribute, ...]:
    """The attributes of a setting of a sweep.

    base : the meaning of `sweep_base`.
    """
    return (
        Attribute("sweep", "text", "role of a setting in a sweep: none (everything that the sweep raises is off), the "
                  "axis whose values it raises (see /numbers/<method>), or random (all axes drawn)", required=False),
        Attribute("sweep_place", "int", "its place in the sweep: 0 for none; along its axis, from 1, weakest first; "
                  "the number of a draw, from 0", required=False),
        Attribute("sweep_base", "text", base, required=False),
    )  # fmt: skip


@dataclass(frozen=True)
class SweepPlace:
    """The place of a setting in a sweep.

    axis : "none", an axis of the table of hyperparameters, or "random".
    place : position along the axis, from 1, weakest first; 0 for none; for a draw, its number, from 0.
    base : the style, or the prior, that all values outside the sweep come from.
    """

    axis: str
    place: int
    base: str


@dataclass(frozen=True)
class Climb(ABC):
    """The pictures of one layer with one setting. Arrays begin with (unit, sample); row i belongs to unit units[i]."""

    group: h5py.Group
    units: np.ndarray

    @property
    @abstractmethod
    def kind(self) -> Group:
        """The schema of the group."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The setting's original name."""

    @property
    @abstractmethod
    def direction(self) -> str:
        """maximize or minimize."""

    @cached_property
    def path(self) -> str:
        """The path of the pictures in their layer: ascent/<style> or dgn/<run>."""
        return "/".join(self.group.name.split("/")[-2:])

    @cached_property
    def measure(self) -> str:
        """What an activation is here."""
        return str(self.group.attrs["measure"])

    @cached_property
    def position(self) -> tuple[int, int]:
        """Row and column that were maximized."""
        return int(self.group.attrs["row"]), int(self.group.attrs["column"])

    @cached_property
    def cut(self) -> tuple[int, int, int, int]:
        """Pixels of the window that lie outside the image: top, left, bottom, right."""
        return tuple(np.asarray(self.group.attrs["cut"]).tolist())

    @cached_property
    def seed(self) -> int:
        """Seed of all random starts."""
        return int(self.group.attrs["seed"])

    @cached_property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """The values of the setting, by name."""
        return numbers(self.group, self.kind)

    @cached_property
    def sweep(self) -> SweepPlace | None:
        """The place of the setting in a sweep; None for a setting that was asked for by name."""
        about = self.group.attrs
        if "sweep" not in about:
            return None
        return SweepPlace(str(about["sweep"]), int(about["sweep_place"]), str(about["sweep_base"]))

    @cached_property
    def asked(self) -> np.ndarray:
        """(unit, sample) whether the picture was asked for and attempted, with any outcome."""
        return self.group["status"][...] != Status.missing

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
        """(unit, sample, y, x, rgb) uint8, read when indexed; zeros where a picture is missing."""
        return self.group["pixels"]

    @cached_property
    def activation(self) -> np.ndarray:
        """(unit, sample) activation of the stored pixels; NaN where a picture is missing."""
        return self.group["activation"][...]

    @cached_property
    def activation_float(self) -> np.ndarray:
        """(unit, sample) activation before rounding."""
        return self.group["activation_float"][...]

    @cached_property
    def best_step(self) -> np.ndarray:
        """(unit, sample) step of the iterate with the largest activation, or -1."""
        return self.group["best_step"][...]

    @cached_property
    def stopped(self) -> np.ndarray | None:
        """(unit, sample) step at which the climb stopped without a gradient, or -1; None where it was not recorded."""
        return self.group["stopped"][...] if "stopped" in self.group else None

    @cached_property
    def attempt(self) -> np.ndarray:
        """(unit, sample) the start that each picture comes from: 0 the first, then fresh ones."""
        return self.group["attempt"][...] if "attempt" in self.group else np.zeros(self.activation.shape, np.uint8)

    @cached_property
    def status(self) -> tuple[tuple[Status, ...], ...]:
        """The status of each picture, by unit and sample."""
        return tuple(tuple(map(Status, row)) for row in self.group["status"][...].tolist())

    @cached_property
    def reason(self) -> tuple[str, ...]:
        """Why pictures of each unit are missing, or empty."""
        if "reason" not in self.group:
            return ("",) * len(self.units)
        return tuple(self.group["reason"].asstr()[...])

    @cached_property
    def trace(self) -> h5py.Dataset:
        """(unit, sample, point) activation during the ascent, read when indexed; NaN after an early end."""
        return self.group["trace"]

    @cached_property
    def trace_step(self) -> np.ndarray:
        """(point,) step of each point of the trace."""
        return self.group["trace_step"][...]

    @cached_property
    def there(self) -> np.ndarray:
        """(unit, sample) whether the picture exists; one that never made its unit active does."""
        return np.isfinite(self.activation)

    @cached_property
    def best_sample(self) -> np.ndarray:
        """(unit,) the sample with the most extreme activation in the setting's direction, -1 without a picture.

        Pictures whose status is ok come before all others.
        """
        sign = -1.0 if self.direction == "minimize" else 1.0
        value = np.where(self.there, sign * self.activation, -np.inf)
        ok = self.group["status"][...] == Status.ok
        value = np.where(ok.any(axis=1, keepdims=True) & ~ok, -np.inf, value)
        return np.where(np.isfinite(value).any(axis=1), value.argmax(axis=1) if value.size else -1, -1)

    def at(self, row: int) -> UnitClimb:
        """The pictures of the unit in a row."""
        return UnitClimb(self, row)

    def stopped_at(self, where: tuple[int, int]) -> float:
        """The step at which the climb of one picture, (row, sample), stopped, or -1; NaN where it was not recorded."""
        return math.nan if self.stopped is None else int(self.stopped[where])

    def mean_under(self, mean: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        """The part of the mean image (y, x, rgb) at the pictures' window, or its colour (1, 1, rgb)."""
        if mean.shape[:2] == self.size:
            return mean
        top, left, bottom, right = window
        part = mean[top:bottom, left:right]
        return part if part.shape[:2] == self.size else mean.mean(axis=(0, 1), keepdims=True)


@dataclass(frozen=True)
class UnitClimb:
    """The pictures of one unit with one setting; arrays begin with (sample,). A slice of it has some of the samples.

    samples : numbers of the samples; None for all. Pictures are read when asked for, and only these.
    """

    climb: Climb
    row: int
    samples: range | None = None

    def __getitem__(self, samples: slice) -> UnitClimb:
        if not isinstance(samples, slice):
            raise TypeError(f"{self.climb.path}: got {samples!r}, expected a slice of samples such as [:3]")
        kept = self._numbers[samples]
        if kept.step < 0:
            raise ValueError(f"{self.climb.path}: samples are read in rising order; reverse the arrays instead")
        return replace(self, samples=kept)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def chosen(self) -> slice:
        """The samples, as a selection along the axis sample."""
        return slice(self._numbers.start, self._numbers.stop, self._numbers.step)

    @property
    def _numbers(self) -> range:
        return range(self.climb.samples) if self.samples is None else self.samples

    @property
    def name(self) -> str:
        """The setting's original name."""
        return self.climb.name

    @property
    def images(self) -> np.ndarray:
        """(sample, y, x, rgb) uint8, true colours; zeros where a picture is missing (see `status`)."""
        return self.climb.pixels[self.row, self.chosen]

    @property
    def pixels(self) -> np.ndarray:
        """The same as `images`, by the name that it has in the file."""
        return self.images

    @property
    def activation(self) -> np.ndarray:
        """(sample,) activation of the stored pixels; NaN where a picture is missing."""
        return self.climb.activation[self.row, self.chosen]

    @property
    def best(self) -> float:
        """The most extreme activation of these pictures in the setting's direction; NaN without a picture."""
        finite = self.activation[np.isfinite(self.activation)]
        if not finite.size:
            return math.nan
        return float(finite.min() if self.climb.direction == "minimize" else finite.max())

    @property
    def status(self) -> tuple[Status, ...]:
        """The status of each picture."""
        return tuple(map(Status, self.climb.group["status"][self.row, self.chosen].tolist()))

    @property
    def trace(self) -> tuple[np.ndarray, np.ndarray]:
        """The steps (point,) and the activations (sample, point); NaN after an early end."""
        return self.climb.trace_step, self.climb.trace[self.row, self.chosen]

    @property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """The values of the setting, by name."""
        return self.climb.numbers

    def __repr__(self) -> str:
        height, width = self.climb.size
        pictures = f"{len(self)} picture{'' if len(self) == 1 else 's'} of {width}x{height} pixels"
        values = ", ".join(f"{value:.4g}" for value in self.activation.tolist())
        return f"{self.climb.path}: {pictures}; {self.climb.measure}: {values}"


def numbers(group: h5py.Group, kind: Group) -> dict[str, str | int | float | bool]:
    """The attributes of an open group beyond those that the schema names, by name."""
    listed = {*GENERAL, *(attribute.name for attribute in kind.attributes)}
    return {name: scalar(group.attrs[name]) for name in sorted(group.attrs) if name not in listed}


def scalar(value: object) -> str | int | float | bool:
    """An attribute as a plain Python value."""
    return value.item() if isinstance(value, np.generic) else value


def climb_faults(file: h5py.File, kind: Group) -> Iterator[str]:
    """Contradictions inside the groups of one kind, styles or runs, and between the places of a sweep."""
    taken: dict[tuple[object, ...], str] = {}
    for group in kind.within(file):
        status, activation = group["status"][...], group["activation"][...]
        if not np.isfinite(activation[status == Status.ok]).all():
            yield f"{group.name}/activation: not finite where status is ok"
        yield from (f"{group.name}{fault}" for fault in _stopped_faults(group, np.isfinite(activation)))
        if "sweep" not in group.attrs:
            continue
        absent = [part for part in ("sweep_place", "sweep_base") if part not in group.attrs]
        if absent:
            yield f"{group.name}: a setting of a sweep, but attribute {absent[0]} is missing"
            continue
        name = group.name.rsplit("/", 1)[1]
        place = (group.parent.name, *(group.attrs[part] for part in ("sweep", "sweep_place", "sweep_base")))
        other = taken.setdefault(place, name)
        if other != name:
            yield f"{group.name}: has the place of {other} in the sweep"


def _stopped_faults(group: h5py.Group, there: np.ndarray) -> Iterator[str]:
    """Contradictions between where climbs stopped and their pictures. there : (unit, sample)."""
    if "stopped" not in group:
        return
    stopped, best = group["stopped"][...], group["best_step"][...]
    if stopped.size and (stopped.min() < -1 or (stopped == 0).any()):
        yield "/stopped: expected -1 or a step after the first"
    if (best > stopped)[stopped >= 0].any():
        yield "/best_step: beyond the step at which the climb stopped"
    if (stopped[~there] >= 0).any():
        yield "/stopped: a step where there is no picture"
