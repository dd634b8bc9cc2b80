"""A sweep: one regularizer at a time, draws that a longer sweep repeats, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.methods.ascent.settings import StyleSettings
from pipeline.methods.dgn.settings import RunSettings
from pipeline.plan import SweepPlace
from pipeline.records import neutral, numbers
from pipeline.sweep import SweepDraws, SweepRows, swept_settings

BASE = StyleSettings(
    name="base", decay=0.2, blur_radius=1.0, blur_every=3, small_val_percentile=5.0, small_norm_percentile=6.0,
    px_benefit_percentile=7.0, px_abs_benefit_percentile=8.0, policy="constant", rate=9.0, max_rate=1.0,
    desired_progress=1.0, early_progress=0.1, late_progress_factor=0.1, step_start=4.0, step_end=0.4, max_iter=11,
    start_image="randu", keep="last", keep_from=2, direction="maximize",
)  # fmt: skip
ROWS = SweepRows(
    StyleSettings,
    {"decay": (0.1, 0.5), "blur_radius": (1.0, 2.0, 3.0), "small_norm_percentile": (50.0,)},
    {"blur_every": 5},
)
RANGES = {
    "decay": (0.001, 0.5),
    "blur_radius": (0.3, 4.0),
    "blur_every": (2, 6),
    "small_norm_percentile": (10.0, 90.0),
    "px_abs_benefit_percentile": (20.0, 30.0),
}
DRAWS = SweepDraws(StyleSettings, 40, 3, 0.5, RANGES)
DRAWN = tuple(name for name in RANGES if name != "blur_every")
REGULARIZERS = tuple(neutral(StyleSettings))


def swept_styles(rows: SweepRows, draws: SweepDraws) -> list[tuple[StyleSettings, SweepPlace]]:
    """The styles of a sweep of the base, with their places."""
    return [(replace(BASE, name=one.name, **one.changes), one.placed("low")) for one in swept_settings(rows, draws)]


def on(style: StyleSettings) -> set[str]:
    """The regularizers of a style that do something."""
    return {name for name in REGULARIZERS if getattr(style, name)}


def drawn(draws: SweepDraws) -> list[StyleSettings]:
    return [style for style, place in swept_styles(ROWS, draws) if place.axis == "random"]


def test_a_row_raises_one_regularizer_and_leaves_the_others_off():
    found = {style.name: (style, place) for style, place in swept_styles(ROWS, DRAWS)}
    assert list(found)[:7] == ["none", "decay_1", "decay_2", "blur_1", "blur_2", "blur_3", "norm_1"]
    assert on(found["none"][0]) == set() and found["none"][1] == SweepPlace("none", 0, "low")
    assert on(found["decay_2"][0]) == {"decay"} and found["decay_2"][0].decay == 0.5
    assert found["decay_2"][1] == SweepPlace("decay", 2, "low")
    blur = found["blur_3"][0]
    assert on(blur) == {"blur_radius", "blur_every"} and (blur.blur_radius, blur.blur_every) == (3.0, 5)
    assert on(found["norm_1"][0]) == {"small_norm_percentile"}


def test_steps_start_and_iterations_are_those_of_the_base():
    for style, _ in swept_styles(ROWS, DRAWS):
        same = {name: getattr(BASE, name) for name in ("name", *REGULARIZERS)}
        assert replace(style, **same) == BASE


@given(count=st.integers(1, 60), seed=st.integers(0, 2**31), share=st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_draws_stay_in_their_ranges_and_fewer_draws_are_the_beginning_of_more(count, seed, share):
    draws = replace(DRAWS, count=count, seed=seed, share=share)
    found = drawn(draws)
    assert len({style.name for style in found}) == count
    for style in found:
        assert on(style) and on(style) <= set(RANGES)
        assert bool(style.blur_radius) == bool(style.blur_every)
        for name in on(style):
            low, high = RANGES[name]
            assert low <= getattr(style, name) <= high
    assert drawn(replace(draws, count=count + 3))[:count] == found


def test_every_regularizer_takes_part_by_its_share():
    counts = [len(on(style) - {"blur_every"}) for style in drawn(replace(DRAWS, count=1000))]
    # Of 4 fair coins, none of them all off: 4 · 8/15 heads on average.
    assert sum(counts) / len(counts) == pytest.approx(32 / 15, abs=0.1)
    assert {len(on(style)) for style in drawn(replace(DRAWS, share=1.0))} == {5}


def test_draws_are_spread_over_their_range_in_the_logarithm_and_depend_on_the_seed():
    everything = replace(DRAWS, count=800, share=1.0)
    decays = sorted(style.decay for style in drawn(everything))
    assert decays[400] == pytest.approx((0.001 * 0.5) ** 0.5, rel=0.25)  # the geometric middle
    assert {style.blur_every for style in drawn(everything)} == {2, 3, 4, 5, 6}
    assert drawn(DRAWS) != drawn(replace(DRAWS, seed=4))


def test_drawn_numbers_can_be_typed_again():
    for style in drawn(replace(DRAWS, count=200)):
        assert all(float(f"{getattr(style, name):.3g}") == getattr(style, name) for name in DRAWN)


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
        SweepRows(
            StyleSettings,
            {**ROWS.strengths, **{name: value for name, value in change.items() if name != "blur_every"}},
            {name: value for name, value in {**ROWS.beside, **change}.items() if name == "blur_every"},
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": -1}, "sweep.draws.count: got -1"),
        ({"share": 0.0}, "sweep.draws.share: got 0.0, expected above 0, at most 1"),
        (
            {"decay": (0.0, 0.1)},
            r"decay: got \[0.0, 0.1\], expected \[smallest, largest\] above 0 and below 1",
        ),
        ({"blur_every": (3, 2)}, r"sweep.draws.blur_every: got \[3, 2\]"),
        ({"px_abs_benefit_percentile": (1.0, 100.0)}, "sweep.draws.px_abs_benefit_percentile"),
    ],
)
def test_draws_that_cannot_be_are_refused(change, said):
    plain = {name: value for name, value in change.items() if name in ("count", "share")}
    ranges = {name: value for name, value in change.items() if name not in plain}
    with pytest.raises(SettingsError, match=said):
        replace(DRAWS, ranges={**RANGES, **ranges}, **plain)


def test_draws_are_the_same_in_every_version():
    """Literal numbers: an atlas with a sweep goes on, and pasted override texts mean what they meant."""
    numbers = ("decay", "blur_radius", "blur_every", "small_norm_percentile", "px_abs_benefit_percentile")
    assert [tuple(getattr(style, name) for name in numbers) for style in drawn(DRAWS)[:6]] == [
        (0.0, 0.381, 3, 0.0, 0.0),
        (0.0547, 0.0, 0, 28.8, 0.0),
        (0.0, 0.0, 0, 36.1, 0.0),
        (0.0, 0.0, 0, 14.4, 20.5),
        (0.0, 1.08, 5, 0.0, 0.0),
        (0.0, 0.0, 0, 20.7, 26.9),
    ]


def test_the_random_stream_does_not_depend_on_the_order_in_which_ranges_are_given():
    turned = replace(DRAWS, ranges=dict(reversed(RANGES.items())))
    assert drawn(turned) == drawn(DRAWS)


def test_every_regularizer_lies_on_an_axis():
    for kind in (StyleSettings, RunSettings):
        assert all(numbers(kind)[name].axis for name in neutral(kind))


RUN_ROWS = SweepRows(
    RunSettings,
    {"step_start": (0.5, 8.0), "sigmas": (5.0, 1.0), "shrink": (0.99, 0.9), "penalty": (0.1, 2.0), "jitter": (0.1,)},
)
RUN_DRAWS = SweepDraws(
    RunSettings, 300, 1, 0.5,
    {"step_start": (0.25, 8.0), "sigmas": (1.0, 6.0), "shrink": (0.95, 0.999), "penalty": (0.005, 2.0),
     "jitter": (0.02, 0.25)},
)  # fmt: skip


def test_the_numbers_of_a_run_are_swept_in_the_same_way():
    settings = {one.name: one for one in swept_settings(RUN_ROWS, replace(RUN_DRAWS, count=0))}
    off = {"sigmas": None, "clip": False, "shrink": 1.0, "penalty": 0.0, "jitter": 0.0}
    assert list(settings) == [
        "none", "step_1", "step_2", "bounds_1", "bounds_2", "shrink_1", "shrink_2", "penalty_1", "penalty_2",
        "jitter_1",
    ]  # fmt: skip
    assert settings["none"].changes == off
    assert settings["bounds_2"].changes == {**off, "sigmas": 1.0}
    assert settings["shrink_1"].changes == {**off, "shrink": 0.99}
    assert settings["step_2"].changes == {"step_start": 8.0}  # no regularizer: the base's constraints stay
    assert settings["bounds_2"].placed("tiny") == SweepPlace("bounds", 2, "tiny")


def test_a_number_of_a_run_that_is_not_drawn_is_off_or_as_in_the_base():
    for one in swept_settings(RUN_ROWS, RUN_DRAWS)[10:]:
        assert one.axis == "random"
        assert set(neutral(RunSettings)) <= set(one.changes) <= {*neutral(RunSettings), "step_start"}
        on = {name for name, value in one.changes.items() if neutral(RunSettings).get(name, "base") != value}
        assert on
        for name in on:
            low, high = RUN_DRAWS.ranges[name]
            assert low <= one.changes[name] <= high


@pytest.mark.parametrize(
    ("strengths", "said"),
    [
        ({"sigmas": (1.0, 5.0)}, r"sweep.rows.sigmas: got \[1.0, 5.0\], expected falling strengths above 0;"),
        ({"shrink": (0.9, 0.99)}, "sweep.rows.shrink: .* falling strengths above 0 and below 1;"),
        ({"shrink": (1.0, 0.9)}, "sweep.rows.shrink: .* below 1;"),
        ({"jitter": (0.1, 0.5)}, "sweep.rows.jitter: .* rising strengths above 0 and below 0.5;"),
        ({"iterations": (1.0,)}, "sweep.rows.iterations: not a number that a sweep can vary"),
        ({"penalti": (1.0,)}, r"sweep.rows.penalti: not a number that a sweep can vary \(nearest: penalty\)"),
    ],
)
def test_rows_of_a_run_that_cannot_be_are_refused(strengths, said):
    with pytest.raises(SettingsError, match=said):
        SweepRows(RunSettings, strengths)
