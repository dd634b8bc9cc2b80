"""Histograms: area for number, marks where their values are, nothing drawn where there is nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from atlas_viewer.site import plots

EDGES = np.array([-np.inf, -2.0, -0.5, 0.5, 2.0, 4.0, 8.0, np.inf])


def values(counts, least=-3.0, most=10.0, box=(-1, 0, 1, 3, 9)) -> plots.Values:
    return plots.Values(EDGES, np.array(counts), least, most, box)


def bars(svg: str) -> list[tuple[float, float, float]]:
    """Left, width and height of every bar but that of zero."""
    found = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"', svg)
    return [tuple(map(float, bar)) for bar in found]


def test_the_area_of_a_bar_is_its_count():
    found = bars(plots.histogram(values([2, 3, 0, 6, 8, 8, 1]), [], "t"))
    areas = np.array([width * height for _, width, height in found])
    assert areas / areas[0] == pytest.approx(np.array([2, 3, 6, 8, 8, 1]) / 2, rel=0.05)


def test_the_bin_of_zero_is_a_bar_of_its_own_and_never_higher_than_the_plot():
    svg = plots.histogram(values([0, 0, 900, 6, 8, 8, 1]), [], "t")
    height = float(re.search(r'class="off" .*?height="([\d.]+)"', svg)[1])
    assert height == plots.BASE - plots.TOP
    assert len(bars(svg)) == 4


def test_narrow_bins_are_taken_together():
    edges = np.concatenate([[-np.inf], np.linspace(1, 2, 1001), [np.inf]])
    counts = np.array([0, *np.ones(1000), 0])
    found = bars(plots.histogram(plots.Values(edges, counts, 1.0, 2.0, ()), [], "t"))
    assert 20 < len(found) < 120
    assert min(width for _, width, _ in found[:-1]) >= plots.NARROWEST - 0.2


def test_a_mark_far_beyond_the_data_gets_an_arrow_and_leaves_the_data_its_room():
    marks = [plots.Mark(10.0, "best image", "image"), plots.Mark(900.0, "synthetic", "picture")]
    svg = plots.histogram(values([2, 3, 0, 6, 8, 8, 1]), marks, "t")
    assert "synthetic 900.0 →" in svg and "best image 10.00<" in svg
    assert max(left + width for left, width, _ in bars(svg)) > 0.35 * plots.WIDTH


def test_names_are_escaped():
    svg = plots.histogram(values([1, 1, 0, 1, 1, 1, 1]), [plots.Mark(1.0, "<b>", "image")], "a < b")
    assert "&lt;b&gt;" in svg and "a &lt; b" in svg


@pytest.mark.parametrize(("least", "most"), [(3.0, 3.0), (np.nan, np.nan), (np.inf, -np.inf)])
def test_a_unit_that_never_varies_has_no_histogram(least, most):
    assert plots.histogram(values([0, 0, 0, 0, 9, 0, 0], least, most), [], "t") == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.7, 912.0), (1e-6, 3e-6), (-5e8, 4e8)])
def test_ticks_are_round_and_few(low, high):
    ticks = plots._ticks(low, high)
    assert 3 <= len(ticks) <= 12
    assert all(low <= tick <= high for tick in ticks)
