"""Statistics: the activations of the units of a layer over the whole dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from atlas_viewer.evidence.climb import MEASURE
from atlas_viewer.extras import require
from atlas_viewer.field import Attribute, Field, Group, subgroup
from atlas_viewer.table import write

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer


def _spread(what: str, over: str, required: bool) -> tuple[Field, ...]:
    """The datasets that describe the distribution of one kind of values."""

    def number(name: str, meaning: str, dtype: str = "f8", measure: str = "activation") -> Field:
        return Field(f"{what}_{name}", dtype, ("unit",), f"{meaning} {over}", measure, required)

    return (
        number("count", "number of values", "i8", "values"),
        number("mean", "mean"),
        number("variance", "variance (divided by the count)", measure="activation squared"),
        number("min", "least"),
        number("max", "most"),
        Field(f"{what}_histogram", "i8", ("unit", "bin"), f"number of values between neighbouring edges, {over}",
              "values", required),
        Field(f"{what}_quantiles", "f4", ("unit", "quantile"), f"quantiles, read off the histogram, {over}",
              "activation", required),
    )  # fmt: skip


STATISTICS = Group(
    "/layers/<layer>/statistics",
    "the activations of each unit over the whole dataset; arrays called image_ count an image's largest activation, "
    "those called position_ every position of the images of a sample",
    (
        MEASURE,
        Attribute("redundancy_threshold", "float", "correlation (magnitude) above which two units count as redundant"),
        Attribute("sample", "int", "images that correlations are taken over, chosen by hash", required=False),
        Attribute("position_sample", "int",
                  "images whose positions are counted, chosen by hash; all images where a layer has one position",
                  required=False),
        Attribute("revision", "int", "revision of the program that mined the images", required=False),
    ),
    (
        *_spread("image", "of the per-image maxima", True),
        *_spread("position", "of the values at all positions of the images whose positions are counted", False),
        Field("edge", "f4", ("edge",),
              "edges of the histograms' bins, rising, one more than bins: a fixed signed logarithmic grid; the "
              "outermost may be infinite", "activation"),
        Field("quantile", "f4", ("quantile",), "which quantiles are stored, rising", "share"),
        Field("active_images", "f8", ("unit",), "share of the images whose maximum is above zero", "share"),
        Field("active_positions", "f8", ("unit",), "share of these positions whose value is above zero", "share",
              required=False),
        Field("not_a_number", "i8", ("unit",), "images left out because a value was NaN", "images",
              required=False),
        Field("dead", "bool", ("unit",), "whether no image activates the unit, or it never varies"),
        Field("never_varies", "bool", ("unit",), "whether the unit has one value everywhere"),
        Field("redundant_unit", "i4", ("unit",),
              "number of the unit whose per-image maxima correlate most with this one's, if the correlation reaches "
              "the threshold; -1 for none"),
        Field("redundant_correlation", "f4", ("unit",),
              "correlation with the most correlated unit, redundant or not; NaN for none"),
        Field("nearest", "i4", ("unit",), "number of the most correlated unit, redundant or not; -1 for none",
              required=False),
        Field("class_mean", "f4", ("unit", "class"),
              "mean of the per-image maxima over each class of the dataset; NaN of a class without images",
              "activation", required=False),
        Field("class_count", "i8", ("class",), "images of each class", "images", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (STATISTICS,)


@dataclass(frozen=True)
class Statistics:
    """The statistics of one layer. Arrays begin with (unit,); row i belongs to unit units[i].

    Arrays called image_ count the per-image maxima, those called position_ the values at all positions of the images of
    a sample.

    layer : the group of the layer; in an atlas of parts, `group` is in another file.
    """

    group: h5py.Group
    units: np.ndarray
    layer: h5py.Group

    @classmethod
    def of(cls, layer: Layer) -> Statistics | None:
        """The statistics of a layer; None where no images were evaluated."""
        group = subgroup(layer.group, "statistics")
        return None if group is None else cls(group, layer.units, layer.group)

    def __getitem__(self, name: str) -> np.ndarray:
        """Any stored array by name, such as "position_mean"; KeyError where it is not stored."""
        return STATISTICS[name].read(self.group[name])

    def get(self, name: str) -> np.ndarray | None:
        """Any stored array by name, None where it is not stored."""
        return self[name] if name in self.group else None

    @property
    def measure(self) -> str:
        """What an activation is here."""
        return str(self.group.attrs["measure"])

    @property
    def redundancy_threshold(self) -> float:
        """The correlation, in magnitude, above which two units count as redundant."""
        return float(self.group.attrs["redundancy_threshold"])

    @cached_property
    def count(self) -> np.ndarray:
        """How many images were counted."""
        return self["image_count"]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of the per-image maxima."""
        return self["image_mean"]

    @cached_property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the per-image maxima."""
        return np.sqrt(self["image_variance"])

    @cached_property
    def least(self) -> np.ndarray:
        """The smallest per-image maximum."""
        return self["image_min"]

    @cached_property
    def most(self) -> np.ndarray:
        """The largest activation in any image."""
        return self["image_max"]

    @cached_property
    def quantile(self) -> np.ndarray:
        """(quantile,) which quantiles are stored."""
        return self["quantile"]

    @cached_property
    def quantiles(self) -> np.ndarray:
        """(unit, quantile) of the per-image maxima."""
        return self["image_quantiles"]

    @cached_property
    def edge(self) -> np.ndarray:
        """(edge,) edges of the histograms' bins; the outermost may be infinite."""
        return self["edge"].astype(np.float64)

    @cached_property
    def histogram(self) -> np.ndarray:
        """(unit, bin) number of per-image maxima between neighbouring edges."""
        return self["image_histogram"]

    @cached_property
    def active_images(self) -> np.ndarray:
        """Share of the images that the unit is active in."""
        return self["active_images"]

    @cached_property
    def active_positions(self) -> np.ndarray:
        """Share of the positions that the unit is active at; NaN where it was not computed."""
        share = self.get("active_positions")
        return np.full(len(self.units), np.nan) if share is None else share

    @property
    def position_sample(self) -> int | None:
        """How many images have their positions counted; None for all."""
        sample = self.group.attrs.get("position_sample")
        return None if sample is None or sample >= self.count.max(initial=0) else int(sample)

    @cached_property
    def dead(self) -> np.ndarray:
        """Whether no image switched the unit on, or it never varies."""
        return self["dead"]

    @cached_property
    def never_varies(self) -> np.ndarray:
        """Whether the unit has one value everywhere."""
        return self["never_varies"]

    @cached_property
    def redundant_unit(self) -> np.ndarray:
        """Number of the unit that each unit is redundant with, -1 for none."""
        return self["redundant_unit"]

    @cached_property
    def nearest(self) -> np.ndarray:
        """Number of the most correlated unit, redundant or not; -1 where it is not stored."""
        number = self.get("nearest")
        return self.redundant_unit if number is None else number

    @cached_property
    def redundant_correlation(self) -> np.ndarray:
        """Correlation with the most correlated unit; NaN for none."""
        return self["redundant_correlation"]

    @cached_property
    def class_mean(self) -> np.ndarray | None:
        """(unit, class) mean of the per-image maxima over each class; None without labels."""
        return self.get("class_mean")

    def selective_classes(self, row: int, count: int) -> list[tuple[int, float]]:
        """The classes with the largest means, best first, each with its mean; the lower number wins a tie."""
        if "class_mean" not in self.group:
            return []
        means = self.group["class_mean"][row]  # the whole array may be larger than memory
        order = np.argsort(-means, kind="stable")[:count]  # NaN sorts last
        return [(int(number), float(means[number])) for number in order if np.isfinite(means[number])]

    def at(self, row: int) -> UnitStatistics:
        """The statistics of the unit in a row."""
        return UnitStatistics(self, row)

    def to_csv(self, path: Path | str) -> Path:
        """Write the numbers as a table, one line per unit; the path is returned."""
        return write(Path(path), *_table(self))

    def to_pandas(self) -> Any:
        """The numbers as a pandas.DataFrame: one row per unit, columns as in `to_csv`."""
        require("pandas", "to_pandas")
        import pandas

        names, lines = _table(self)
        return pandas.DataFrame(lines, columns=names)


@dataclass(frozen=True)
class UnitStatistics:
    """The activations of one unit over the whole dataset; those called image_ are of the per-image maxima."""

    statistics: Statistics
    row: int

    def __getitem__(self, name: str) -> np.generic | np.ndarray:
        """Any stored array with the axis unit by its name, such as "position_mean"; KeyError for others."""
        if STATISTICS[name].axes[0] != "unit":
            raise KeyError(name)
        return self.statistics.group[name][self.row]

    @property
    def mean(self) -> float:
        """Mean of the per-image maxima."""
        return float(self["image_mean"])

    @property
    def deviation(self) -> float:
        """Standard deviation of the per-image maxima."""
        return float(np.sqrt(self["image_variance"]))

    @property
    def least(self) -> float:
        """The smallest per-image maximum."""
        return float(self["image_min"])

    @property
    def most(self) -> float:
        """The largest activation in any image."""
        return float(self["image_max"])

    @property
    def active_images(self) -> float:
        """Share of the images that the unit is active in."""
        return float(self["active_images"])

    @property
    def dead(self) -> bool:
        """Whether no image activates the unit, or it never varies."""
        return bool(self["dead"])

    @property
    def quantiles(self) -> dict[float, float]:
        """The quantiles of the per-image maxima, by share."""
        return dict(zip(self.statistics.quantile.tolist(), self["image_quantiles"].tolist(), strict=True))

    @property
    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """(bin,) number of per-image maxima, and (edge,) the edges of the bins; the outermost may be infinite."""
        return self["image_histogram"], self.statistics.edge

    def selective_classes(self, count: int) -> list[tuple[int, float]]:
        """The classes with the largest means, best first, each with its mean; none without labels."""
        return self.statistics.selective_classes(self.row, count)

    def __repr__(self) -> str:
        said = f"largest {self.most:.4g}, mean {self.mean:.4g}, least {self.least:.4g}"
        state = "dead" if self.dead else f"active in {self.active_images:.1%}"
        return f"per-image maxima of {self.statistics.measure}: {said}; {state} of {self['image_count']} images"


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions inside the statistics of an open file, and between them and the dataset."""
    for group in STATISTICS.within(file):
        yield from (f"{group.name}{fault}" for fault in _statistics_faults(file, group))


def _statistics_faults(file: h5py.File, group: h5py.Group) -> Iterator[str]:
    edge, bins = group["edge"][...], group["image_histogram"].shape[1]
    if len(edge) != bins + 1 or not (np.diff(edge) > 0).all():
        yield f"/edge: expected {bins + 1} rising edges"
    for what in ("image", "position"):
        if f"{what}_count" in group:
            counted = group[f"{what}_histogram"][...].sum(axis=1)
            if not (counted == group[f"{what}_count"][...]).all():
                yield f"/{what}_histogram: its sum is not {what}_count"
    if "class_mean" in group:
        classes = len(file["dataset/classes"]) if "dataset" in file else 0
        if group["class_mean"].shape[1] != classes:
            yield f"/class_mean: {group['class_mean'].shape[1]} classes, expected {classes} as in /dataset/classes"


def write_tables(layer: Layer, folder: Path) -> Iterator[Path]:
    """Write <layer>.statistics.csv, one line per unit, where the layer has statistics."""
    statistics = Statistics.of(layer)
    if statistics is not None:
        yield statistics.to_csv(folder / f"{layer.key}.statistics.csv")


def _table(statistics: Statistics) -> tuple[list[str], list[tuple[object, ...]]]:
    """Names and rows: every stored array with one number per unit, then the quantiles."""
    layer, stored = statistics.layer, statistics.group
    columns: dict[str, Sequence[object]] = {
        "layer": [layer.attrs["layer"]] * len(statistics.units),
        "unit": statistics.units.tolist(),
        "label": layer["units/label"].asstr()[...].tolist(),
    }
    for field in STATISTICS.fields:
        if field.name in stored and field.axes == ("unit",):
            columns[field.name] = statistics[field.name].tolist()
        elif field.name in stored and field.axes == ("unit", "quantile"):
            for at, level in enumerate(statistics.quantile.tolist()):
                columns[f"{field.name.removesuffix('s')}_{level:.4g}"] = stored[field.name][:, at].tolist()
    return list(columns), list(zip(*columns.values(), strict=True))
