"""Which units respond to the same classes or images, and which respond most to each class, from what an atlas holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from atlas_viewer.layer import Layer

CLASSES = 8  # with images: below, a correlation over classes says little
LARGEST = 1e9  # bytes of the means over classes that are read
_ROWS = 512  # units at a time


@dataclass(frozen=True)
class Likeness:
    """The most similar units of a layer for each of its units, arrays (unit, place), best first.

    rows : rows of the similar units, −1 for none.
    value : how similar they are.
    meaning : what the value is, in words.
    is_count : whether it is a number of images.
    """

    rows: np.ndarray
    value: np.ndarray
    meaning: str
    is_count: bool


def similar_units(layer: Layer, count: int) -> Likeness | None:
    """The units that are most similar to each unit; None where the atlas cannot tell.

    Where the images have classes: by the Pearson correlation, over the classes, of the units' mean activations: the
    mean, over the images of a class, of the largest activation in each. Else by the number of images that are among
    the largest hits of both. Units without any positive similarity have none.
    """
    means = class_means(layer)
    if means is not None:
        means = means[:, np.isfinite(means).all(axis=0)]
        centred = means - means.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(centred, axis=1, keepdims=True)
        centred /= np.where(norm > 0, norm, np.inf)
        parts = (centred[start : start + _ROWS] @ centred.T for start in range(0, len(centred), _ROWS))
        return _best(parts, count, f"correlation of the mean activations over {means.shape[1]} classes", False)
    if "largest" in layer.kinds:
        tops = layer.tops("largest")
        parts = (_shared(tops.image[start : start + _ROWS], tops.image) for start in range(0, len(layer), _ROWS))
        return _best(parts, count, f"number of common images among the {tops.image.shape[1]} with the largest", True)
    return None


def class_units(layer: Layer, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The rows of the units that respond most to each class, and how much, (class, place); None without classes.

    How much: the mean over the images of the class of the largest activation in each, minus the mean over all images,
    in standard deviations over the images. Units that never vary are left out; −1 for none.
    """
    means = class_means(layer)
    if means is None:
        return None
    deviation = layer.statistics.deviation[:, None]
    raised = np.where(
        deviation > 0, (means - layer.statistics.mean[:, None]) / np.where(deviation > 0, deviation, 1), 0
    )
    order = np.argsort(-np.nan_to_num(raised, nan=0.0), axis=0, kind="stable")[:count].T
    value = np.take_along_axis(np.nan_to_num(raised, nan=0.0).T, order, 1)
    return np.where(value > 0, order, -1), value


def class_means(layer: Layer) -> np.ndarray | None:
    """(unit, class) float32 means of the largest activations over the images of each class, NaN of one without images.

    None where fewer than CLASSES have images, and for an array larger than LARGEST.
    """
    statistics = layer.statistics
    if statistics is None or "class_mean" not in statistics.group or statistics.group["class_mean"].nbytes > LARGEST:
        return None
    means = statistics.group["class_mean"][...]
    return means if np.isfinite(means).all(axis=0).sum() >= CLASSES else None


def _shared(some: np.ndarray, images: np.ndarray) -> np.ndarray:
    """(row of some, row) how many images, −1 for none, are in both."""
    return np.stack([np.isin(images, row[row >= 0]).sum(axis=1) for row in some])


def _best(parts: Iterator[np.ndarray], count: int, meaning: str, is_count: bool) -> Likeness:
    """The units with the largest values in each row of the parts, without the unit of the row itself."""
    rows, values, first = [], [], 0
    for part in parts:
        own = np.arange(len(part))
        part[own, first + own] = 0
        first += len(part)
        order = np.argsort(-part, axis=1, kind="stable")[:, :count]
        value = np.take_along_axis(part, order, 1)
        rows.append(np.where(value > 0, order, -1))
        values.append(value)
    return Likeness(np.concatenate(rows), np.concatenate(values), meaning, is_count)
