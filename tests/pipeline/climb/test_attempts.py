from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.climb.attempts import Climbed, Item, climb_items, trace_steps
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import StyleSettings

OK, ZERO_GRADIENT, NAN, NEVER_ACTIVE = 1, 2, 3, 4


def climb_pixels(cone, items, settings, batch=4, seed=0, balance=0.0) -> Climbed:
    return climb_items(
        cone,
        Pixels(cone, "conv1", seed, settings),
        items,
        fresh_starts=settings.fresh_starts,
        trace_points=settings.trace_points,
        batch=batch,
        device=torch.device("cpu"),
        balance=balance,
    )


def run(cone, items, settings, batch=4, seed=0) -> SimpleNamespace:
    """Gradient ascent with every item: the kept image and activation of its one member, and how the climb went."""
    climbed = climb_pixels(cone, items, settings, batch, seed)
    return SimpleNamespace(
        pixels=climbed.best.pixels,
        activation=climbed.best.activation[:, 0],
        activation_float=climbed.best.activation_float[:, 0],
        best_step=climbed.best.step,
        status=climbed.status,
        attempt=climbed.attempt,
        stopped=climbed.stopped,
        trace=climbed.trace,
        trace_steps=climbed.trace_steps,
        halved=climbed.halved,
    )


def of_unit(unit: int, style: StyleSettings, sample: int) -> Item:
    return Item(((unit, 1.0),), sample, style)


def items_of(style: StyleSettings, units=range(7), samples=1) -> list[Item]:
    return [of_unit(unit, style, sample) for unit in units for sample in range(samples)]


def assert_same(one: SimpleNamespace, other: SimpleNamespace, order=None) -> None:
    """Equal up to the last bits that a sum in another order moves; `order` is where each item of one is in other."""
    order = range(len(one.status)) if order is None else order
    for name in ("pixels", "best_step", "status", "attempt", "stopped", "trace_steps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[list(order)])
    for name in ("activation", "activation_float", "trace"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name)[list(order)], rtol=1e-6, atol=1e-5)


def test_every_unit_climbs_and_is_measured_on_its_own_pixels(cone, style, settings):
    result = run(cone, items_of(style(max_iter=30)), settings)
    assert result.status.tolist() == [OK] * 7
    assert (result.activation_float > result.trace[:, 0]).all()
    centred = torch.from_numpy(cone.network.preprocessing.centred(result.pixels, cone.mean))
    np.testing.assert_array_equal(result.activation, cone.activations(centred, torch.arange(7)).numpy())
    np.testing.assert_allclose(result.activation, result.activation_float, atol=1.0)
    assert result.pixels.shape == (7, 5, 6, 3)


def test_micro_batches_have_one_shape(cone, style, settings):
    run(cone, items_of(style()), settings, batch=4)
    assert set(cone.calls) == {4}
    assert len(cone.calls) == 2 * (8 + 2)  # two of them, eight iterations and a measurement of both iterates each


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_results_do_not_depend_on_the_size_of_the_batch(cone, published, settings, batch):
    """The item's own sums run over its own pixels alone; only the blur's matrix product may move the last bit."""
    items = [item for row in published.values() for item in items_of(replace(row, max_iter=11), range(3))]
    assert_same(run(cone, items, settings, batch=batch), run(cone, items, settings, batch=5))


def test_results_do_not_depend_on_the_order_of_the_items(cone, published, settings):
    rows = [replace(row, max_iter=9 + at) for at, row in enumerate(published.values())]
    items = [item for row in rows for item in items_of(row, range(3), samples=2)]
    order = np.random.RandomState(1).permutation(len(items))
    shuffled = run(cone, [items[at] for at in order], settings)
    assert_same(shuffled, run(cone, items, settings), order)


def test_mixed_styles_equal_separate_runs(cone, published, settings):
    rows = [replace(row, max_iter=7 + at) for at, row in enumerate(published.values())]
    mixed = run(cone, [of_unit(unit, row, 0) for unit in range(2) for row in rows], settings, batch=8)
    for at, row in enumerate(rows):
        alone = run(cone, items_of(row, range(2)), settings, batch=8)
        assert_same(alone, mixed, order=[at, at + len(rows)])


def test_a_run_repeats_bit_for_bit_and_seeds_differ(cone, style, settings):
    items = items_of(style(blur_radius=1.0, blur_every=2, small_norm_percentile=30), samples=2)
    one, again, other = (run(cone, items, settings, seed=seed) for seed in (0, 0, 1))
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.pixels, other.pixels)
    assert not np.array_equal(one.pixels[0], one.pixels[1])  # two samples of one unit


def test_reference_start_is_shared_by_all_units(cone, style, settings):
    result = run(cone, items_of(style(max_iter=1)), replace(settings, start="reference"))
    assert (result.pixels == result.pixels[0]).all()
    assert len(set(result.activation.tolist())) == 7


def test_minimized_activation_keeps_its_sign(cone, style, settings):
    result = run(cone, items_of(style(max_iter=20, direction="minimize")), settings)
    assert (result.activation_float < 0).all()
    assert (result.activation_float <= np.nanmin(result.trace, axis=1)).all()
    assert result.status.tolist() == [OK] * 7


def test_last_iterate_is_kept_on_request(cone, style, settings):
    draining = style(decay=0.9, step_start=0.01, step_end=0.01, max_iter=6)
    best = run(cone, items_of(draining), settings)
    last = run(cone, items_of(replace(draining, keep="last")), settings)
    assert last.best_step.tolist() == [5] * 7
    assert (last.activation_float < best.activation_float).any()
    np.testing.assert_array_equal(last.activation_float, last.trace[:, -1])


def test_image_may_be_held_in_float64(cone, style, settings):
    result = run(cone, items_of(style()), replace(settings, image_dtype="float64"))
    np.testing.assert_allclose(result.activation_float, run(cone, items_of(style()), settings).activation_float, 1e-4)


def test_a_dead_unit_ends_as_zero_gradient_and_the_others_as_without_it(cone, style, settings):
    alone = run(cone, items_of(style(), [0, 1, 3]), settings)
    cone.weight[2] = 0
    result = run(cone, items_of(style(), range(4)), settings)
    assert result.status.tolist() == [OK, OK, ZERO_GRADIENT, OK]
    assert_same(alone, result, order=[0, 1, 3])
    assert not result.pixels[2].any()
    assert np.isnan(result.activation[2]) and np.isnan(result.activation_float[2])
    assert np.isnan(result.trace[2]).all()
    assert result.best_step[2] == result.stopped[2] == -1


def capped(cone, tops):
    """The cone with each unit's activation cut off at its top, beyond which there is no gradient."""
    linear, tops = cone.activations, torch.tensor(tops)
    cone.activations = lambda image, units: torch.minimum(linear(image, units), tops[units])
    return cone


def test_a_unit_that_goes_flat_on_the_way_is_ok_and_says_where_it_stopped(cone, style, settings):
    free = run(cone, items_of(style(max_iter=20)), replace(settings, trace_points=20))
    tops = [float(row[at]) - 1e-3 if at else 1e9 for at, row in zip((0, 1, 2, 5, 9, 18, 19), free.trace, strict=True)]
    result = run(capped(cone, tops), items_of(style(max_iter=20)), replace(settings, trace_points=20))
    assert result.status.tolist() == [OK] * 7
    assert result.stopped.tolist() == [-1, 1, 2, 5, 9, 18, -1]  # the last iteration only evaluates
    assert result.best_step.tolist() == [19, 1, 2, 5, 9, 18, 19]
    assert not result.attempt.any()
    np.testing.assert_allclose(result.activation_float, np.minimum(free.trace[:, -1], tops), rtol=1e-6)
    for at, stopped in enumerate(result.stopped):
        if stopped > 0:
            np.testing.assert_array_equal(result.trace[at, :stopped], free.trace[at, :stopped])
            assert np.isnan(result.trace[at, stopped + 1 :]).all() and not np.isnan(result.trace[at, stopped])


def test_a_thinned_trace_ends_before_the_step_where_the_climb_stopped(cone, style, settings):
    free = run(cone, items_of(style(max_iter=20), [3]), replace(settings, trace_points=20))
    result = run(capped(cone, [float(free.trace[0, 8]) - 1e-3] * 7), items_of(style(max_iter=20), [3]), settings)
    assert (result.trace_steps.tolist(), result.stopped.tolist()) == ([[0, 6, 13, 19]], [8])
    assert np.isnan(result.trace[0]).tolist() == [False, False, True, True]


def test_stopping_is_untouched_by_micro_batches_and_by_a_lack_of_memory(cone, published, settings):
    rows = [replace(row, max_iter=9 + at) for at, row in enumerate(published.values())]
    items = [item for row in rows for item in items_of(row)]
    capped(cone, [2.0, 4.0, 6.0, 1e9, 3.0, 5.0, 8.0])
    one, many, climbs = run(cone, items, settings, batch=1), run(cone, items, settings, batch=28), cone.activations
    assert 3 < (one.stopped > 0).sum() < 28
    assert_same(one, many)

    def cramped(image, units):
        if len(image) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return climbs(image, units)

    cone.activations = cramped
    halved = run(cone, items, settings, batch=28)
    assert halved.halved == 3
    assert_same(one, halved)


def test_a_unit_that_goes_flat_while_it_is_off_gets_fresh_starts_and_keeps_its_highest_picture(cone, style, settings):
    capped(cone, [1e9, -2.0, 1e9, 1e9, 1e9, 1e9, 1e9])
    assert run(cone, items_of(style(), [1]), settings).status.tolist() == [OK]  # nothing gates it
    cone.gates, cone.calls = True, []
    result = run(cone, items_of(style(), [1, 2], samples=3), settings)
    assert result.status.tolist() == [NEVER_ACTIVE] * 3 + [OK] * 3
    assert (result.activation_float[:3] == -2).all() and result.pixels[:3].any(axis=(1, 2, 3)).all()
    assert (result.stopped[:3] >= 0).any() and (result.stopped[3:] == -1).all()


def test_pairs_stop_where_their_sum_has_no_gradient(cone, style, settings):
    values = cone.values
    cone.values = lambda image: values(image).clamp(max=5.0)
    pair, single = Item(((0, 1.0), (6, 1.0)), 0, style(max_iter=40)), of_unit(2, style(max_iter=40), 0)
    both = climb_pixels(cone, [pair, single], settings)
    assert both.status.tolist() == [OK, OK]
    assert (both.stopped > 0).all()
    np.testing.assert_array_equal(both.best.activation_float, [[5, 5], [5, np.nan]])
    np.testing.assert_array_equal(both.last.step, both.stopped)
    np.testing.assert_array_equal(both.last.pixels, both.best.pixels)


def test_fresh_starts_are_for_the_failed_items_alone(cone, style, settings):
    cone.weight[2] = 0
    run(cone, items_of(style()), settings, batch=7)
    assert cone.calls == [7] * (8 + 2) + [4] * 2  # a fresh start without a gradient stops at once; nothing is measured


def test_fresh_starts_run_in_small_micro_batches_and_those_without_a_gradient_end_by_themselves(cone, style, settings):
    cone.gates = True
    cone.bias[1], cone.weight[2] = -1e6, 0
    run(cone, items_of(style()), settings, batch=7)
    assert cone.calls == [7] * (8 + 2) + ([4] + [4] * (8 + 2)) * 2


def test_an_item_that_starts_afresh_does_not_depend_on_the_others(cone, style, settings):
    cone.gates = True
    cone.bias[:5] = -1e6
    every, alone = run(cone, items_of(style()), settings), run(cone, items_of(style(), [3]), settings)
    assert alone.status.tolist() == [NEVER_ACTIVE]
    assert_same(alone, every, order=[3])


def test_what_is_not_a_number_ends_as_nan(cone, style, settings):
    cone.weight[5, 0, 0, 0] = torch.nan
    result = run(cone, items_of(style()), settings)
    assert result.status.tolist() == [OK] * 5 + [NAN, OK]
    assert not result.pixels[5].any()
    assert np.isnan(result.activation[5])


def test_a_unit_that_never_switches_on_keeps_its_highest_picture(cone, style, settings):
    cone.gates = True
    cone.bias[1] = -1e6
    result = run(cone, items_of(style()), settings)
    assert result.status.tolist() == [OK, NEVER_ACTIVE, OK, OK, OK, OK, OK]
    assert result.pixels[1].any()
    single = [
        run(cone, items_of(style(), [1]), replace(settings, fresh_starts=count)).activation_float[0]
        for count in range(3)
    ]
    assert result.activation_float[1] == pytest.approx(single[2])
    assert single[0] <= single[1] <= single[2] < 0


def test_off_is_no_failure_where_nothing_gates_the_unit_or_nothing_climbs(cone, style, settings):
    cone.bias[1] = -1e6
    assert run(cone, items_of(style(), [1]), settings).status.tolist() == [OK]
    cone.gates = True
    assert run(cone, items_of(style(direction="minimize"), [1]), settings).status.tolist() == [OK]
    assert run(cone, items_of(style(max_iter=1), [1]), settings).status.tolist() == [OK]
    assert run(cone, items_of(style(), [1]), settings).status.tolist() == [NEVER_ACTIVE]


def test_a_fresh_start_that_works_is_kept_and_counted(cone, style, settings):
    """A unit that has a gradient from some starts alone, as behind a ReLU that is off elsewhere."""
    linear = cone.activations
    open_gate = 3.0

    def gated(image, units):
        return torch.relu(linear(image, units) - open_gate)

    cone.activations, cone.rectified = gated, True
    items = items_of(style(), [0], samples=12)
    result = run(cone, items, replace(settings, fresh_starts=40))
    assert set(result.status.tolist()) == {OK}
    assert result.attempt.max() > 0
    assert (result.activation > 0).all()
    first = run(cone, items, replace(settings, fresh_starts=0))
    np.testing.assert_array_equal(first.status == OK, result.attempt == 0)
    assert set(first.status.tolist()) == {OK, ZERO_GRADIENT}


def test_out_of_memory_halves_the_micro_batch(cone, style, settings):
    small, linear = run(cone, items_of(style()), settings, batch=2), cone.activations

    def cramped(image, units):
        if len(image) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return linear(image, units)

    cone.activations = cramped
    result = run(cone, items_of(style()), settings, batch=8)
    assert result.halved == 2
    assert small.halved == 0
    assert_same(result, small)


def test_out_of_memory_with_one_item_is_an_error(cone, style, settings):
    def cramped(image, units):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    cone.activations = cramped
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(cone, items_of(style()), settings)


def test_other_errors_are_not_taken_for_a_lack_of_memory(cone, style, settings):
    def broken(image, units):
        raise RuntimeError("shapes do not match")

    cone.activations = broken
    with pytest.raises(RuntimeError, match="shapes"):
        run(cone, items_of(style()), settings)


def test_a_lowered_climb_is_measured_again_in_full_precision(cone, style, settings):
    half = replace(cone, calls=[])
    half.lowered = lambda: replace(cone, weight=cone.weight.bfloat16().float(), calls=[])
    result = climb_items(
        half, Pixels(half, "conv1", 0, settings), items_of(style()), fresh_starts=0, trace_points=4, batch=4,
        device=torch.device("cpu"), lowered=True,
    )  # fmt: skip
    exact = climb_pixels(cone, items_of(style()), settings)
    assert half.calls == [4] * 8  # two micro-batches, whose two iterates are measured before and after rounding
    np.testing.assert_allclose(result.best.activation_float, exact.best.activation_float, rtol=0.02)
    centred = torch.from_numpy(cone.network.preprocessing.centred(result.best.pixels, cone.mean))
    np.testing.assert_array_equal(result.best.activation[:, 0], cone.activations(centred, torch.arange(7)).numpy())
    assert (result.best.activation_float[:, 0] != result.trace[:, -1]).any()  # the trace is that of the climb


def test_trace_keeps_first_and_last_iteration():
    assert trace_steps(500, 4).tolist() == [0, 166, 333, 499]
    assert trace_steps(3, 5).tolist() == [0, 1, 2, -1, -1]
    assert trace_steps(1, 2).tolist() == [0, -1]
    for length in range(1, 60):
        steps = trace_steps(length, 16)
        assert steps[steps >= 0][[0, -1]].tolist() == [0, length - 1]
        assert (np.diff(steps[steps >= 0]) > 0).all()


def test_trace_shows_the_climb_at_its_steps(cone, style, settings):
    short, long = style(max_iter=3, keep="last"), style(max_iter=20, keep="last")
    result = run(cone, [of_unit(0, short, 0), of_unit(1, long, 0)], settings)
    assert result.trace_steps.tolist() == [[0, 1, 2, -1], [0, 6, 13, 19]]
    assert np.isnan(result.trace[0, 3]) and not np.isnan(result.trace[1]).any()
    np.testing.assert_array_equal(result.trace[[0, 1], [2, 3]], result.activation_float)


def test_no_items_give_an_empty_result(cone, settings):
    result = run(cone, [], settings)
    assert result.pixels.shape == (0, 5, 6, 3)
    assert result.trace.shape == (0, 4)


def test_several_units_are_climbed_together_and_balanced_with_pixels_too(cone, style, settings):
    items = [Item(((0, 1.0), (6, 1.0)), 0, style(max_iter=30)), Item(((2, 1.0),), 0, style(max_iter=30))]
    free, level = (climb_pixels(cone, items, settings, balance=balance) for balance in (0.0, 0.9))
    for result in (free, level):
        assert result.status.tolist() == [OK, OK]
        assert np.isnan(result.best.activation[1]).tolist() == [False, True]
        assert (result.best.activation_float[:, 0] > result.trace[:, 0]).all()
    gaps = [np.abs(np.diff(result.best.activation_float[0])).item() for result in (free, level)]
    assert gaps[1] < gaps[0] / 2
    assert level.best.activation_float[0].sum() <= free.best.activation_float[0].sum()


def test_a_single_unit_climbs_the_same_beside_a_pair(cone, style, settings):
    pair, single = Item(((0, 1.0), (6, 1.0)), 0, style()), of_unit(2, style(), 0)
    both, alone = climb_pixels(cone, [pair, single], settings), climb_pixels(cone, [single], settings)
    np.testing.assert_array_equal(both.best.pixels[1], alone.best.pixels[0])
    np.testing.assert_allclose(both.trace[1], alone.trace[0], rtol=1e-5)


def test_a_weighted_unit_starts_elsewhere_than_the_unit_itself(cone, style, settings):
    items = [Item(((0, weight),), 0, style(max_iter=1)) for weight in (1.0, 2.0)]
    one, other = climb_pixels(cone, items, settings).best.pixels
    assert not np.array_equal(one, other)


def test_the_last_iterate_is_there_beside_the_best(cone, style, settings):
    draining = style(decay=0.9, step_start=0.01, step_end=0.01, max_iter=6)
    result = climb_pixels(cone, items_of(draining), settings)
    assert result.last.step.tolist() == [5] * 7
    np.testing.assert_array_equal(result.last.activation_float[:, 0], result.trace[:, -1])
    assert (result.last.activation_float <= result.best.activation_float).all()
    assert (result.last.activation_float < result.best.activation_float).any()


def test_the_first_iterate_may_be_the_best(cone, style, settings):
    """Its step is 0, not the −1 of what has none."""
    one = run(cone, items_of(style(max_iter=1)), settings)
    assert one.best_step.tolist() == [0] * 7
    np.testing.assert_array_equal(one.activation_float, one.trace[:, 0])
    falling = run(cone, items_of(style(decay=0.9, step_start=0.01, step_end=0.01)), settings)
    assert 0 in falling.best_step and -1 not in falling.best_step
