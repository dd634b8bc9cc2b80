"""The spread of codes: every entry where few, the ends always, the band above the means."""

from __future__ import annotations

import re

import numpy as np
import pytest

from atlas_viewer.site.code_plot import BASE, POINTS, TOP, spread


def line(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf'<{kind} points="([^"]*)"', svg)[1]
    return [tuple(map(float, point.split(","))) for point in found.split()]


def test_entries_stand_by_their_bound_with_the_mean_below():
    mean, deviation = np.array([1.0, 0.0, 2.0]), np.array([1.0, 0.0, 0.5])  # bounds 4, 0, 3.5
    svg = str(spread(mean, deviation, 3))
    for kind, values in (("polyline", (0, 3.5, 4)), ('polyline class="mean"', (0, 2, 1))):
        expected = [BASE - (BASE - TOP) / 4 * value for value in values]
        assert [height for _, height in line(svg, kind)] == pytest.approx(expected, abs=0.1)
    assert ">4.00<" in svg and ">3<" in svg


def test_many_entries_are_thinned_out_and_the_extremes_stay():
    mean = np.random.default_rng(0).gamma(1, 1, 5000)
    upper = line(str(spread(mean, np.ones(5000), 3)), "polyline")
    assert len(upper) == POINTS
    assert upper[-1][1] == TOP
    assert upper == sorted(upper, key=lambda point: (point[0], -point[1]))


@pytest.mark.parametrize("mean", [[], [np.nan, 1], [0, 0]])
def test_what_cannot_be_drawn_is_left_out(mean):
    assert spread(np.array(mean, float), np.zeros(len(mean)), 3) == ""
