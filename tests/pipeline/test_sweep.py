"""A style search: one regularizer at a time, draws that a longer search repeats, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.settings import StyleSettings
from pipeline.sweep import AXES, SweepPlace, SweepRows, SweepSearch, swept_styles

BASE = StyleSettings(
    name="base", decay=0.2, blur_radius=1.0, blur_every=3, small_val_percentile=5.0, small_norm_percentile=6.0,
    px_benefit_percentile=7.0, px_abs_benefit_percentile=8.0, policy="constant", rate=9.0, max_rate=1.0,
    desired_progress=1.0, early_progress=0.1, late_progress_factor=0.1, step_start=4.0, step_end=0.4, max_iter=11,
    start_image="randu", keep="last", keep_from=2, direction="maximize",
)  # fmt: skip
ROWS = SweepRows((0.1, 0.5), (1.0, 2.0, 3.0), 5, (50.0,), ())
SEARCH = SweepSearch(40, 3, 0.5, (0.001, 0.5), (0.3, 4.0), (2, 6), (10.0, 90.0), (20.0, 30.0))
REGULARIZERS = (*AXES.values(), "blur_every", "small_val_percentile", "px_benefit_percentile")


def on(style: StyleSettings) -> set[str]:
    """The regularizers of a style that do something."""
    return {name for name in REGULARIZERS if getattr(style, name)}


def draws(search: SweepSearch) -> list[StyleSettings]:
    return [style for style, place in swept_styles(BASE, "low", ROWS, search) if place.axis == "random"]


def test_a_row_raises_one_regularizer_and_leaves_the_others_off():
    found = {style.name: (style, place) for style, place in swept_styles(BASE, "low", ROWS, SEARCH)}
    assert list(found)[:7] == ["none", "decay_1", "decay_2", "blur_1", "blur_2", "blur_3", "norm_1"]
    assert on(found["none"][0]) == set() and found["none"][1] == SweepPlace("none", 0, "low")
    assert on(found["decay_2"][0]) == {"decay"} and found["decay_2"][0].decay == 0.5
    assert found["decay_2"][1] == SweepPlace("decay", 2, "low")
    blur = found["blur_3"][0]
    assert on(blur) == {"blur_radius", "blur_every"} and (blur.blur_radius, blur.blur_every) == (3.0, 5)
    assert on(found["norm_1"][0]) == {"small_norm_percentile"}


def test_steps_start_and_iterations_are_those_of_the_base():
    for style, _ in swept_styles(BASE, "low", ROWS, SEARCH):
        same = {name: getattr(BASE, name) for name in ("name", *REGULARIZERS)}
        assert replace(style, **same) == BASE


@given(count=st.integers(1, 60), seed=st.integers(0, 2**31), share=st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_draws_stay_in_their_ranges_and_a_shorter_search_is_the_beginning_of_a_longer_one(count, seed, share):
    search = replace(SEARCH, count=count, seed=seed, share=share)
    found = draws(search)
    assert len({style.name for style in found}) == count
    for style in found:
        assert on(style) and on(style) <= {*AXES.values(), "blur_every"}
        assert bool(style.blur_radius) == bool(style.blur_every)
        for name in on(style):
            low, high = getattr(search, name)
            assert low <= getattr(style, name) <= high
    assert draws(replace(search, count=count + 3))[:count] == found


def test_every_regularizer_takes_part_by_its_share():
    counts = [len(on(style) - {"blur_every"}) for style in draws(replace(SEARCH, count=1000))]
    # Of 4 fair coins, none of them all off: 4 · 8/15 heads on average.
    assert sum(counts) / len(counts) == pytest.approx(32 / 15, abs=0.1)
    assert {len(on(style)) for style in draws(replace(SEARCH, share=1.0))} == {5}


def test_draws_are_spread_over_their_range_in_the_logarithm_and_depend_on_the_seed():
    everything = replace(SEARCH, count=800, share=1.0)
    decays = sorted(style.decay for style in draws(everything))
    assert decays[400] == pytest.approx((0.001 * 0.5) ** 0.5, rel=0.25)  # the geometric middle
    assert {style.blur_every for style in draws(everything)} == {2, 3, 4, 5, 6}
    assert draws(SEARCH) != draws(replace(SEARCH, seed=4))


def test_drawn_numbers_can_be_typed_again():
    for style in draws(replace(SEARCH, count=200)):
        assert all(float(f"{getattr(style, name):.3g}") == getattr(style, name) for name in AXES.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decay": (0.5, 0.1)}, r"sweep.rows.decay: got \[0.5, 0.1\], expected rising strengths above 0 and below 1"),
        ({"decay": (0.5, 1.0)}, "sweep.rows.decay: .* below 1;"),
        ({"blur_radius": (0.0, 1.0)}, "sweep.rows.blur_radius: .* rising strengths above 0; set it by"),
        ({"blur_every": 0}, "sweep.rows.blur_every: got 0, expected 1 or more"),
        ({"small_norm_percentile": (100.0,)}, "sweep.rows.small_norm_percentile: .* below 100"),
    ],
)
def test_rows_that_cannot_be_are_refused(change, said):
    with pytest.raises(SettingsError, match=said):
        replace(ROWS, **change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": -1}, "sweep.search.count: got -1"),
        ({"share": 0.0}, "sweep.search.share: got 0.0, expected above 0, at most 1"),
        (
            {"decay": (0.0, 0.1)},
            r"decay: got \[0.0, 0.1\], expected \[least, greatest\] above 0 and below 1",
        ),
        ({"blur_every": (3, 2)}, r"sweep.search.blur_every: got \[3, 2\]"),
        ({"px_abs_benefit_percentile": (1.0, 100.0)}, "sweep.search.px_abs_benefit_percentile"),
    ],
)
def test_a_search_that_cannot_be_is_refused(change, said):
    with pytest.raises(SettingsError, match=said):
        replace(SEARCH, **change)
