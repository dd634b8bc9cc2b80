"""Reach: the activation of each unit's best synthetic picture over the largest in any image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer
from atlas_viewer.table import ratio


@dataclass(frozen=True)
class Reach:
    """The reach of one setting's pictures over several units.

    units : how many units have a picture and saw images.
    above : number of units whose best picture activates them at least as much as the best image.
    median : of the ratios, over the units that some image activates; NaN without any.
    """

    units: int
    above: int
    median: float

    @property
    def share(self) -> float:
        """Share of the units that are `above`; NaN without any."""
        return self.above / self.units if self.units else np.nan


def reach(parts: list[tuple[Layer, Climb]]) -> Reach:
    """The reach over several layers, each with its pictures; settings that minimize do not count."""
    above, ratios, units = 0, [], 0
    for layer, climb in parts:
        if layer.statistics is None or climb.direction != "maximize":
            continue
        most, best = layer.statistics.most, climb.best_sample
        for row in np.flatnonzero((best >= 0) & np.isfinite(most)).tolist():
            value = float(climb.activation[row, best[row]])
            units, above = units + 1, above + (value >= most[row])
            ratios.append(ratio(value, float(most[row])))
    finite = [value for value in ratios if np.isfinite(value)]
    return Reach(units, int(above), float(np.median(finite)) if finite else np.nan)
