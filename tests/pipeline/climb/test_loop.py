from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_prior import SETTINGS, run_record

from pipeline.climb import loop
from pipeline.climb.loop import NAN, OK, ZERO_GRADIENT
from pipeline.climb.transforms import jittered
from pipeline.methods.ascent.pixels import regularized_steps
from pipeline.methods.ascent.regularizers import clip_range
from pipeline.methods.dgn.codes import code_steps

# Ten iterations on a(x) = Σ w·x: activation at iterations 0, 1, 4, 9; best activation and its iteration; norm and
# non-zero pixels of the last image. Computed once with numpy and scipy, one image at a time.
FIXTURE = {
    "sparse": (5.2857010063, 3.2985910851, 6.4000725909, 5.5945708968, 7.7409020722, 8, 167.9210659536, 512),
    "high_frequency": (
        *(5.2857010063, 23.5139415564, 46.8988281560, 60.4771918273, 60.4771918273),
        *(9, 117.6914665694, 819),
    ),
    "low_frequency": (
        *(5.2857010063, 6.8123828768, 97.4089773814, 36.9408801412, 116.5597722525),
        *(8, 163.6548805357, 1024),
    ),
    "contribution": (5.2857010063, 3.0801182709, 4.1890502953, 3.0464677404, 5.2857010063, 0, 71.8551782439, 103),
}
MEAN = torch.tensor([104.0, 117.0, 123.0], dtype=torch.float64)[:, None, None].expand(3, 32, 32)


@pytest.fixture
def start():
    return torch.from_numpy(np.random.RandomState(0).normal(0, 10, (3, 32, 32)))


@pytest.fixture
def weight():
    return torch.from_numpy(np.random.RandomState(7).normal(0, 1, (3, 32, 32)) / 100)


def linear(weight):
    return lambda image: (image * weight).sum(dim=(1, 2, 3))


def climb(activations, start, styles, mean) -> SimpleNamespace:
    """Climb with pixels: the kept image of every item, its one activation and its step, and how the climb went."""
    signs = torch.tensor([style.sign for style in styles])

    def objective(image):
        value = activations(image)
        return value[:, None], value * signs.to(value.dtype)

    def bound(image):
        clip_range(image, mean, out=image)

    done = loop.climb(start, lambda image: image, objective, regularized_steps(styles), styles, seed=0, bound=bound)
    return SimpleNamespace(
        image=done.best.image,
        activation=done.best.activation[:, 0],
        step=done.best.step,
        last=done.last,
        ended=done.ended,
        stopped=done.stopped,
        history=done.history,
    )


def test_climb_follows_the_published_presets_digit_for_digit(published, start, weight):
    """All four together in one micro-batch, so that their mixing is covered too."""
    styles = [replace(row, max_iter=10) for row in published.values()]
    starts = start.expand(4, -1, -1, -1)
    best = climb(linear(weight), starts, styles, MEAN)
    last = climb(linear(weight), starts, [replace(style, keep="last") for style in styles], MEAN)
    for at, style in enumerate(styles):
        *activations, top, step, norm, pixels = FIXTURE[style.name]
        seen = [float(best.history[ii, at]) for ii in (0, 1, 4, 9)]
        assert seen == pytest.approx(activations, rel=1e-9, abs=2e-10)
        assert float(best.activation[at]) == pytest.approx(top, rel=1e-9, abs=2e-10)
        assert int(best.step[at]) == step
        assert int(last.step[at]) == 9
        assert float(last.image[at].norm()) == pytest.approx(norm, rel=1e-9)
        assert int((last.image[at] != 0).any(dim=0).sum()) == pixels


def test_kept_image_is_the_one_that_was_evaluated(published, start, weight):
    styles = [replace(row, max_iter=10) for row in published.values()]
    done = climb(linear(weight), start.expand(4, -1, -1, -1), styles, MEAN)
    assert torch.equal(linear(weight)(done.image), done.activation)
    assert torch.equal(done.activation, done.history.amax(dim=0))


def test_images_stay_inside_the_pixel_range(style, start, weight):
    steep = style(policy="constant", rate=1e6, max_iter=3, keep="last")
    image = climb(linear(weight), start[None], [steep], MEAN).image
    assert ((image + MEAN >= 0) & (image + MEAN <= 255)).all()
    assert (image + MEAN).max() == 255


def test_keep_from_leaves_out_the_early_iterations(style, start, weight):
    falling = style(decay=0.5, step_start=0.01, step_end=0.01, max_iter=6)
    uphill = start + 100 * weight  # starts high and is drained by the decay
    first = climb(linear(weight), uphill[None], [falling], MEAN)
    later = climb(linear(weight), uphill[None], [replace(falling, keep_from=3)], MEAN)
    assert (int(first.step), int(later.step)) == (0, 3)
    assert later.activation == first.history[3]


def test_short_climbs_are_left_untouched_beside_long_ones(style, start, weight):
    short, long = style(max_iter=3, keep="last"), style(max_iter=9, keep="last")
    starts = torch.stack([start, start])
    both = climb(linear(weight), starts, [short, long], MEAN)
    assert torch.equal(both.image[0], climb(linear(weight), starts[:1], [short], MEAN).image[0])
    assert torch.equal(both.image[1], climb(linear(weight), starts[1:], [long], MEAN).image[0])
    assert both.step.tolist() == both.last.step.tolist() == [2, 8]


def test_minimizing_descends_and_keeps_the_lowest(style, start, weight):
    done = climb(linear(weight), start[None], [style(direction="minimize")], MEAN)
    assert done.activation == done.history.min() < done.history[0]
    assert int(done.step) == 7


@pytest.mark.parametrize("policy", ["constant", "progress", "progress01", "scale_free"])
def test_zero_gradient_is_a_failure_of_that_item_alone(style, start, weight, policy):
    weights = torch.stack([weight, torch.zeros_like(weight)])
    done = climb(linear(weights), start.expand(2, -1, -1, -1), [style(policy=policy)] * 2, MEAN)
    alone = climb(linear(weight[None]), start[None], [style(policy=policy)], MEAN)
    assert done.ended.tolist() == [OK, ZERO_GRADIENT]
    assert torch.equal(done.image[0], alone.image[0])


def test_what_is_not_a_number_is_a_failure_of_that_item_alone(style, start, weight):
    weights = torch.stack([torch.full_like(weight, torch.nan), weight])
    clipped = style(small_norm_percentile=50, blur_radius=1.0, blur_every=2)
    done = climb(linear(weights), start.expand(2, -1, -1, -1), [clipped] * 2, MEAN)
    alone = climb(linear(weight[None]), start[None], [clipped], MEAN)
    assert done.ended.tolist() == [NAN, OK]
    assert torch.equal(done.image[1], alone.image[0])


def test_a_micro_batch_that_has_failed_altogether_stops(style, start):
    evaluations = []

    def flat(image):
        evaluations.append(len(image))
        return 0 * image.sum(dim=(1, 2, 3))

    done = climb(flat, start[None], [style(max_iter=500)], MEAN)
    assert done.ended.tolist() == [ZERO_GRADIENT]
    assert len(evaluations) == 1


def capped(weight, top):
    """Σ w·x up to `top`, where the gradient ends; one top for all items, or one for each."""
    return lambda image: torch.minimum(linear(weight)(image), torch.as_tensor(top, dtype=image.dtype))


REGULARIZED = {"decay": 0.05, "blur_radius": 1.0, "blur_every": 2, "small_norm_percentile": 20.0}


@pytest.mark.parametrize("policy", ["constant", "progress", "progress01", "scale_free"])
def test_a_climb_that_meets_a_flat_spot_stops_there_and_keeps_what_it_has(style, start, weight, policy):
    """The regularizers drain the image, so a climb that went on would leave the flat spot and move."""
    rising = {"policy": policy, "rate": 30.0, "max_rate": 30.0, "desired_progress": 9.0, "early_progress": 9.0}
    one = style(max_iter=20, late_progress_factor=-9.0, **rising, **REGULARIZED)
    free = climb(linear(weight), start[None], [one], MEAN)
    at = next(step for step in range(1, 20) if free.history[step, 0] > free.history[0, 0] + 2)
    top = float(free.history[:at].max() + free.history[at]) / 2
    done = climb(capped(weight, top), start[None], [one], MEAN)
    assert (done.ended.tolist(), done.stopped.tolist()) == ([OK], [at])
    assert (int(done.step), int(done.last.step), float(done.activation)) == (at, at, top)
    assert torch.equal(done.image, done.last.image)
    short = climb(linear(weight), start[None], [replace(one, max_iter=at + 1, keep="last")], MEAN)
    if policy != "scale_free":  # whose steps depend on the number of iterations
        assert torch.equal(done.image, short.image)
    assert torch.equal(done.history[: at + 1, 0], free.history[: at + 1, 0].clamp(max=top))
    assert (done.history[at:] == top).all()


def test_items_that_stop_leave_the_others_alone(style, start, weight):
    plain = style(max_iter=12, step_start=0.5, step_end=0.5, **REGULARIZED)
    starts, tops = start.expand(3, -1, -1, -1), torch.tensor([8.0, 1e9, 24.0])
    done = climb(capped(weight, tops), starts, [plain] * 3, MEAN)
    assert done.ended.tolist() == [OK] * 3
    assert done.stopped.tolist()[1] == -1 and 0 < done.stopped[0] < done.stopped[2]
    for at, top in enumerate(tops.tolist()):
        alone = climb(capped(weight, top), start[None], [plain], MEAN)
        assert torch.equal(done.image[at], alone.image[0])
        assert torch.equal(done.last.image[at], alone.last.image[0])
        assert (done.step[at], done.stopped[at], done.last.step[at]) == (alone.step, alone.stopped, alone.last.step)


def test_the_best_of_a_stopped_climb_may_lie_before_its_end(style, start, weight):
    """A unit that drops to a flat floor: the best is an earlier iterate, the last the one on the floor."""

    def dropping(image):
        value = linear(weight)(image)
        return torch.where(value < 12, value, -3 + 0 * value)

    done = climb(dropping, start[None], [style(max_iter=30, step_start=0.1, step_end=0.1)], MEAN)
    assert done.ended.tolist() == [OK]
    assert 0 < done.step < done.stopped and int(done.last.step) == int(done.stopped)
    assert done.activation == done.history.max() < 12
    assert done.last.activation[0, 0] == -3


@pytest.mark.parametrize("kept", [{"keep": "last"}, {"keep_from": 10}])
def test_a_climb_that_stops_before_its_first_kept_iterate_keeps_the_one_where_it_stopped(style, start, weight, kept):
    done = climb(capped(weight, 12.0), start[None], [style(max_iter=30, **kept)], MEAN)
    assert done.ended.tolist() == [OK]
    assert 0 < int(done.stopped) == int(done.step) < 10
    assert torch.equal(done.image, done.last.image)
    late = climb(capped(weight, 12.0), start[None], [style(max_iter=30, keep_from=1)], MEAN)
    assert late.step == done.step  # beyond keep_from, the best rules as ever


def test_minimizing_stops_at_a_floor(style, start, weight):
    down = style(direction="minimize", **REGULARIZED)
    floor = climb(lambda image: linear(weight)(image).clamp(min=-9), start[None], [down], MEAN)
    assert (floor.ended.tolist(), float(floor.activation)) == ([OK], -9.0)
    assert 0 < int(floor.stopped) == int(floor.step) == int(floor.last.step)


def test_a_gradient_that_is_missing_in_the_last_iteration_alone_stops_nothing(style, start, weight):
    """The last iteration only evaluates."""
    free = climb(linear(weight), start[None], [style(max_iter=5)], MEAN).history[:, 0]
    done = climb(capped(weight, float(free[-2:].mean())), start[None], [style(max_iter=5)], MEAN)
    assert (done.ended.tolist(), done.stopped.tolist(), done.step.tolist()) == ([OK], [-1], [4])


def test_a_micro_batch_that_has_stopped_altogether_ends(style, start, weight):
    evaluations = []

    def counted(image):
        evaluations.append(len(image))
        return capped(weight, torch.tensor([8.0, 1e9, -1e9, 1e9]))(image) * torch.tensor([1, 1, 1, float("nan")])

    short = style(name="short", max_iter=5)
    styles = [style(max_iter=900), short, style(max_iter=900), style(max_iter=900)]
    done = climb(counted, start.expand(4, -1, -1, -1), styles, MEAN)
    assert done.ended.tolist() == [OK, OK, ZERO_GRADIENT, NAN]
    assert done.last.step.tolist()[:2] == [int(done.stopped[0]), 4]
    assert len(evaluations) == len(done.history) <= loop.ALL_ENDED_EVERY + 1


def test_values_that_stop_being_finite_are_a_failure_after_a_finite_best_too_but_not_after_a_stop(style, start, weight):
    """The second item stops before the values of its batch become NaN."""
    calls = []

    def breaking(image):
        calls.append(1)
        return capped(weight, torch.tensor([1e9, 8.0]))(image) * (torch.nan if len(calls) > 9 else 1)

    done = climb(breaking, start.expand(2, -1, -1, -1), [style(max_iter=12)] * 2, MEAN)
    assert done.ended.tolist() == [NAN, OK]
    assert done.activation[1] == 8 and 0 < done.stopped[1] < 9


def test_codes_that_have_stopped_are_neither_shrunk_nor_moved(style):
    """A code climbs until its sum reaches the top; shrinking and the penalty would go on drawing it to zero."""
    settings = replace(SETTINGS, iterations=40, step_start=0.2, step_end=0.2, shrink=0.9, penalty=0.1)

    def objective(image):
        value = torch.minimum(image.sum(dim=(1, 2, 3)), torch.tensor([3.0, 1e9]))
        return value[:, None], value

    def drawn(code):
        return code[:, None, None]

    items = [run_record(settings)] * 2
    done = loop.climb(torch.zeros(2, 6), drawn, objective, code_steps(settings, 1.0, None), items, seed=0)
    assert done.ended.tolist() == [OK, OK]
    assert int(done.stopped[1]) == -1 < int(done.stopped[0]) == int(done.last.step[0]) < 40
    assert float(done.last.activation[0, 0]) == 3 and float(done.last.parameters[0].sum()) >= 3
    assert torch.equal(done.last.parameters[0], done.best.parameters[0])
    assert int(done.last.step[1]) == 39


def test_with_shifts_a_climb_does_not_stop_and_is_moved_by_its_regularizers(style, start, weight):
    done = climb(capped(weight, 12.0), start[None], [style(max_iter=30, jitter=0.1, decay=0.05)], MEAN)
    assert (done.ended.tolist(), done.stopped.tolist(), done.last.step.tolist()) == ([OK], [-1], [29])
    assert (done.history == 12).any()


def test_one_iteration_only_evaluates_the_start(style, start):
    done = climb(lambda image: 0 * image.sum(dim=(1, 2, 3)) + 3, start[None], [style(max_iter=1)], MEAN)
    assert done.ended.tolist() == [OK]
    assert torch.equal(done.image[0], start)
    assert done.activation == 3


def test_a_shift_that_switches_a_unit_off_does_not_end_its_climb():
    """Rectified: on unless shifted, then off; a climb fails only if it is off in every iteration."""
    settings = replace(SETTINGS, jitter=0.4, iterations=30, shrink=1.0)

    def objective(image):
        whole = (image[:, 0, 0, 0] - image[:, 0, 1, 1]).abs() > 0.5  # edges repeated: a far shift is one colour
        value = torch.where(whole & on, image.sum(dim=(1, 2, 3)), image.sum(dim=(1, 2, 3)) * 0)
        return value[:, None], value

    def decode(code):
        row = torch.cat([code[:, :1], code[:, :1] + 5], dim=1)
        return torch.stack([row, row], dim=1)[:, None].repeat_interleave(2, 2).repeat_interleave(2, 3)

    on = torch.tensor([True, False])
    shares = [0.4, 0.4]
    seen = [objective(jittered(decode(torch.zeros(2, 1)), shares, 0, at))[0][0, 0] for at in range(29)]
    assert any(value == 0 for value in seen) and any(value != 0 for value in seen)
    items = [run_record(settings)] * 2
    climbed = loop.climb(torch.zeros(2, 1), decode, objective, code_steps(settings, 1.0, None), items, seed=0)
    assert climbed.ended.tolist() == [OK, ZERO_GRADIENT]
    assert climbed.last.parameters[0, 0] != 0


def test_the_loop_takes_any_function_for_an_image():
    """A bowl: the highest point is found from anywhere."""
    goal = torch.tensor([0.2, 0.7, 0.4, 0.9, 0.1, 0.5])
    settings = replace(SETTINGS, iterations=200, step_start=0.1, shrink=1.0)

    def objective(image):
        value = -(image[:, 0, 0] - goal).square().sum(dim=1)
        return value[:, None], value

    items = [run_record(settings)] * 3
    climbed = loop.climb(
        torch.randn(3, 6), lambda code: code[:, None, None], objective, code_steps(settings, 1.0, None), items, seed=0
    )
    assert (climbed.best.parameters - goal).abs().max() < 0.05


def test_jitter_holds_for_pixels_and_for_the_items_that_ask_for_it_alone(style, start, weight):
    """An item beside one with jitter climbs as it does alone; with jitter what is kept is measured unshifted."""
    still, shaken = style(name="still", keep="last"), style(name="shaken", jitter=0.2, keep="last")
    weights = torch.stack([weight, weight])
    both = climb(linear(weights), start.expand(2, -1, -1, -1), [still, shaken], MEAN)
    assert torch.equal(both.image[0], climb(linear(weight), start[None], [still], MEAN).image[0])
    assert torch.equal(both.image[1], climb(linear(weight), start[None], [shaken], MEAN).image[0])
    assert not torch.equal(both.image[0], both.image[1])
    assert torch.equal(both.activation, linear(weights)(both.image))
