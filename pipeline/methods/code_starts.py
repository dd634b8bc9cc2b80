"""The codes that searches start from, and the range that they stay in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.methods.starts import item_random, legacy_random
from pipeline.search_settings import SearchSettings


@dataclass(frozen=True)
class CodeKey:
    """All that decides a start's randomness. units : in words; attempt counts the fresh starts, 0 is the first."""

    seed: int
    layer: str
    units: str
    search: str
    sample: int
    attempt: int


@dataclass(frozen=True, eq=False)
class CodeRange:
    """What real images' codes are like: mean and deviation, float (entry,); rectified ones are never negative."""

    mean: np.ndarray
    deviation: np.ndarray
    rectified: bool

    def bounds(self, settings: SearchSettings) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest value of every entry, float64 (entry,), or None for no bounds.

        Source: Nguyen et al. 2016, section 3: 0 to 3 standard deviations around the mean; their program: [−1, 1].
        """
        mean, deviation = self.mean.astype(np.float64), self.deviation.astype(np.float64)
        if settings.clip:
            return np.full_like(mean, -1.0), np.full_like(mean, 1.0)
        if settings.sigmas is None:
            return None
        low = np.zeros_like(mean) if self.rectified else mean - settings.sigmas * deviation
        return low, mean + settings.sigmas * deviation


def start_code(key: CodeKey, start: str, known: CodeRange, of_image: np.ndarray | None) -> np.ndarray:
    """The code that a search starts from, float64 (entry,), before any bound.

    start : one of SearchSettings. of_image : (entry,), for start "image".
    Source: the authors' program of Nguyen et al. 2016 for "reference" (its default) and "image".
    """
    if start == "mean":
        return known.mean.astype(np.float64)
    if start == "image":
        return np.asarray(of_image, np.float64).reshape(-1)
    if start == "reference":
        return legacy_random(key.seed + key.sample, key.attempt).normal(0, 1, known.mean.size)
    drawn = item_random(key).normal(0, 1, known.mean.size)
    if start == "noise":
        return drawn
    drawn = known.mean.astype(np.float64) + known.deviation.astype(np.float64) * drawn
    return np.maximum(drawn, 0) if known.rectified else drawn
