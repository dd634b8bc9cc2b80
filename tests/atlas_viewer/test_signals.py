"""Display forms of back-projections against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from atlas_viewer import signals


@pytest.mark.parametrize("size", [(5, 7), (40, 31)])
def test_the_forms_are_those_of_the_toolbox(size, monkeypatch):
    monkeypatch.setattr(signals, "SHARE", 1.0)
    given = np.random.default_rng(0).normal(0, 3, (2, *size, 3))
    drawn = signals.forms(given, size)
    for at, signal in enumerate(given):
        raw = signal / max(2 * signal.max(), -2 * signal.min()) + 0.5
        norm = np.sqrt((signal**2).sum(axis=-1))
        blurred = gaussian_filter(norm, signals.SIGMA, mode="reflect")
        for name, plain in (("raw", raw), ("norm", stretched(norm)), ("blurred", stretched(blurred))):
            assert np.abs(drawn[name][at] - 255 * plain).max() <= 0.51


def stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


def test_zero_is_mid_grey_and_a_back_projection_of_nothing_is_flat():
    drawn = signals.forms(np.zeros((1, 4, 4, 3)), (4, 4))
    assert set(np.unique(drawn["raw"])) == {128}
    assert not drawn["norm"].any() and not drawn["blurred"].any()


def test_a_few_peaks_do_not_leave_the_rest_grey():
    given = np.random.default_rng(0).choice([-1.0, 1.0], (1, 20, 20, 3))
    given[0, 3, 4] = 1000, -1000, 1000
    raw = signals.forms(given, (20, 20))["raw"][0]
    assert np.array_equal(raw, np.where(given[0] > 0, 255, 0))


def test_of_a_few_values_that_are_not_zero_the_largest_gives_the_scale():
    given = np.zeros((1, 40, 40, 3))
    given[0, 3, 4, 0], given[0, 5, 6, 1] = 8, -4
    raw = signals.forms(given, (40, 40))["raw"][0]
    assert (raw[3, 4, 0], raw[5, 6, 1], raw[0, 0, 0]) == (255, 64, 128)


def test_what_is_made_smaller_gets_its_scale_after_that():
    given = np.zeros((1, 8, 8, 3), "f4")
    given[0, 2, 2] = 7
    drawn = signals.forms(given, (4, 4))
    assert drawn["raw"].shape == (1, 4, 4, 3) and drawn["norm"].shape == (1, 4, 4)
    assert drawn["raw"].max() == 255 and drawn["norm"].max() == 255
