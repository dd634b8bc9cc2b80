from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.tops.moments import Moments, merge, of_values


def moments_of(values: np.ndarray, good: np.ndarray) -> Moments:
    """Of values (image, unit)."""
    return of_values(values, None if good.all() else good)


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


def test_no_values_have_no_variance():
    assert np.isnan(Moments.empty(2).variance).all()
