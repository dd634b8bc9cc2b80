"""How far synthetic pictures go: the activation of each unit's best one over the largest in any image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer
from atlas_viewer.table import ratio


@dataclass(frozen=True)
class Reach:
    """What the pictures of one setting reach in some units. `units` have a picture, and were shown images.

    above : how many of them a picture excites at least as much as the best image does. median : of the ratios, over
    the units that some image switches on; NaN without any.
    """

    units: int
    above: int
    median: float

    @property
    def share(self) -> float:
        """Share of the units that are `above`; NaN without any."""
        return self.above / self.units if self.units else np.nan


def reach(parts: list[tuple[Layer, Climb]]) -> Reach:
    """What pictures reach over several layers, each with its pictures; those that minimize do not count."""
    above, ratios, units = 0, [], 0
    for layer, climb in parts:
        if layer.statistics is None or climb.direction != "maximize":
            continue
        most, best = layer.statistics.most, climb.best_sample
        for row in np.flatnonzero((best >= 0) & np.isfinite(most)).tolist():
            value = float(climb.activation[row, best[row]])
            units, above = units + 1, above + (value >= most[row])
            ratios.append(ratio(value, float(most[row])))
    known = [value for value in ratios if np.isfinite(value)]
    return Reach(units, int(above), float(np.median(known)) if known else np.nan)
