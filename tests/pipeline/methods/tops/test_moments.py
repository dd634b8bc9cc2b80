from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.tops.moments import Moments, merge, of_groups


def moments_of(values: np.ndarray, good: np.ndarray) -> Moments:
    """Of single values, (image, unit)."""
    return of_groups(values, np.zeros_like(values), values, values, good=good, size=1)


@given(st.lists(st.integers(0, 20), max_size=4), st.integers(0, 2**32 - 1))
def test_merged_moments_are_those_of_all_values(cuts, seed):
    random = np.random.default_rng(seed)
    values, good = random.normal(1000, 1, (20, 3)), random.random((20, 3)) < 0.7
    total = Moments.empty(3)
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 20], strict=True):
        total = merge(total, moments_of(values[start:stop], good[start:stop]))
    for unit in range(3):
        own = values[good[:, unit], unit]
        assert total.count[unit] == len(own)
        if len(own):
            assert total.mean[unit] == pytest.approx(own.mean(), rel=1e-12)
            assert total.variance[unit] == pytest.approx(own.var(), rel=1e-6, abs=1e-9)
            assert (total.least[unit], total.most[unit]) == (own.min(), own.max())


def test_moments_of_groups_are_those_of_their_values():
    values = np.random.default_rng(0).normal(3, 2, (6, 2, 50))
    squares = values.var(axis=2) * 50
    good = np.ones((6, 2), bool)
    found = of_groups(values.mean(axis=2), squares, values.min(axis=2), values.max(axis=2), good=good, size=50)
    assert found.count.tolist() == [300, 300]
    assert found.mean == pytest.approx(values.mean(axis=(0, 2)))
    assert found.variance == pytest.approx(values.var(axis=(0, 2)))


def test_no_values_have_no_variance():
    assert np.isnan(Moments.empty(2).variance).all()
