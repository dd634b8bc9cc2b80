"""One layer of an open atlas, and one unit of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.errors import MissingError, nearest
from atlas_viewer.evidence.ascent import Pictures, Scores
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Search, UnitSearch
from atlas_viewer.evidence.statistics import Statistics
from atlas_viewer.evidence.tops import Tops, UnitTops
from atlas_viewer.format_dataset import KINDS
from atlas_viewer.table import dataset, frame, write_csv

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas


@dataclass(frozen=True)
class LayerInfo:
    """One row of the layer table; pairs are (rows, columns), in positions or, for windows, in pixels."""

    name: str
    kind: str
    channels: int
    size: tuple[int, int]
    window_size: tuple[int, int]
    window_stride: tuple[int, int]
    window_offset: tuple[int, int]
    has_units: bool
    class_layer: bool


@dataclass(frozen=True)
class Layer:
    """One layer of an open atlas."""

    atlas: Atlas
    info: LayerInfo
    group: h5py.Group

    @property
    def name(self) -> str:
        """The layer's true name."""
        return self.info.name

    @property
    def key(self) -> str:
        """The name of the layer's group, free of slashes."""
        return self.group.name.rsplit("/", 1)[1]

    @cached_property
    def units(self) -> np.ndarray:
        """The numbers of the units in this atlas, rising; row i of an array belongs to units[i]."""
        return self.group["units/index"][...]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the units, empty for units without one."""
        return tuple(self.group["units/label"].asstr()[...])

    @cached_property
    def status(self) -> tuple[format.Status, ...]:
        """For each unit `ok`, or the first status of its pictures that is not."""
        return tuple(format.Status(value) for value in self.group["units/status"][...].tolist())

    @cached_property
    def window(self) -> tuple[int, int, int, int]:
        """The part of the input that the position shown sees: top, left, bottom, right, cut at the border."""
        return tuple(self.group["units/window"][...].tolist())

    @cached_property
    def window_unclipped(self) -> tuple[int, int, int, int]:
        """The same where it may stick out of the image."""
        return tuple(self.group["units/window_unclipped"][...].tolist())

    @cached_property
    def styles(self) -> tuple[str, ...]:
        """The true names of the styles that the layer has pictures of."""
        return tuple(self._styles)

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """Those of its styles that are settings of a style search."""
        return tuple(name for name, group in self._styles.items() if "sweep" in group.attrs)

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """The true names of the judges that saw pictures of this layer."""
        return tuple(str(group.attrs["judge"]) for group in self.group.get("scores", {}).values())

    def pictures(self, style: str) -> Pictures:
        """The pictures of one style; nothing is read before it is asked for."""
        if style not in self._styles:
            known = ", ".join(self.styles)
            raise MissingError(f"layer {self.name}: no style {style}{nearest(style, self.styles)}; it has {known}")
        return Pictures(self._styles[style], self.units)

    @cached_property
    def searches(self) -> tuple[str, ...]:
        """The true names of the searches of priors' codes that the layer has pictures of."""
        return tuple(self._searches)

    def search(self, name: str) -> Search:
        """The pictures of one search; nothing is read before it is asked for."""
        if name not in self._searches:
            known = ", ".join(self.searches) if self.searches else "none"
            close = nearest(name, self.searches)
            raise MissingError(f"layer {self.name}: no search {name}{close}; it has {known}")
        return Search(self._searches[name], self.units)

    def scores(self, judge: str, name: str) -> Scores | None:
        """What a judge saw in the pictures of a style, or of a search; None where it saw none of them."""
        if judge not in self.judges:
            known = ", ".join(self.judges)
            raise MissingError(f"layer {self.name}: no judge {judge}{nearest(judge, self.judges)}; it has {known}")
        pictures: Climb = self.search(name) if name in self.searches else self.pictures(name)
        group = self._judged.get((judge, pictures.path))
        return None if group is None else Scores(group)

    def judged(self, pictures: Climb) -> tuple[Scores, ...]:
        """What each judge saw in these pictures of the layer, those that saw any."""
        return tuple(Scores(group) for (_, path), group in self._judged.items() if path == pictures.path)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of hits that the layer has: of largest, quantile, smallest, class."""
        return tuple(self._tops)

    def tops(self, kind: str = "largest") -> Tops:
        """The images of the dataset that stand for the units; nothing is read before it is asked for."""
        if kind not in self._tops:
            known = ", ".join(self.kinds) if self.kinds else "none"
            raise MissingError(f"layer {self.name}: no hits of kind {kind}{nearest(kind, self.kinds)}; it has {known}")
        return self._tops[kind]

    @cached_property
    def statistics(self) -> Statistics | None:
        """How the units behave over the dataset; None where no images were looked at."""
        return Statistics(self.group["statistics"], self.units) if "statistics" in self.group else None

    def __len__(self) -> int:
        return len(self.units)

    def __iter__(self) -> Iterator[Unit]:
        return (Unit(self, number) for number in self.units.tolist())

    def __getitem__(self, unit: int | str) -> Unit:
        return self.unit(unit)

    def unit(self, unit: int | str) -> Unit:
        """A unit by its number or its label."""
        text = str(unit)
        if text.isdecimal() and int(text) in self.units:
            return Unit(self, int(text))
        if text in self.labels:
            return Unit(self, int(self.units[self.labels.index(text)]))
        known = [label for label in self.labels if label] + [str(number) for number in self.units.tolist()]
        span = f"{self.units[0]} to {self.units[-1]}" if len(self) else "none"
        close = "" if text.isdigit() else nearest(text, known)
        raise MissingError(f"layer {self.name}: no unit {text}{close}; it has {len(self)}, {span}")

    def to_csv(self, path: Path | str) -> Path:
        """Write the layer's numbers as a table, a line a picture; the path is returned."""
        return write_csv(self, Path(path))

    def to_pandas(self) -> Any:
        """The layer's numbers as a pandas.DataFrame, a row a picture, with the columns of `to_csv`."""
        return frame(self)

    def to_xarray(self, name: str) -> Any:
        """The arrays of one style or search as an xarray.Dataset with dimensions, measures and settings, in memory."""
        return dataset(self, name)

    @cached_property
    def _tops(self) -> dict[str, Tops]:
        groups, dataset, size = self.group.get("tops", {}), self.atlas.dataset, self.atlas.input_size
        if dataset is None:
            return {}
        return {kind: Tops(groups[kind], self.units, dataset, size) for kind in KINDS if kind in groups}

    @cached_property
    def _judged(self) -> dict[tuple[str, str], h5py.Group]:
        """The groups of scores, by judge and by which pictures were judged."""
        return {
            (str(judge.attrs["judge"]), str(judged.attrs["pictures"])): judged
            for judge in self.group.get("scores", {}).values()
            for judged in judge.values()
            if isinstance(judged, h5py.Group)
        }

    @cached_property
    def _styles(self) -> dict[str, h5py.Group]:
        return {str(group.attrs["style"]): group for group in self.group.get("ascent", {}).values()}

    @cached_property
    def _searches(self) -> dict[str, h5py.Group]:
        return {str(group.attrs["search"]): group for group in self.group.get("dgn", {}).values()}


@dataclass(frozen=True)
class Unit:
    """One unit of an open atlas; its arrays begin with the axis sample."""

    layer: Layer
    number: int

    @property
    def row(self) -> int:
        """Where the unit stands on the axis unit of the layer's arrays."""
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
        """The address with the network before it, good in any text: doodlenet@0123456789ab:conv5:151."""
        return f"{self.layer.atlas.cited}:{self.address}"

    def pictures(self, style: str) -> np.ndarray:
        """(sample, y, x, rgb) uint8, true colours; zeros where a picture is not there (see `status`)."""
        return self.layer.pictures(style).pixels[self.row]

    def activation(self, style: str) -> np.ndarray:
        """(sample,) activation of the stored pixels; NaN where a picture is not there."""
        return self.layer.pictures(style).activation[self.row]

    def status(self, style: str) -> tuple[format.Status, ...]:
        """What became of each picture."""
        return self.layer.pictures(style).status[self.row]

    def search(self, name: str) -> UnitSearch:
        """The unit's pictures by one search of a prior's codes, last and best, with their codes."""
        return self.layer.search(name).of(self.row)

    def tops(self, kind: str = "largest") -> UnitTops:
        """The images of the dataset that stand for the unit: hits, patches, back-projections."""
        return self.layer.tops(kind).of(self.row)

    def trace(self, style: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps (point,) and the activations there (sample, point); NaN after an early end."""
        pictures = self.layer.pictures(style)
        return pictures.trace_step, pictures.trace[self.row]
