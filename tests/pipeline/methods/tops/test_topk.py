from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.tops.topk import MISSING, Hits, best_images, best_of_own_class, merge

WIDTH = 3
FEW = [-1.0, -0.0, 0.0, 0.5, float("inf"), float("-inf"), float("nan")]  # ties are the rule


@st.composite
def readings(draw):
    """(values, places) of up to 12 images and 3 units."""
    images, units = draw(st.integers(0, 12)), draw(st.integers(1, 3))
    cells = images * units
    values = draw(st.lists(st.sampled_from(FEW), min_size=cells, max_size=cells))
    places = draw(st.lists(st.integers(0, 8), min_size=cells, max_size=cells))
    shape = (images, units)
    return np.array(values, np.float32).reshape(shape), np.array(places, np.int32).reshape(shape)


def sort_everything(values: np.ndarray, images: np.ndarray, places: np.ndarray, k: int, smallest: bool) -> list:
    """For every unit its (value, image, row, column), the slow and obvious way."""
    sign = 1 if smallest else -1
    found = []
    for unit in range(values.shape[1]):
        rows = [
            (sign * value, int(image), int(place) // WIDTH, int(place) % WIDTH)
            for value, image, place in zip(values[:, unit].tolist(), images, places[:, unit], strict=True)
            if value == value
        ]
        found.append([(sign * value, *rest) for value, *rest in sorted(rows)][:k])
    return found


def as_lists(hits: Hits) -> list:
    units = []
    for value, image, row, column in zip(hits.value, hits.image, hits.row, hits.column, strict=True):
        there = image != MISSING
        assert (np.diff(there.astype(int)) <= 0).all()  # missing ones come last
        assert np.isnan(value[~there]).all() and (row[~there] == MISSING).all() and (column[~there] == MISSING).all()
        units.append(list(zip(*(part[there].tolist() for part in (value, image, row, column)), strict=True)))
    return units


@given(readings(), st.integers(1, 5), st.booleans())
def test_the_best_images_are_those_of_sorting_everything(given_readings, k, smallest):
    values, places = given_readings
    images = np.random.default_rng(len(values)).permutation(len(values)) * 7 + 2
    hits = best_images(values, images, places, WIDTH, k, smallest=smallest)
    assert hits.value.shape == (values.shape[1], k)
    assert as_lists(hits) == sort_everything(values, images, places, k, smallest)


@given(readings(), st.integers(1, 5), st.booleans(), st.integers(0, 12), st.integers(0, 12), st.permutations(range(3)))
def test_hits_depend_neither_on_cuts_nor_on_arrival(given_readings, k, smallest, first, second, order):
    values, places = given_readings
    images = np.arange(len(values))
    low, high = sorted((min(first, len(values)), min(second, len(values))))
    parts = [slice(0, low), slice(low, high), slice(high, None)]
    total = Hits.empty(values.shape[1], k)
    for at in order:
        part = parts[at]
        new = best_images(values[part], images[part], places[part], WIDTH, k, smallest=smallest)
        total = merge(new, total, k, smallest=smallest)
    assert as_lists(total) == sort_everything(values, images, places, k, smallest)


@given(readings(), st.integers(1, 4))
def test_the_best_of_the_own_class_look_at_that_class_alone(given_readings, k):
    values, places = given_readings
    images = np.arange(len(values))
    labels = images % 4 - 1  # some have none
    hits = best_of_own_class(values, images, places, WIDTH, k, labels)
    for unit, found in enumerate(as_lists(hits)):
        own = labels == unit
        column = slice(unit, unit + 1)
        assert found == sort_everything(values[own, column], images[own], places[own, column], k, False)[0]


def test_equal_places_of_one_value_are_told_apart_by_row_then_column():
    one = Hits(*(np.array([[x]], t) for x, t in ((2.0, "f4"), (5, "i8"), (1, "i4"), (2, "i4"))))
    other = Hits(*(np.array([[x]], t) for x, t in ((2.0, "f4"), (5, "i8"), (1, "i4"), (0, "i4"))))
    assert merge(one, other, 2).column.tolist() == [[0, 2]]


@pytest.mark.parametrize("k", [1, 4])
def test_a_merge_has_as_many_ranks_as_asked_for(k):
    assert merge(Hits.empty(2, 1), Hits.empty(2, 1), k).image.tolist() == [[MISSING] * k] * 2
