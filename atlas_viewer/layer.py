"""One layer of an open atlas, and one unit of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import h5py
import numpy as np

from atlas_viewer.errors import MissingError, nearest
from atlas_viewer.evidence.ascent import Pictures, write_styles_csv
from atlas_viewer.evidence.ascent import columns as picture_columns
from atlas_viewer.evidence.ascent import rows as picture_rows
from atlas_viewer.evidence.climb import Climb, UnitClimb
from atlas_viewer.evidence.connections import Connections
from atlas_viewer.evidence.dgn import Run, UnitRun
from atlas_viewer.evidence.interpretability import Interpretability
from atlas_viewer.evidence.scores import Scores, rank_correlation
from atlas_viewer.evidence.statistics import Statistics, UnitStatistics
from atlas_viewer.evidence.tops import Tops, UnitTops
from atlas_viewer.extras import require
from atlas_viewer.field import Status, subgroups
from atlas_viewer.montage import stretch
from atlas_viewer.summary import layer_text, unit_line, unit_text
from atlas_viewer.table import arrays

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas

Stored = TypeVar("Stored")
Shown = TypeVar("Shown")


@dataclass(frozen=True)
class LayerInfo:
    """One row of the layer table; pairs are (rows, columns), in positions or, for windows, in pixels.

    window_status : "exact", "probed", "upper bound" or "whole image"; "" in files of before.
    measure : the value that an activation of the layer is; "" in files of before.
    """

    name: str
    kind: str
    channels: int
    size: tuple[int, int]
    window_size: tuple[int, int]
    window_stride: tuple[int, int]
    window_offset: tuple[int, int]
    window_status: str
    measure: str
    has_units: bool
    class_layer: bool


class Named(Mapping[str, Shown], Generic[Stored, Shown]):
    """The evidence of a layer or unit by name, in its order. MissingError, with the nearest names, for other names."""

    def __init__(self, layer: str, kind: str, stored: Mapping[str, Stored], show: Callable[[Stored], Shown]) -> None:
        self._layer, self._kind, self._stored, self._show = layer, kind, stored, show

    def __getitem__(self, name: str) -> Shown:
        if name not in self._stored:
            names = ", ".join(self._stored) if self._stored else "none"
            close = nearest(str(name), self._stored)
            raise MissingError(f"layer {self._layer}: no {self._kind} {name}{close}; it has {names}")
        return self._show(self._stored[name])

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def get(self, name: str, default: Any = None) -> Any:
        """The evidence of this name, or the default."""
        return self[name] if name in self._stored else default

    def __repr__(self) -> str:
        names = ", ".join(self._stored) if self._stored else "none"
        return f"layer {self._layer}, by {self._kind}: {names}"


@dataclass(frozen=True)
class Layer:
    """One layer of an open atlas."""

    atlas: Atlas
    info: LayerInfo
    group: h5py.Group

    @property
    def name(self) -> str:
        """The layer's original name."""
        return self.info.name

    @property
    def key(self) -> str:
        """The name of the layer's group, free of slashes."""
        return self.group.name.rsplit("/", 1)[1]

    @cached_property
    def units(self) -> np.ndarray:
        """The numbers of the units in this atlas, rising; row i of an array belongs to units[i]."""
        return self.group["units/unit"][...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the units, empty for units without one."""
        return tuple(self.group["units/label"].asstr()[...])

    @cached_property
    def status(self) -> tuple[Status, ...]:
        """For each unit `ok`, or the first status of its pictures that is not."""
        return tuple(Status(value) for value in self.group["units/status"][...].tolist())

    @cached_property
    def window(self) -> tuple[int, int, int, int]:
        """The window of the position shown: top, left, bottom, right, cut at the image's border."""
        return tuple(self.group["units/window"][...].tolist())

    @cached_property
    def window_unclipped(self) -> tuple[int, int, int, int]:
        """The same window, which may stick out of the image."""
        return tuple(self.group["units/window_unclipped"][...].tolist())

    @cached_property
    def styles(self) -> tuple[str, ...]:
        """The original names of the styles that the layer has pictures of."""
        return tuple(self._styles)

    @cached_property
    def runs(self) -> tuple[str, ...]:
        """The original names of the runs of DGN-AM that the layer has pictures of."""
        return tuple(self._runs)

    @cached_property
    def swept(self) -> tuple[str, ...]:
        """The styles that are settings of a sweep."""
        return tuple(name for name, style in self._styles.items() if style.sweep is not None)

    @cached_property
    def swept_runs(self) -> tuple[str, ...]:
        """The runs that are settings of a sweep."""
        return tuple(name for name, run in self._runs.items() if run.sweep is not None)

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """The original names of the judges of this layer's pictures."""
        return tuple(str(group.attrs["judge"]) for group in subgroups(self.group, "scores"))

    @property
    def ascent(self) -> Mapping[str, Pictures]:
        """The styles of gradient ascent by original name; their arrays are read on first use."""
        return Named(self.name, "style", self._styles, lambda style: style)

    @property
    def dgn(self) -> Mapping[str, Run]:
        """The runs of DGN-AM by original name; their arrays are read on first use."""
        return Named(self.name, "run", self._runs, lambda run: run)

    def pictures(self, style: str) -> Pictures:
        """The pictures of one style; arrays are read on first use."""
        return self.ascent[style]

    def run(self, name: str) -> Run:
        """The pictures of one run of DGN-AM; arrays are read on first use."""
        return self.dgn[name]

    def scores(self, judge: str, name: str) -> Scores | None:
        """A judge's scores for the pictures of a style or run; None where it judged none of them."""
        if judge not in self.judges:
            close, names = nearest(judge, self.judges), ", ".join(self.judges)
            raise MissingError(f"layer {self.name}: no judge {judge}{close}; it has {names}")
        return next((scores for scores in self.judged(self._climb(name)) if scores.judge == judge), None)

    def judged(self, pictures: Climb) -> tuple[Scores, ...]:
        """The scores of every judge of these pictures."""
        return tuple(scores for scores in self._scores if scores.pictures == pictures.path)

    @cached_property
    def interpretability(self) -> dict[str, Interpretability]:
        """Judge → machine interpretability scores of the units; empty if none were computed."""
        return Interpretability.of(self)

    @cached_property
    def judge_correlations(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By judge, the rank correlation (unit,) of activation and the probability of the unit's class, and how many
        pictures of all settings that maximize it is of; NaN for fewer than three. Settings of a sweep are left out.
        """
        pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for climb in (*self._styles.values(), *self._runs.values()):
            for seen in self.judged(climb) if climb.sweep is None and climb.direction != "minimize" else ():
                probability = np.where((seen.target >= 0)[:, None], seen.target_probability, np.nan)
                pairs.setdefault(seen.judge, []).append((climb.activation, probability))
        found = {}
        for judge, parts in pairs.items():
            activation, probability = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
            judged = np.isfinite(activation) & np.isfinite(probability)
            values = [
                rank_correlation(*(part[row][judged[row]] for part in (activation, probability)))
                for row in range(len(self))
            ]
            found[judge] = np.array(values), judged.sum(axis=1)
        return found

    def as_shown(self, climb: Climb, pixels: np.ndarray) -> np.ndarray:
        """Pictures of a setting, (…, y, x, rgb), as pages show them.

        Those by gradient ascent are stretched around the mean; those through a prior have true colours.
        """
        if isinstance(climb, Run):
            return pixels
        return stretch(pixels, climb.mean_under(self.atlas.mean, self.window))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of hits that the layer has: of largest, quantile, smallest, class."""
        return tuple(self._tops)

    def tops(self, kind: str = "largest") -> Tops:
        """The hits of one kind; arrays are read on first use."""
        return Named(self.name, "hits of kind", self._tops, lambda tops: tops)[kind]

    @cached_property
    def statistics(self) -> Statistics | None:
        """The activations of the units over the dataset; None where no images were evaluated."""
        return Statistics.of(self)

    @cached_property
    def connections(self) -> tuple[Connections, ...]:
        """The strongest connections of the units with those of the layers below and above; none in files of before."""
        return Connections.of(self)

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[Unit]:
        return (Unit(self, number) for number in self.units.tolist())

    def __getitem__(self, unit: int | str | slice) -> Any:
        """A unit by its number or label; a tuple of units by a slice of their numbers."""
        if not isinstance(unit, slice):
            return self.unit(unit)
        if any(bound is not None and bound < 0 for bound in (unit.start, unit.stop, unit.step)):
            raise MissingError(f"layer {self.name}: a slice is of units' numbers, from 0 up, as in [10:20]")
        wanted = range(self.info.channels)[unit]
        return tuple(Unit(self, number) for number in self.units.tolist() if number in wanted)

    def unit(self, unit: int | str) -> Unit:
        """A unit by its number or its label."""
        text = str(unit)
        if text.isdecimal() and int(text) in self.units:
            return Unit(self, int(text))
        if text in self.labels:
            return Unit(self, int(self.units[self.labels.index(text)]))
        names = [label for label in self.labels if label] + [str(number) for number in self.units.tolist()]
        span = f"{self.units[0]} to {self.units[-1]}" if len(self) else "none"
        close = "" if text.isdigit() else nearest(text, names)
        raise MissingError(f"layer {self.name}: no unit {text}{close}; it has {len(self)}, {span}")

    def to_csv(self, path: Path | str) -> Path:
        """Write the numbers of the layer's styles as a table, one line per picture; the path is returned."""
        return write_styles_csv(self, Path(path))

    def to_pandas(self) -> Any:
        """The numbers of the layer's styles as a pandas.DataFrame: one row per picture, columns as in `to_csv`."""
        require("pandas", "to_pandas")
        import pandas

        return pandas.DataFrame(picture_rows(self), columns=list(picture_columns(self)))

    def to_xarray(self, name: str) -> Any:
        """The arrays of one style or run as an xarray.Dataset with dimensions, measures and settings, in memory."""
        return arrays(self, self._climb(name))

    def __repr__(self) -> str:
        return layer_text(self)

    def _climb(self, name: str) -> Climb:
        """The run of this name, or the style."""
        return self.run(name) if name in self.runs else self.pictures(name)

    @cached_property
    def _styles(self) -> dict[str, Pictures]:
        return Pictures.of(self)

    @cached_property
    def _runs(self) -> dict[str, Run]:
        return Run.of(self)

    @cached_property
    def _tops(self) -> dict[str, Tops]:
        return Tops.of(self)

    @cached_property
    def _scores(self) -> tuple[Scores, ...]:
        return Scores.of(self)


@dataclass(frozen=True)
class Unit:
    """One unit of an open atlas; its arrays begin with the axis sample."""

    layer: Layer
    number: int

    @property
    def row(self) -> int:
        """The index of the unit on the axis unit of the layer's arrays."""
        return int(np.searchsorted(self.layer.units, self.number))

    @property
    def label(self) -> str:
        """The unit's name, or empty."""
        return self.layer.labels[self.row]

    @property
    def address(self) -> str:
        """layer:unit."""
        return f"{self.layer.name}:{self.number}"

    @property
    def citation(self) -> str:
        """The address with the network before it, unambiguous in any text: doodlenet@0123456789ab:conv5:151."""
        return f"{self.layer.atlas.cited}:{self.address}"

    @property
    def ascent(self) -> Mapping[str, UnitClimb]:
        """The unit's pictures by gradient ascent, by the name of the style: `unit.ascent["sparse"].images`."""
        return Named(self.layer.name, "style", self.layer.ascent, lambda style: style.at(self.row))

    @property
    def dgn(self) -> Mapping[str, UnitRun]:
        """The unit's pictures by DGN-AM, by the name of the run: `unit.dgn["toy"].images`."""
        return Named(self.layer.name, "run", self.layer.dgn, lambda run: run.at(self.row))

    @property
    def top(self) -> UnitTops:
        """The images of the dataset that excite the unit most: `unit.top.patches`. MissingError without a dataset."""
        return self.tops("largest")

    @property
    def stats(self) -> UnitStatistics | None:
        """The unit's activations over the dataset; None where no images were evaluated."""
        statistics = self.layer.statistics
        return None if statistics is None else statistics.at(self.row)

    def figure(self, samples: int = 9) -> Any:
        """A matplotlib figure of all that the atlas has of the unit: pictures of each setting, hits, distribution.

        samples : at most so many pictures of each setting.
        Raises MissingError without matplotlib.
        """
        from atlas_viewer.unit_figure import unit_figure

        return unit_figure(self, samples)

    def pictures(self, style: str) -> np.ndarray:
        """(sample, y, x, rgb) uint8, true colours; zeros where a picture is missing (see `status`)."""
        return self.ascent[style].images

    def activation(self, style: str) -> np.ndarray:
        """(sample,) activation of the stored pixels; NaN where a picture is missing."""
        return self.ascent[style].activation

    def status(self, style: str | None = None) -> Any:
        """ok, or the first status of the unit's pictures that is not; with a style, that of each of its pictures."""
        return self.layer.status[self.row] if style is None else self.ascent[style].status

    def run(self, name: str) -> UnitRun:
        """The unit's pictures by one run of DGN-AM, last and best, with their codes."""
        return self.dgn[name]

    def tops(self, kind: str = "largest") -> UnitTops:
        """The unit's hits of one kind, with patches and back-projections."""
        return self.layer.tops(kind).at(self.row)

    def trace(self, style: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps (point,) and the activations there (sample, point); NaN after an early end."""
        return self.ascent[style].trace

    def __repr__(self) -> str:
        return unit_line(self)

    def __str__(self) -> str:
        return unit_text(self)

    def _repr_html_(self) -> str:
        from atlas_viewer.notebook_view import unit_html

        return unit_html(self)
