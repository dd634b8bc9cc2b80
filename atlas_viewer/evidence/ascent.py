"""Styles of gradient ascent: the pictures of a layer by one setting of the regularizers, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

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
    climb_faults,
    sweep_attributes,
)
from atlas_viewer.field import Attribute, Field, Group, subgroups
from atlas_viewer.table import comparison_names, pictures_in_order, write

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

STYLE = Group(
    "/layers/<layer>/ascent/<style>",
    "pictures by gradient ascent with one setting of the regularizers; its values are further attributes",
    (
        Attribute("style", "text", "original name of the style"),
        REVISION,
        MEASURE,
        Attribute("canvas", "text",
                  "what was optimized: window (the picture alone) or image (the whole input)"),
        *POSITION,
        SEED,
        PRECISION,
        Attribute("direction", "text", "maximize or minimize"),
        CUT,
        *sweep_attributes("the style that all its other values come from"),
    ),
    (
        Field("pixels", "u1", ("unit", "sample", "y", "x", "rgb"),
              "the pictures, true colours, at their true size", "pixel levels, 0 to 255"),
        Field("activation", "f4", ("unit", "sample"),
              "activation of the stored pixels, measured after rounding", "activation"),
        Field("activation_float", "f4", ("unit", "sample"), "activation of the picture before rounding",
              "activation"),
        Field("best_step", "i4", ("unit", "sample"), "step whose picture is stored; -1 for no picture", "steps"),
        Field("stopped", "i4", ("unit", "sample"), STOPPED, "steps", required=False),
        STATUS,
        REASON,
        *TRACE,
        Field("attempt", "u1", ("unit", "sample"),
              "the start that the picture comes from: 0 the first, then fresh ones"),
        Field("start_norm", "f4", ("unit", "sample"), "L2 norm of the start, mean subtracted", "pixel levels",
              required=False),
        Field("norm", "f4", ("unit", "sample"), "L2 norm of the picture before rounding, mean subtracted",
              "pixel levels", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (STYLE,)

COLUMNS = ("layer", "unit", "label", "style", "sample", "status")
COLUMNS += ("activation", "activation_float", "best_step", "stopped", "attempt")


@dataclass(frozen=True)
class Pictures(Climb):
    """One style of one layer. Arrays begin with (unit, sample); row i belongs to unit units[i]."""

    @classmethod
    def of(cls, layer: Layer) -> dict[str, Pictures]:
        """The styles of a layer by original name."""
        return {str(group.attrs["style"]): cls(group, layer.units) for group in subgroups(layer.group, "ascent")}

    @property
    def kind(self) -> Group:
        """The schema of the group."""
        return STYLE

    @cached_property
    def style(self) -> str:
        """The style's original name."""
        return str(self.group.attrs["style"])

    @property
    def name(self) -> str:
        """The style's original name."""
        return self.style

    @cached_property
    def canvas(self) -> str:
        """What was optimized: window or image."""
        return str(self.group.attrs["canvas"])

    @cached_property
    def direction(self) -> str:
        """maximize or minimize."""
        return str(self.group.attrs["direction"])


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions inside and between the styles of an open file."""
    yield from climb_faults(file, STYLE)


def columns(layer: Layer) -> tuple[str, ...]:
    """The names of the table's columns; the last ones compare with images, and with each judge."""
    return COLUMNS + comparison_names(layer)


def rows(layer: Layer) -> Iterator[tuple[object, ...]]:
    """The rows in the order unit, style, sample."""
    for style, where, further in pictures_in_order(layer, list(Pictures.of(layer).values())):
        yield (
            *(layer.name, int(layer.units[where[0]]), layer.labels[where[0]], style.style, where[1]),
            *(style.status[where[0]][where[1]].name, float(style.activation[where])),
            *(float(style.activation_float[where]), int(style.best_step[where])),
            *(style.stopped_at(where), int(style.attempt[where])),
            *further,
        )


def write_styles_csv(layer: Layer, path: Path) -> Path:
    """Write one line per picture; a judge's columns are named judge:what. NaN stays empty."""
    return write(path, columns(layer), rows(layer))


def write_tables(layer: Layer, folder: Path) -> Iterator[Path]:
    """Write <layer>.csv, one line per picture, where the layer has styles."""
    if Pictures.of(layer):
        yield write_styles_csv(layer, folder / f"{layer.key}.csv")
