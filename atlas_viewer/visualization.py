"""Pictures of a few units with their facts, in memory, and a figure of them for a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.extras import INSTALL, installed
from atlas_viewer.field import Status
from atlas_viewer.layer import Unit
from atlas_viewer.montage import stretch
from atlas_viewer.unit_figure import Row, climb_row, draw_rows


@dataclass(frozen=True, eq=False)
class UnitPictures:
    """The pictures of a unit by one style of gradient ascent or one run of DGN-AM; arrays begin with the axis sample.

    address : layer:unit.
    label : the unit's name, or empty.
    method : "ascent" or "dgn".
    setting : name of the style or run.
    pixels : uint8 (sample, y, x, rgb), true colours; zeros where a picture is missing. Of a run, the last iterate.
    activation : float32 (sample,), of these pixels; NaN where a picture is missing.
    activation_float : float32 (sample,), before the pixels were rounded.
    best_step : int32 (sample,), iteration with the largest activation; -1 for no picture.
    attempt : uint8 (sample,), the start that each picture comes from: 0 the first, then fresh ones.
    status : outcome of each picture.
    trace_step, trace : iterations (point,), and the activations there, float32 (sample, point); NaN beyond the end.
    window : the pixels that are shown, of the network's input: top, left, bottom, right.
    measure : what an activation is: the value of which layer, before or after what.
    numbers : every value of the setting, by name.
    mean : (y, x, rgb), the network's mean under the pixels, or its colour.
    code : float32 (sample, entry), of a run: the code that the prior's generator draws `pixels` from; None of a style.
    best_pixels, best_activation, best_code : of a run: the same of the iterate with the largest activation.
    """

    address: str
    label: str
    method: str
    setting: str
    pixels: np.ndarray = field(repr=False)
    activation: np.ndarray
    activation_float: np.ndarray = field(repr=False)
    best_step: np.ndarray = field(repr=False)
    attempt: np.ndarray = field(repr=False)
    status: tuple[Status, ...]
    trace_step: np.ndarray = field(repr=False)
    trace: np.ndarray = field(repr=False)
    window: tuple[int, int, int, int]
    measure: str
    numbers: dict[str, str | int | float | bool] = field(repr=False)
    mean: np.ndarray = field(repr=False)
    code: np.ndarray | None = field(default=None, repr=False)
    best_pixels: np.ndarray | None = field(default=None, repr=False)
    best_activation: np.ndarray | None = field(default=None, repr=False)
    best_code: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, unit: Unit, climb: Climb) -> UnitPictures:
        """The pictures that an open atlas has of a unit with one setting."""
        row = unit.row
        further = {}
        if isinstance(climb, Run):
            stored = climb.at(row)
            further = {name: getattr(stored, name) for name in ("code", "best_pixels", "best_activation", "best_code")}
        return cls(
            address=unit.address,
            label=unit.label,
            method=climb.path.partition("/")[0],
            setting=climb.name,
            pixels=climb.pixels[row],
            **{name: getattr(climb, name)[row] for name in ("activation", "activation_float", "best_step", "attempt")},
            status=climb.status[row],
            trace_step=climb.trace_step,
            trace=climb.trace[row],
            window=unit.layer.window,
            measure=climb.measure,
            numbers=climb.numbers,
            mean=climb.mean_under(unit.layer.atlas.mean, unit.layer.window),
            **further,
        )

    @property
    def title(self) -> str:
        """The unit and the setting, in a few words."""
        return f"{self.address}{f' {self.label}' if self.label else ''}, {self.setting}"

    @property
    def stretched(self) -> np.ndarray:
        """The pixels with the mean at mid-grey and the largest deviation at black or white, as pages show styles."""
        return stretch(self.pixels, self.mean)

    def facts(self) -> Iterator[dict[str, object]]:
        """Yield a row of facts for each picture."""
        for sample, status in enumerate(self.status):
            yield {
                "unit": self.address,
                "label": self.label,
                "method": self.method,
                "setting": self.setting,
                "sample": sample,
                "status": status.name,
                "activation": float(self.activation[sample]),
                "activation_float": float(self.activation_float[sample]),
                "best_step": int(self.best_step[sample]),
                "attempt": int(self.attempt[sample]),
                "measure": self.measure,
                "window": self.window,
            }


@dataclass(frozen=True, eq=False, repr=False)
class Visualization(Sequence):
    """Pictures of units, unit by unit and setting by setting. A notebook shows it as a figure.

    cited : the network, as name@digest.
    pictures : of each unit and setting.
    network : the open network, to be given to further calls.
    """

    cited: str
    pictures: tuple[UnitPictures, ...]
    network: Any = None

    def __getitem__(self, place: int) -> UnitPictures:  # type: ignore[override]
        return self.pictures[place]

    def __len__(self) -> int:
        return len(self.pictures)

    def facts(self) -> list[dict[str, object]]:
        """A row of facts for each picture; `pandas.DataFrame(facts)` makes a table of them."""
        return [row for one in self.pictures for row in one.facts()]

    def figure(self, *, stretched: bool = True) -> Any:
        """A matplotlib figure: a row for each unit and setting, a column for each sample, activations below.

        stretched : enhance the contrast of the pictures by gradient ascent, as pages do; those through a prior always
            have true colours.
        Raises MissingError without matplotlib.
        """
        return draw_rows([self._row(one, stretched and one.method == "ascent") for one in self.pictures])

    @staticmethod
    def _row(one: UnitPictures, stretched: bool) -> Row:
        return climb_row(one.title, one.stretched if stretched else one.pixels, one.activation, one.status)

    def _repr_png_(self) -> bytes | None:
        """The figure as a PNG file, for notebooks; None without matplotlib, so that they show the text."""
        if not installed("matplotlib"):
            return None
        file = io.BytesIO()
        self.figure().savefig(file, format="png")
        return file.getvalue()

    def __repr__(self) -> str:
        lines = [self.cited, *(_line(one) for one in self.pictures)]
        if not installed("matplotlib"):
            lines.append(f"for a figure: {INSTALL}")
        return "\n".join(lines)


def _line(one: UnitPictures) -> str:
    height, width = one.pixels.shape[1:3]
    values = ", ".join(
        f"{value:.4g}" if status is Status.ok else status.name
        for value, status in zip(one.activation.tolist(), one.status, strict=True)
    )
    return f"{one.title}: {width}x{height} pixels, {one.measure}: {values}"
