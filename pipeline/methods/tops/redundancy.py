"""Redundant units of a layer: the correlation of their per-image maxima over a sample of images."""

from __future__ import annotations

import numpy as np

_COLUMNS = 512  # units correlated at a time; bounds memory
_FEWEST = 3  # images: of two, any two units are perfectly correlated


def redundant_units(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every unit the one whose values go with its own most, and their correlation: int32, float32 (unit,).

    values : float32 (image, unit). The nearest has the largest |correlation|, to six decimals, and among equals the
    lowest number. A unit that never varies has none (−1, NaN), nor does any where images are fewer than three. Where
    a value is not a number it counts as the unit's mean.
    """
    images, units = values.shape
    nearest, correlation = np.full(units, -1, np.int32), np.full(units, np.nan, np.float32)
    if images < _FEWEST:
        return nearest, correlation
    varies, standard = _standardised(values)
    living = np.flatnonzero(varies)
    if len(living) < 2:
        return nearest, correlation
    standard = standard[:, living]
    for start in range(0, len(living), _COLUMNS):
        own = standard[:, start : start + _COLUMNS].astype(np.float64)
        found = np.concatenate(
            [
                own.T @ standard[:, other : other + _COLUMNS].astype(np.float64)
                for other in range(0, len(living), _COLUMNS)
            ],
            axis=1,
        )
        rows = np.arange(found.shape[0])
        found[rows, start + rows] = 0  # itself
        best = np.abs(found).round(6).argmax(axis=1)
        at = living[start : start + _COLUMNS]
        correlation[at] = np.clip(found[rows, best], -1, 1)
        nearest[at] = living[np.where(best == start + rows, (best + 1) % len(living), best)]
    return nearest, correlation


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which units vary; their values less the mean, of length one, float32 (image, unit)."""
    units = values.shape[1]
    varies, standard = np.zeros(units, bool), np.zeros(values.shape, np.float32)
    for start in range(0, units, _COLUMNS):
        at = slice(start, start + _COLUMNS)
        part = values[:, at].astype(np.float64)
        good = np.isfinite(part)
        count = np.maximum(good.sum(axis=0), 1)
        apart = np.where(good, part - np.where(good, part, 0).sum(axis=0) / count, 0)
        low = np.where(good, part, np.inf).min(axis=0)
        varies[at] = np.where(good, part, -np.inf).max(axis=0) > low
        length = np.sqrt((apart * apart).sum(axis=0))
        standard[:, at] = np.divide(apart, length, out=np.zeros_like(apart), where=length > 0)
    return varies, standard
