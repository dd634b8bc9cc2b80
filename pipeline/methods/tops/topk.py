"""The best images of every unit in a total order, so that they depend neither on blocks nor on the order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MISSING = -1  # image, row and column of a missing hit


@dataclass(frozen=True)
class Hits:
    """The best images of each unit, best first; axes (unit, rank).

    value : float32, the activation; NaN if missing.
    image : int64, number in the dataset; −1 if missing.
    row, column : int32, the position; −1 if missing.
    The order is total: by value (descending for the largest, ascending for the smallest), then by image, row and
    column, ascending.
    """

    value: np.ndarray
    image: np.ndarray
    row: np.ndarray
    column: np.ndarray

    @classmethod
    def empty(cls, units: int, k: int) -> Hits:
        """k missing hits a unit."""
        shape = (units, k)
        at = np.full(shape, MISSING, np.int32)
        return cls(np.full(shape, np.nan, np.float32), np.full(shape, MISSING, np.int64), at, at.copy())

    @classmethod
    def join(cls, parts: list[Hits]) -> Hits:
        """The hits of the units of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))

    def of_length(self, k: int) -> Hits:
        """The first k ranks, padded with missing hits."""
        units, ranks = self.value.shape
        none = Hits.empty(units, max(0, k - ranks))
        return Hits(*(np.concatenate([getattr(self, name)[:, :k], getattr(none, name)], axis=1) for name in FIELDS))


FIELDS = ("value", "image", "row", "column")


def merge(a: Hits, b: Hits, k: int, *, smallest: bool = False) -> Hits:
    """The k best of both, for every unit; missing hits come last."""
    if (a.image == MISSING).all():
        return b.of_length(k)
    value, image, row, column = (np.concatenate([getattr(a, name), getattr(b, name)], axis=1) for name in FIELDS)
    order = np.lexsort((column, row, image, value if smallest else -value, image == MISSING))[:, :k]
    return Hits(*(np.take_along_axis(part, order, axis=1) for part in (value, image, row, column))).of_length(k)


def best_images(
    values: np.ndarray, images: np.ndarray, places: np.ndarray, width: int, k: int, *, smallest: bool = False
) -> Hits:
    """The k best of a set of images, for every unit; an image whose value is NaN is not a hit.

    values : float32 (image, unit), each image's maximum.
    images : int64 (image,), their numbers, none twice.
    places : (image, unit), row · width + column.
    width : width of the map.
    """
    count, units = values.shape
    if (np.diff(images) <= 0).any():  # the keys below hold an image's row, which must ascend with its number
        order = np.argsort(images)
        values, images, places = values[order], images[order], places[order]
    turned = np.ascontiguousarray(values.T)
    narrow = _sortable(turned) if smallest else ~_sortable(turned)
    narrow[np.isnan(turned)] = _LAST
    keys = narrow.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(count, dtype=np.uint64)
    if k < count:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    keys.sort(axis=1)
    at, unit = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), np.arange(units)[:, None]
    place = places[at, unit].astype(np.int32)
    best = Hits(values[at, unit], images[at], place // np.int32(width), place % np.int32(width))
    missing = keys >> np.uint64(32) == _LAST
    none = Hits.empty(units, keys.shape[1])
    return Hits(*(np.where(missing, getattr(none, name), getattr(best, name)) for name in FIELDS)).of_length(k)


def best_of_own_class(
    values: np.ndarray, images: np.ndarray, places: np.ndarray, width: int, k: int, labels: np.ndarray
) -> Hits:
    """For every unit, the k images with the largest values among those whose label is the unit's number.

    labels : int (image,), −1 for none. The other arguments are those of `best_images`.
    """
    units = values.shape[1]
    hits = Hits.empty(units, k)
    for unit in np.unique(labels[(labels >= 0) & (labels < units)]):
        members = np.flatnonzero(labels == unit)
        column = slice(unit, unit + 1)
        best = best_images(values[members, column], images[members], places[members, column], width, k)
        for name in FIELDS:
            getattr(hits, name)[unit] = getattr(best, name)[0]
    return hits


_LAST = np.uint32(0xFFFFFFFF)  # key of a missing hit; no number has it


def _sortable(values: np.ndarray) -> np.ndarray:
    """uint32 keys in the order of float32 values; +0 and −0 have the same key."""
    bits = (values + np.float32(0)).view(np.uint32)
    sign = (bits.view(np.int32) >> 31).view(np.uint32)  # all ones where negative
    sign |= np.uint32(0x80000000)
    return np.bitwise_xor(bits, sign, out=bits)
