from __future__ import annotations

import numpy as np
import pytest

from pipeline.methods.tops import redundancy
from pipeline.methods.tops.redundancy import redundant_units


def test_the_nearest_is_that_of_the_whole_matrix_of_correlations(monkeypatch):
    monkeypatch.setattr(redundancy, "_COLUMNS", 3)  # so that several blocks meet
    random = np.random.default_rng(0)
    values = random.normal(5, 2, (30, 8)) @ random.normal(0, 1, (8, 8))
    matrix = np.corrcoef(values.T)
    np.fill_diagonal(matrix, 0)
    nearest, correlation = redundant_units(values.astype(np.float32))
    assert nearest.tolist() == np.abs(matrix).argmax(axis=1).tolist()
    assert correlation == pytest.approx(matrix[np.arange(8), nearest], abs=1e-6)


def test_equal_and_opposite_units_are_each_others_nearest_and_ties_go_to_the_lowest():
    base = np.random.default_rng(0).normal(0, 1, 20).astype(np.float32)
    other = np.random.default_rng(1).normal(0, 1, 20).astype(np.float32)
    nearest, correlation = redundant_units(np.stack([base, other, -2 * base, base + 3], axis=1))
    assert nearest.tolist()[0] == 2 and nearest.tolist()[2:] == [0, 0]
    assert correlation[[0, 2, 3]] == pytest.approx([-1, -1, 1])


def test_a_unit_that_never_varies_has_none_and_is_nobodys():
    random = np.random.default_rng(0).normal(0, 1, (20, 3)).astype(np.float32)
    random[:, 1] = 0.1
    nearest, correlation = redundant_units(random)
    assert nearest.tolist() == [2, -1, 0]
    assert np.isnan(correlation[1])


def test_two_images_or_a_single_living_unit_say_nothing():
    values = np.random.default_rng(0).normal(0, 1, (20, 2)).astype(np.float32)
    assert redundant_units(values[:2])[0].tolist() == [-1, -1]
    values[:, 0] = 0
    assert redundant_units(values)[0].tolist() == [-1, -1]


def test_what_is_not_a_number_counts_as_the_mean():
    values = np.random.default_rng(0).normal(0, 1, (20, 3)).astype(np.float32)
    filled = values.copy()
    values[4, 1] = np.nan
    filled[4, 1] = np.delete(filled[:, 1].astype(np.float64), 4).mean()
    assert redundant_units(values)[1] == pytest.approx(redundant_units(filled)[1], abs=1e-5)
