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
    order = _order(value, image, smallest)
    if order is None:
        order = np.lexsort((column, row, image, value if smallest else -value, image == MISSING))
    order = order[:, :k]
    return Hits(*(np.take_along_axis(part, order, axis=1) for part in (value, image, row, column))).of_length(k)


def best_images(
    values: np.ndarray,
    images: np.ndarray,
    places: np.ndarray,
    width: int | np.ndarray,
    k: int,
    *,
    smallest: bool = False,
) -> Hits:
    """The k best of a set of images, for every unit; an image whose value is NaN is not a hit.

    values : float32 (image, unit), each image's maximum.
    images : int64 (image,), their numbers, none twice.
    places : (image, unit), row · width + column.
    width : width of the map; or of each unit's map, (unit,).
    """
    count, units = values.shape
    if (np.diff(images) <= 0).any():  # the keys below hold an image's row, which must ascend with its number
        order = np.argsort(images)
        values, images, places = values[order], images[order], places[order]
    if count > 2 * k * _GROUP:
        rows = _likely_rows(values, k, smallest)
        keys = _keys(values[np.minimum(rows, count - 1), np.arange(units)[:, None]], rows, smallest)
        keys[rows >= count] = _MISSING_KEY
    else:
        keys = _keys(np.ascontiguousarray(values.T), np.arange(count), smallest)
    if k < keys.shape[1]:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    keys.sort(axis=1)
    missing = keys >> np.uint64(32) == _LAST
    at, unit = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), np.arange(units)[:, None]
    at[missing] = 0
    if not count:
        return Hits.empty(units, k)
    place, width = places[at, unit].astype(np.int32), np.asarray(width, np.int32).reshape(-1, 1)
    best = Hits(values[at, unit], images[at], place // width, place % width)
    none = Hits.empty(units, keys.shape[1])
    return Hits(*(np.where(missing, getattr(none, name), getattr(best, name)) for name in FIELDS)).of_length(k)


def best_of_own_class(
    values: np.ndarray, images: np.ndarray, places: np.ndarray, width: int, k: int, labels: np.ndarray
) -> Hits:
    """For every unit, the k images with the largest values among those whose label is the unit's number.

    labels : int (image,), −1 for none. The other arguments are those of `best_images`.
    """
    hits = Hits.empty(values.shape[1], k)
    rows = np.flatnonzero((labels >= 0) & (labels < values.shape[1]))
    rows = rows[~np.isnan(values[rows, labels[rows]])]
    unit, value = labels[rows], values[rows, labels[rows]]
    order = np.lexsort((images[rows], -value, unit))
    rows, unit, value = rows[order], unit[order], value[order]
    rank = np.arange(len(rows)) - np.searchsorted(unit, unit)
    rows, unit, value, rank = (part[rank < k] for part in (rows, unit, value, rank))
    place = places[rows, unit].astype(np.int32)
    found = value, images[rows], place // np.int32(width), place % np.int32(width)
    for name, part in zip(FIELDS, found, strict=True):
        getattr(hits, name)[unit, rank] = part
    return hits


_GROUP = 8  # images of a group whose best value is found first


def _likely_rows(values: np.ndarray, k: int, smallest: bool) -> np.ndarray:
    """Rows among which each unit's k best are, (unit, row); rows beyond the last image stand for none.

    The images are cut into groups, and the k groups with the best values hold the k best images: an image of another
    group is behind the best one of each of them. Of groups with equal best values the earlier goes first.
    """
    count, units = values.shape
    groups = _best_of_groups(np.minimum if smallest else np.maximum, values)
    if np.isnan(groups).any():
        groups = _best_of_groups(np.fmin if smallest else np.fmax, values)  # slower; they pass over NaN
    keys = _keys(np.ascontiguousarray(groups.T), np.arange(len(groups)), smallest)
    chosen = np.partition(keys, k - 1, axis=1)[:, :k] & np.uint64(0xFFFFFFFF)
    rows = chosen.astype(np.int64)[:, :, None] * _GROUP + np.arange(_GROUP)
    return rows.reshape(units, k * _GROUP)


def _best_of_groups(what: np.ufunc, values: np.ndarray) -> np.ndarray:
    """(group, unit)"""
    whole = len(values) // _GROUP * _GROUP
    groups = what.reduce(values[:whole].reshape(-1, _GROUP, values.shape[1]), axis=1)
    if whole == len(values):
        return groups
    return np.concatenate([groups, what.reduce(values[whole:], axis=0)[None]])


def _order(value: np.ndarray, image: np.ndarray, smallest: bool) -> np.ndarray | None:
    """The order of hits by value and image, (unit, rank); None if that does not decide it, or numbers are too large."""
    if image.max(initial=0) > 0xFFFFFFFF:
        return None
    missing = image == MISSING
    keys = _keys(value, np.where(missing, 0, image), smallest)
    keys[missing] = _MISSING_KEY
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    equal = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != _MISSING_KEY)
    return None if equal.any() else order


def _keys(values: np.ndarray, numbers: np.ndarray, smallest: bool) -> np.ndarray:
    """uint64 keys that ascend from the best value to the worst, then with the numbers; NaN comes last.

    numbers : in 32 bits, of the values' shape or that of a row of them.
    """
    narrow = _sortable(values) if smallest else ~_sortable(values)
    narrow[np.isnan(values)] = _LAST
    keys = narrow.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= numbers.astype(np.uint64)
    return keys


_LAST = np.uint32(0xFFFFFFFF)  # upper half of the key of a missing hit; no number has it
_MISSING_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)


def _sortable(values: np.ndarray) -> np.ndarray:
    """uint32 keys in the order of float32 values; +0 and −0 have the same key."""
    bits = (values + np.float32(0)).view(np.uint32)
    sign = (bits.view(np.int32) >> 31).view(np.uint32)  # all ones where negative
    sign |= np.uint32(0x80000000)
    return np.bitwise_xor(bits, sign, out=bits)
