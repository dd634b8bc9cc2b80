"""Count, mean, spread and extremes of each unit's values. Merging is exact for a given order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIELDS = ("count", "mean", "squares", "least", "most")


@dataclass(frozen=True)
class Moments:
    """Moments of each unit's values; every array is (unit,).

    count : int64.
    mean : float64; 0 without values.
    squares : float64, Σ (x − mean)²; 0 without values.
    least, most : float64, minimum and maximum; +∞ and −∞ without values.
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def empty(cls, units: int) -> Moments:
        return cls(
            np.zeros(units, np.int64),
            np.zeros(units),
            np.zeros(units),
            np.full(units, np.inf),
            np.full(units, -np.inf),
        )

    @classmethod
    def join(cls, parts: list[Moments]) -> Moments:
        """The moments of the units of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))

    @property
    def variance(self) -> np.ndarray:
        """Σ (x − mean)² / count, float64 (unit,); NaN without values."""
        return np.divide(self.squares, self.count, out=np.full(len(self.count), np.nan), where=self.count > 0)


def of_values(values: np.ndarray, good: np.ndarray | None) -> Moments:
    """The moments of values, float32 or float64 (image, unit).

    good : bool (image, unit), the values that count; None for all.
    """
    apart = values.astype(np.float64)
    if good is None:
        count = np.full(values.shape[1], len(values))
    else:
        count, apart[~good] = good.sum(axis=0), 0.0
    mean = apart.sum(axis=0) / np.maximum(count, 1)
    apart -= mean
    low = high = values
    if good is not None:
        apart[~good] = 0.0
        low, high = np.where(good, values, np.inf), np.where(good, values, -np.inf)
    return Moments(
        count,
        mean,
        np.einsum("iu,iu->u", apart, apart),
        low.min(axis=0, initial=np.inf).astype(np.float64),
        high.max(axis=0, initial=-np.inf).astype(np.float64),
    )


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of both together. Source: Chan, Golub & LeVeque 1983, pairwise updating."""
    count = a.count + b.count
    share = b.count / np.maximum(count, 1)
    apart = b.mean - a.mean
    return Moments(
        count,
        np.where(b.count > 0, np.where(a.count > 0, a.mean + apart * share, b.mean), a.mean),
        a.squares + b.squares + apart * apart * a.count * share,
        np.minimum(a.least, b.least),
        np.maximum(a.most, b.most),
    )
