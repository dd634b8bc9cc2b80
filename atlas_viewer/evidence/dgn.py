"""Runs of DGN-AM: the pictures of a layer through a prior's generator with one setting, last and best, with codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.evidence.climb import (
    CUT,
    MEASURE,
    POSITION,
    PRECISION,
    REASON,
    REVISION,
    SEED,
    STATUS,
    STOPPED,
    TRACE,
    Climb,
    UnitClimb,
    climb_faults,
    sweep_attributes,
)
from atlas_viewer.evidence.priors import code_faults
from atlas_viewer.field import CODE_AXIS, Attribute, Field, Group, subgroups
from atlas_viewer.table import comparison_names, pictures_in_order, write

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

BY_PRIOR = (
    Attribute("prior", "text", "original name of the prior whose codes were optimized"),
    Attribute("prior_digest", "text", "SHA-256 of the prior's generator and code statistics, in hexadecimal"),
    MEASURE,
    REVISION,
    SEED,
    PRECISION,
)
RUN = Group(
    "/layers/<layer>/dgn/<run>",
    "pictures by DGN-AM: ascent in the code space of a prior's generator (Nguyen et al. 2016) with one setting; its "
    "values are further attributes. The picture is the generator's image of the code, "
    "cropped at its centre to the network's input, and then to the window",
    (
        Attribute("run", "text", "original name of the run: the prior's name, and the variant's if any"),
        *BY_PRIOR,
        *POSITION,
        CUT,
        Attribute("place", "int", "place in the order in which the runs were asked for, from 0; the first leads",
                  required=False),
        *sweep_attributes("the prior; all its other values are those of the prior's plain run"),
    ),
    (
        Field("pixels", "u1", ("unit", "sample", "y", "x", "rgb"),
              "the pictures of the last iterate, true colours, at their true size", "pixel levels, 0 to 255"),
        Field("best_pixels", "u1", ("unit", "sample", "y", "x", "rgb"),
              "the pictures of the iterate with the largest activation", "pixel levels, 0 to 255"),
        Field("code", "f4", ("unit", "sample", CODE_AXIS), "code of the last iterate, flattened", "code"),
        Field("best_code", "f4", ("unit", "sample", CODE_AXIS), "code of the best iterate, flattened", "code"),
        Field("activation", "f4", ("unit", "sample"), "activation of the stored pixels of the last iterate, measured "
              "after rounding", "activation"),
        Field("activation_float", "f4", ("unit", "sample"), "activation of the last iterate before rounding",
              "activation"),
        Field("best_activation", "f4", ("unit", "sample"), "activation of the stored pixels of the best iterate, "
              "measured after rounding", "activation"),
        Field("best_activation_float", "f4", ("unit", "sample"), "activation of the best iterate before rounding",
              "activation"),
        Field("best_step", "i4", ("unit", "sample"), "step of the best iterate; -1 for no picture", "steps"),
        Field("stopped", "i4", ("unit", "sample"), STOPPED, "steps", required=False),
        Field("code_norm", "f4", ("unit", "sample"), "L2 norm of the last iterate's code", "code"),
        STATUS,
        Field("attempt", "u1", ("unit", "sample"),
              "the start that the picture comes from: 0 the first, then fresh ones", required=False),
        REASON,
        *TRACE,
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (RUN,)

COLUMNS = ("layer", "unit", "label", "run", "prior", "sample", "status", "activation", "activation_float")
COLUMNS += ("best_activation", "best_activation_float", "best_step", "stopped", "attempt", "code_norm")


@dataclass(frozen=True)
class Run(Climb):
    """One run of one layer. Arrays begin with (unit, sample); row i belongs to unit units[i].

    Arrays without a prefix belong to the last iterate, those called best_ to the one with the largest activation.
    """

    @classmethod
    def of(cls, layer: Layer) -> dict[str, Run]:
        """The runs of a layer by original name."""
        return {str(group.attrs["run"]): cls(group, layer.units) for group in subgroups(layer.group, "dgn")}

    @property
    def kind(self) -> Group:
        """The schema of the group."""
        return RUN

    @cached_property
    def name(self) -> str:
        """The run's original name: the prior's, and the variant's if any."""
        return str(self.group.attrs["run"])

    @cached_property
    def direction(self) -> str:
        """maximize or minimize; maximize where it is not stored."""
        return str(self.group.attrs.get("direction", "maximize"))

    @cached_property
    def prior(self) -> str:
        """Original name of the prior whose codes were optimized."""
        return str(self.group.attrs["prior"])

    @cached_property
    def prior_digest(self) -> str:
        """SHA-256 of the prior, in hexadecimal."""
        return str(self.group.attrs["prior_digest"])

    @cached_property
    def place(self) -> int | None:
        """Place in the order in which the runs were asked for, from 0; None where it is not stored."""
        return int(self.group.attrs["place"]) if "place" in self.group.attrs else None

    @cached_property
    def best_pixels(self) -> h5py.Dataset:
        """(unit, sample, y, x, rgb) uint8, the best iterate, read when indexed; zeros where it is missing."""
        return self.group["best_pixels"]

    @cached_property
    def best_activation(self) -> np.ndarray:
        """(unit, sample) activation of the best iterate's stored pixels; NaN where it is missing."""
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

    def at(self, row: int) -> UnitRun:
        """The pictures of the unit in a row."""
        return UnitRun(self, row)


@dataclass(frozen=True, repr=False)
class UnitRun(UnitClimb):
    """The pictures of one run of one unit; arrays begin with (sample,), and belong to the last iterate or the best."""

    climb: Run

    @property
    def run(self) -> Run:
        """The run, with the pictures of all units."""
        return self.climb

    @property
    def best_images(self) -> np.ndarray:
        """(sample, y, x, rgb) uint8, the best iterate."""
        return self.climb.best_pixels[self.row, self.chosen]

    @property
    def best_pixels(self) -> np.ndarray:
        """The same as `best_images`, by the name that it has in the file."""
        return self.best_images

    @property
    def code(self) -> np.ndarray:
        """(sample, code) float32, the last iterate's, flattened; the prior's generator makes its picture from it."""
        return self.climb.code[self.row, self.chosen]

    @property
    def best_code(self) -> np.ndarray:
        """(sample, code) float32, the best iterate's, flattened."""
        return self.climb.best_code[self.row, self.chosen]

    @property
    def best_activation(self) -> np.ndarray:
        """(sample,) activation of the best iterate's stored pixels."""
        return self.climb.best_activation[self.row, self.chosen]


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions inside and between the runs of an open file, and between them and their priors."""
    yield from climb_faults(file, RUN)
    for run in RUN.within(file):
        yield from (f"{run.name}{fault}" for fault in code_faults(file, run))
        finite = np.isfinite(run["activation"][...])
        if not np.isfinite(run["best_activation"][...][finite]).all():
            yield f"{run.name}/best_activation: not finite where there is a last iterate"


def rows(layer: Layer) -> Iterator[tuple[object, ...]]:
    """The rows in the order unit, run, sample."""
    for run, where, further in pictures_in_order(layer, list(Run.of(layer).values())):
        yield (
            *(layer.name, int(layer.units[where[0]]), layer.labels[where[0]], run.name, run.prior, where[1]),
            *(run.status[where[0]][where[1]].name, float(run.activation[where])),
            *(float(run.activation_float[where]), float(run.best_activation[where])),
            *(float(run.best_activation_float[where]), int(run.best_step[where])),
            *(run.stopped_at(where), int(run.attempt[where]), float(run.code_norm[where])),
            *further,
        )


def write_runs_csv(layer: Layer, path: Path) -> Path:
    """Write one line per picture of a run; a judge's columns are named judge:what. NaN stays empty."""
    return write(path, (*COLUMNS, *comparison_names(layer)), rows(layer))


def write_tables(layer: Layer, folder: Path) -> Iterator[Path]:
    """Write <layer>.runs.csv, one line per picture, where the layer has runs."""
    if Run.of(layer):
        yield write_runs_csv(layer, folder / f"{layer.key}.runs.csv")
