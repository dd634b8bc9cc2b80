"""Redundant units of a layer: the correlation of their per-image maxima over a sample of images."""

from __future__ import annotations

import numpy as np

_COLUMNS = 512  # units correlated at a time; bounds memory
_MINIMUM_IMAGES = 3  # images: over two images, any two units are perfectly correlated


def redundant_units(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every unit, the unit with the most correlated values, int32 (unit,), and the correlation, float32 (unit,).

    values : float32 (image, unit); a value that is not finite counts as the unit's mean.
    The largest |correlation|, rounded to six decimals, decides; the lowest number wins a tie. A unit that never varies
    has no such unit (−1, NaN), and with fewer than three images no unit has one.
    """
    images, units = values.shape
    nearest, correlation = np.full(units, -1, np.int32), np.full(units, np.nan, np.float32)
    if images < _MINIMUM_IMAGES:
        return nearest, correlation
    varies, standard = _standardised(values)
    living = np.flatnonzero(varies)
    if len(living) < 2:
        return nearest, correlation
    standard = standard[:, living]
    for start in range(0, len(living), _COLUMNS):
        chunk = standard[:, start : start + _COLUMNS].astype(np.float64)
        products = np.concatenate(
            [
                chunk.T @ standard[:, other : other + _COLUMNS].astype(np.float64)
                for other in range(0, len(living), _COLUMNS)
            ],
            axis=1,
        )
        rows = np.arange(products.shape[0])
        products[rows, start + rows] = 0  # itself
        best = np.abs(products).round(6).argmax(axis=1)
        at = living[start : start + _COLUMNS]
        correlation[at] = np.clip(products[rows, best], -1, 1)
        nearest[at] = living[np.where(best == start + rows, (best + 1) % len(living), best)]
    return nearest, correlation


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which units vary; and their values with mean 0 and norm 1, float32 (image, unit)."""
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
