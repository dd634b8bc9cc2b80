"""How the units of a layer behave over the whole dataset."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from atlas_viewer.table import statistics_frame, write_statistics_csv


@dataclass(frozen=True)
class Statistics:
    """The statistics of one layer. Arrays begin with (unit,); row i belongs to unit units[i].

    What is called image_ is of the per-image maxima, what is called position_ of the values at all positions.
    """

    group: h5py.Group
    units: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """Any of the stored arrays by its name, such as "position_mean"; KeyError where it is not stored."""
        return self.group[name][...]

    def get(self, name: str) -> np.ndarray | None:
        """Any of the stored arrays by its name, None where it is not stored."""
        return self[name] if name in self.group else None

    @property
    def measure(self) -> str:
        """What an activation is here."""
        return str(self.group.attrs["measure"])

    @property
    def twin_threshold(self) -> float:
        """The magnitude of the correlation from which on two units are twins."""
        return float(self.group.attrs["twin_threshold"])

    @cached_property
    def count(self) -> np.ndarray:
        """How many images count."""
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
        """The least of the per-image maxima."""
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
        """(unit, bin) how many per-image maxima lie between neighbouring edges."""
        return self["image_histogram"]

    @cached_property
    def active_images(self) -> np.ndarray:
        """Share of the images that the unit is active in."""
        return self["active_images"]

    @cached_property
    def active_positions(self) -> np.ndarray:
        """Share of the positions that the unit is active at; NaN where it was not asked for."""
        share = self.get("active_positions")
        return np.full(len(self.units), np.nan) if share is None else share

    @cached_property
    def dead(self) -> np.ndarray:
        """Whether no image switched the unit on, or it never varies."""
        return self["dead"]

    @cached_property
    def never_varies(self) -> np.ndarray:
        """Whether the unit has one value everywhere."""
        return self["never_varies"]

    @cached_property
    def twin(self) -> np.ndarray:
        """Number of the unit that says nearly the same, -1 for none."""
        return self["twin"]

    @cached_property
    def nearest(self) -> np.ndarray:
        """Number of the unit that goes with it most, twin or not, -1 where it is not known."""
        number = self.get("nearest")
        return self.twin if number is None else number

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlation with the unit that goes with it most; NaN where there is none."""
        return self["twin_correlation"]

    @cached_property
    def class_mean(self) -> np.ndarray | None:
        """(unit, class) mean of the per-image maxima over each class; None without labels."""
        return self.get("class_mean")

    def selective_classes(self, row: int, count: int) -> list[tuple[int, float]]:
        """The classes with the largest mean, best first, each with it; of equal ones the lower number first."""
        if self.class_mean is None:
            return []
        means = self.class_mean[row]
        order = np.argsort(-means, kind="stable")[:count]  # NaN sorts last
        return [(int(number), float(means[number])) for number in order if np.isfinite(means[number])]

    def to_csv(self, path: Path | str) -> Path:
        """Write the numbers as a table, a line a unit; the path is returned."""
        return write_statistics_csv(self, Path(path))

    def to_pandas(self) -> Any:
        """The numbers as a pandas.DataFrame, a row a unit, with the columns of `to_csv`."""
        return statistics_frame(self)
