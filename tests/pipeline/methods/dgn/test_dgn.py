from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_prior import ENTRIES, SETTINGS, network, prior, real_codes, run_record, tiny_run
from torch import nn

from pipeline.climb.attempts import Item, climb_items
from pipeline.climb.seeds import StartKey
from pipeline.errors import SettingsError
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.codes import Codes, start_code, step_size
from pipeline.methods.dgn.compute import code_norm
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import Affine, Pointwise

CPU = torch.device("cpu")
OK, ZERO_GRADIENT, NAN, NEVER_ACTIVE = 1, 2, 3, 4

ITERATES = ("pixels", "code", "activation", "activation_float")


def item(members, sample=0) -> Item:
    return Item(members, sample, run_record())  # run() puts its own run in place of this one


def alone(units, samples=1) -> list[Item]:
    return [item(((unit, 1.0),), sample) for unit in units for sample in range(samples)]


def run(items, layer="fc", of=None, batch=4, net=None, generator=None, dtype=torch.float32) -> SimpleNamespace:
    """DGN-AM with every item: the last and the best iterate's arrays, and how the climb went."""
    of = tiny_run() if of is None else of
    net = network() if net is None else net
    own = prior() if generator is None else generator
    if dtype == torch.float64:
        net, own = net.to(dtype=dtype), replace(own, generator=copy.deepcopy(own.generator).double())
    cone = layer_cone(net, layer, "window")
    adapter = Adapter(own, net.preprocessing, cone.window, CPU, dtype)
    climbed = climb_items(
        cone,
        Codes(adapter, layer, of.record, of.codes, of.image_code, dtype),
        [replace(one, setting=of.record) for one in items],
        fresh_starts=of.settings.fresh_starts,
        trace_points=of.settings.trace_points,
        batch=batch,
        device=CPU,
        balance=of.balance,
        log_odds=True,
        dtype=dtype,
    )
    arrays = {"code_norm": code_norm(climbed.last.parameters), "best_step": climbed.best.step}
    for prefix, iterate in (("", climbed.last), ("best_", climbed.best)):
        values = (iterate.pixels, iterate.parameters, iterate.activation, iterate.activation_float)
        arrays |= {prefix + name: array for name, array in zip(ITERATES, values, strict=True)}
    further = {name: getattr(climbed, name) for name in ("status", "attempt", "stopped", "trace")}
    return SimpleNamespace(**arrays, **further)


def moved(image, share, seed, iteration):
    """The image shifted by what the seed draws for an iteration, pixel by pixel; beyond an edge is the edge."""
    rows, columns = image.shape[2:]
    most = [int(share * rows), int(share * columns)]
    down, right = np.random.Generator(np.random.Philox(key=[seed, iteration])).integers(
        [-most[0], -most[1]], [most[0] + 1, most[1] + 1]
    )
    lines = [
        torch.stack([image[0, :, min(max(y + down, 0), rows - 1), min(max(x + right, 0), columns - 1)]
                     for x in range(columns)], dim=1)
        for y in range(rows)
    ]  # fmt: skip
    return torch.stack(lines, dim=1)[None]


def written_out(layer, unit, of, sample=0, dtype=np.float64):
    """Reference.md §5.1, line by line, for one unit: all iterates' codes, crops and values, in float64.

    The gradient with respect to the image is normalized and sent back through the generator as the original does.
    """
    net, own = network().to(dtype=torch.float64), prior()
    generator = copy.deepcopy(own.generator).double()
    settings, height, width = of.settings, 11, 11
    key = StartKey(of.record.seed, layer, str(unit), of.record.name, sample, 0)
    code = start_code(key, settings, of.codes, of.image_code)
    upper = None if settings.sigmas is None else of.codes.mean + settings.sigmas * of.codes.deviation.astype(np.float64)
    mean = net.preprocessing.full_mean
    codes, crops, values = [], [], []
    row, column = net.layer(layer).centre
    for i in range(settings.iterations):
        step = settings.step_start + (settings.step_end - settings.step_start) * i / settings.iterations
        y = torch.tensor(code[None], requires_grad=True)
        output = generator(y)
        levels = (
            output / torch.tensor(own.gain).double()[:, None, None] + torch.tensor(own.mean).double()[:, None, None]
        )
        top, left = (14 - height) // 2, (15 - width) // 2
        crop = levels[:, :, top : top + height, left : left + width].flip(1) - torch.from_numpy(mean.copy())
        image = crop.detach().requires_grad_()
        seen = image if i == settings.iterations - 1 else moved(image, settings.jitter, of.record.seed, i)
        value = net.opened(layer).run(seen, [layer])[layer]
        value = value[0, unit] if value.dim() == 2 else value[0, unit, row, column]
        (g,) = torch.autograd.grad(value, image)
        codes.append(code)
        crops.append(image.detach().numpy()[0])
        values.append(value.item())
        (h,) = torch.autograd.grad(crop, y, grad_outputs=step * g / g.abs().mean())
        h = h[0].numpy()
        code = code + step * h / np.abs(h).mean()
        if settings.clip:
            code = np.clip(code, -1, 1)
        elif upper is not None:
            code = np.clip(code, 0, upper)
        code = code * settings.shrink
    return codes, crops, values


@pytest.mark.parametrize("layer", ["fc", "conv1", "relu1"])
@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, sigmas=None),
        replace(SETTINGS, clip=True, shrink=1.0),
        replace(SETTINGS, start="reference", step_start=8.0, iterations=30),
        replace(SETTINGS, start="entries"),
    ],
    ids=["bounded", "unbounded", "clipped", "reference", "entries"],
)
def test_a_run_is_the_published_loop_in_float64(layer, settings):
    of = tiny_run(settings)
    result = run(alone([2], samples=2), layer, of, dtype=torch.float64)
    for sample in range(2):
        codes, crops, values = written_out(layer, 2, of, sample)
        np.testing.assert_allclose(result.code[sample], codes[-1], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(result.activation_float[sample, 0], values[-1], rtol=1e-5, atol=1e-6)
        best = int(np.argmax(values))
        assert result.best_step[sample] == best
        np.testing.assert_allclose(result.best_code[sample], codes[best], rtol=1e-6, atol=1e-7)
        net = network()
        cone = layer_cone(net, layer, "window")
        at = cone.window
        shown = net.preprocessing.pixels(crops[-1][:, at.top : at.bottom, at.left : at.right], cone.mean)
        np.testing.assert_array_equal(result.pixels[sample], shown)


def test_jitter_shifts_what_is_evaluated_but_nothing_that_is_kept():
    of = tiny_run(replace(SETTINGS, jitter=0.2))
    result = run(alone([2], samples=2), "fc", of, dtype=torch.float64)
    for sample in range(2):
        codes, crops, values = written_out("fc", 2, of, sample)
        np.testing.assert_allclose(result.code[sample], codes[-1], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(result.activation_float[sample, 0], values[-1], rtol=1e-5, atol=1e-6)
        best = int(np.argmax(values))
        assert result.best_step[sample] == best
        net = network().to(dtype=torch.float64)
        kept = net.run(torch.from_numpy(crops[best][None]), ["fc"])["fc"][0, 2]
        np.testing.assert_allclose(result.best_activation_float[sample, 0], kept, rtol=1e-5, atol=1e-6)
        shown = network().preprocessing.pixels(crops[best], network().preprocessing.full_mean)
        np.testing.assert_array_equal(result.best_pixels[sample], shown)
    plain = run(alone([2], samples=2), "fc", tiny_run(SETTINGS), dtype=torch.float64)
    assert not np.allclose(plain.code, result.code, rtol=1e-3)


def test_a_batch_with_jitter_equals_one_at_a_time():
    items, of = alone(range(4), samples=2), tiny_run(replace(SETTINGS, jitter=0.2))
    assert_same(run(items, of=of, batch=1), run(items, of=of, batch=8))


def test_steps_are_the_published_schedule():
    settings = replace(SETTINGS, iterations=200, step_start=8.0, step_end=1e-10)
    steps = [step_size(settings, i) for i in range(200)]
    np.testing.assert_allclose(steps[:2], [8, 7.96])
    np.testing.assert_allclose(steps[-1], 0.04)


def test_reference_starts_are_the_published_codes():
    wide = replace(real_codes(), mean=np.zeros(4096, np.float32), deviation=np.ones(4096, np.float32))
    own = replace(SETTINGS, start="reference")
    zero, one = (start_code(StartKey(0, "fc8", "3", "x", i, 0), own, wide, None) for i in range(2))
    np.testing.assert_allclose(zero[:4], [1.764052346, 0.4001572084, 0.9787379841, 2.240893199], rtol=1e-9)
    np.testing.assert_allclose(one[:2], [1.624345364, -0.6117564137], rtol=1e-9)
    np.testing.assert_allclose([np.linalg.norm(zero), np.linalg.norm(one)], [62.9483405337, 63.8164293579], rtol=1e-11)
    assert (zero < 0).sum() == 2096


def test_starts_are_what_they_are_called():
    known = real_codes()

    def start(kind, attempt=0, unit="3", image=None):
        file = "x.png" if kind == "image" else None
        of = replace(SETTINGS, start=kind, image=file)
        return start_code(StartKey(0, "fc", unit, "x", 0, attempt), of, known, image)

    np.testing.assert_array_equal(start("mean"), known.mean)
    np.testing.assert_array_equal(start("image", image=np.arange(6.0)), np.arange(6.0))
    assert (start("entries") >= 0).all()
    drawn = [start("noise"), start("noise", attempt=1), start("noise", unit="4"), start("reference")]
    assert len({code.tobytes() for code in drawn}) == 4
    many = np.stack([start("entries", unit=str(at)) for at in range(4000)])
    open_mean = known.mean > 2 * known.deviation  # hardly ever cut at zero
    assert open_mean.any()
    np.testing.assert_allclose(many.mean(axis=0)[open_mean], known.mean[open_mean], atol=0.05)
    np.testing.assert_allclose(many.std(axis=0)[open_mean], known.deviation[open_mean], rtol=0.1)


def test_a_run_in_deviations_is_the_same_run_in_units_of_the_code():
    """Steps and noise of half a unit, where the mean deviation is the unit."""
    deviation = float(real_codes().deviation.astype(np.float64).mean())
    of = replace(SETTINGS, unit="deviation", start="mean")
    own = replace(SETTINGS, step_start=0.5 * deviation, step_end=1e-10 * deviation, start="mean")
    assert_same(run(alone([1, 2]), of=tiny_run(of)), run(alone([1, 2]), of=tiny_run(own)))
    noise = [start_code(StartKey(0, "fc", "1", "x", 0, 0), replace(SETTINGS, unit=unit), real_codes(), None)
             for unit in ("deviation", "entry")]  # fmt: skip
    np.testing.assert_allclose(noise[0], noise[1] * deviation)


def test_the_penalty_is_the_gradient_of_the_norm():
    """One step of maximizing Φ − λ‖y‖ with autograd doing all of it."""
    settings = replace(SETTINGS, iterations=2, penalty=0.7, shrink=1.0, sigmas=None)
    result = run(alone([1]), of=tiny_run(settings), dtype=torch.float64)
    (first, _), _, _ = written_out("fc", 1, tiny_run(settings))
    net, own = network().to(dtype=torch.float64), prior()
    cone = layer_cone(net, "fc", "window")
    decode = Adapter(replace(own, generator=copy.deepcopy(own.generator).double()), net.preprocessing, cone.window, CPU,
                     torch.float64)  # fmt: skip
    y = torch.tensor(first[None], requires_grad=True)
    (cone.activations(decode(y), torch.tensor([1])).sum() - 0.7 * y.norm()).backward()
    expected = first + 0.5 * y.grad[0].numpy() / y.grad.abs().mean().item()
    np.testing.assert_allclose(result.code[0], expected, rtol=1e-6)


def assert_same(one: SimpleNamespace, other: SimpleNamespace, order=None) -> None:
    order = range(len(one.status)) if order is None else order
    for name in ("status", "best_step", "attempt"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[list(order)])
    for name in ("code", "best_code", "activation_float", "best_activation_float", "trace"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name)[list(order)], rtol=2e-4, atol=2e-4)
    for name in ("pixels", "best_pixels"):
        difference = getattr(one, name).astype(int) - getattr(other, name)[list(order)]
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("layer", ["fc", "conv1", "prob"])
def test_a_batch_equals_one_at_a_time_in_any_order(layer):
    items = alone(range(4), samples=2)
    whole = run(items, layer, batch=8)
    assert (whole.status == OK).all()
    assert_same(run(items, layer, batch=3), whole)
    assert_same(run(items, layer, batch=1), whole)
    order = [5, 0, 7, 2, 1, 6, 3, 4]
    assert_same(run([items[at] for at in order], layer, batch=8), whole, order)


def test_activations_are_those_of_the_stored_pixels_by_the_plain_network():
    result = run(alone(range(5)), of=tiny_run(replace(SETTINGS, iterations=40, step_start=1.0)))
    net = network()
    for pixels, activation in ((result.pixels, result.activation), (result.best_pixels, result.best_activation)):
        with torch.no_grad():
            plain = net.run(torch.from_numpy(net.preprocessing.centred(pixels)), ["fc"])["fc"]
        np.testing.assert_allclose(activation[:, 0], plain.diagonal().numpy(), rtol=1e-5, atol=1e-5)
    assert (result.best_activation_float >= result.activation_float - 1e-6).all()
    assert (result.best_activation_float[:, 0] > result.trace[:, 0]).all()


def test_codes_give_the_pictures_again_and_stay_in_their_bounds():
    of = tiny_run(replace(SETTINGS, iterations=40, step_start=2.0, shrink=1.0))
    result = run(alone(range(5)), of=of, batch=5)
    net, own = network(), prior()
    cone = layer_cone(net, "fc", "window")
    decode = Adapter(own, net.preprocessing, cone.window, CPU, torch.float32)
    for code, pixels in ((result.code, result.pixels), (result.best_code, result.best_pixels)):
        with torch.no_grad():
            again = net.preprocessing.pixels(decode(torch.from_numpy(code)).numpy(), cone.mean)
        np.testing.assert_array_equal(again, pixels)
    low, high = of.codes.bounds(of.settings)
    assert (result.code >= low).all()
    assert (result.code <= high.astype(np.float32)).all()
    np.testing.assert_allclose(result.code_norm, np.linalg.norm(result.code, axis=1), rtol=1e-6)


def test_a_probability_is_ascended_where_its_own_gradient_vanishes():
    """Scaled up, the softmax is 0 or 1 in float32 nearly everywhere: a gradient of p would be zero at once."""
    net = network()
    net.operator(net.layer("fc").node).weight.mul_(3e4)
    result = run(alone(range(5)), "prob", tiny_run(replace(SETTINGS, iterations=80, step_start=1.0)), net=net)
    assert (result.status == OK).all()
    off = result.trace[:, 0] == 0
    assert off.any()
    assert (result.best_activation_float[off, 0] > 0.9).any()


def topped(tops: np.ndarray) -> Network:
    """The layer "top" is the tiny network's fc minus `tops`, (unit,), cut off at zero: no gradient above."""
    net = network()
    builder, at = GraphBuilder(net.preprocessing), None
    for name in ("conv1", "relu1", "fc"):
        at = builder.add(name, net.operator(net.layer(name).node), [at or builder.input], name)
    at = builder.add("minus", Affine(torch.ones(5), -torch.from_numpy(tops)), [at], "minus")
    at = builder.add("top", Pointwise(nn.Hardtanh(-999.0, 0.0), "hardtanh"), [at], "top")
    return builder.build("topped", at)


def test_a_code_that_meets_a_flat_spot_rests_there():
    """Shrinking alone would go on to move the code, and with it the last iterate, which the authors show."""
    settings = replace(SETTINGS, iterations=40, trace_points=40, start="reference")
    free = run(alone(range(5)), "fc", tiny_run(settings))
    tops = free.trace.max(axis=1) * np.float32(0.6) + free.trace[:, 0] * np.float32(0.4)
    tops[3] = 99
    result = run(alone(range(5)), "top", tiny_run(settings), net=topped(tops))
    assert (result.status == OK).all() and not result.attempt.any()
    first = (free.trace > tops[:, None]).argmax(axis=1)
    assert result.stopped.tolist() == [*first[:3], -1, first[4]] and set(first) != {1}
    np.testing.assert_allclose(result.code[3], free.code[3], rtol=1e-4)
    for unit in (0, 1, 2, 4):
        stopped = result.stopped[unit]
        assert stopped == result.best_step[unit]
        assert result.activation_float[unit, 0] == result.best_activation_float[unit, 0] == 0
        np.testing.assert_array_equal(result.code[unit], result.best_code[unit])
        np.testing.assert_array_equal(result.pixels[unit], result.best_pixels[unit])
        risen = free.trace[unit, :stopped] - tops[unit]
        np.testing.assert_allclose(result.trace[unit, :stopped], risen, rtol=1e-4, atol=1e-5)
        assert np.isnan(result.trace[unit, stopped + 1 :]).all()


def test_a_pair_rests_where_neither_of_its_units_has_a_gradient():
    settings = replace(SETTINGS, iterations=60, start="reference")
    free = run(pairs((0, 1), (2, 4)), "fc", tiny_run(settings))
    tops = np.zeros(5, np.float32)
    tops[[0, 1, 2, 4]] = free.activation_float.ravel() - np.float32(0.2)
    result = run(pairs((0, 1), (2, 4)), "top", tiny_run(settings), net=topped(tops))
    assert (result.status == OK).all() and (result.stopped > 0).all()
    assert (result.activation_float == 0).all()
    np.testing.assert_array_equal(result.code, result.best_code)


def test_the_gradient_of_the_logarithm_has_the_direction_of_the_probability():
    settings = replace(SETTINGS, iterations=3)
    result = run(alone([2]), "prob", tiny_run(settings), dtype=torch.float64)
    codes, _, values = written_out("prob", 2, tiny_run(settings))
    np.testing.assert_allclose(result.code[0], codes[-1], rtol=1e-6)
    np.testing.assert_allclose(result.activation_float[0, 0], values[-1], rtol=1e-6)


def pairs(*units) -> list[Item]:
    return [item(tuple((unit, 1.0) for unit in pair), 0) for pair in units]


def test_two_units_are_excited_together_and_the_balance_holds_them_level():
    items = pairs((0, 1), (2, 3), (4, 0))
    settings = replace(SETTINGS, iterations=60, step_start=1.0)
    free, level = (run(items, of=tiny_run(settings, balance=balance)) for balance in (0.0, 1.0))
    assert free.activation.shape == (3, 2)
    assert (level.best_activation_float.sum(axis=1) <= free.best_activation_float.sum(axis=1) + 1e-4).all()

    def gap(result):
        return np.abs(np.diff(result.best_activation_float, axis=1)).sum()

    assert gap(level) < gap(free) / 2


def test_weights_and_pairs_enter_the_objective_as_equation_2_says():
    """One step by hand, of 2·Φ0 − Φ3 − 0.4·|Φ0 − Φ3|, beside an item of one member."""
    settings = replace(SETTINGS, iterations=2, shrink=1.0, sigmas=None)
    of = tiny_run(settings, balance=0.4)
    items = [item(((0, 2.0), (3, -1.0)), 0), *alone([1])]
    result = run(items, of=of, dtype=torch.float64)
    net, own = network().to(dtype=torch.float64), prior()
    cone = layer_cone(net, "fc", "window")
    decode = Adapter(replace(own, generator=copy.deepcopy(own.generator).double()), net.preprocessing, cone.window, CPU,
                     torch.float64)  # fmt: skip
    first = start_code(StartKey(0, "fc", items[0].words, "tiny", 0, 0), SETTINGS, of.codes, None)
    y = torch.tensor(first[None], requires_grad=True)
    value = cone.values(decode(y))[0]
    (2 * value[0] - value[3] - 0.4 * (value[0] - value[3]).abs()).backward()
    expected = first + 0.5 * y.grad[0].numpy() / y.grad.abs().mean().item()
    np.testing.assert_allclose(result.code[0], expected, rtol=1e-6)
    assert np.isnan(result.activation[1]).tolist() == [False, True]
    single = run(alone([1]), of=of, dtype=torch.float64)
    np.testing.assert_allclose(result.code[1], single.code[0], rtol=1e-6)


def test_a_gradient_of_zero_or_none_ends_an_item_after_fresh_starts():
    net = network()
    weight = net.operator(net.layer("fc").node).weight
    weight[1] = 0
    weight[2] = float("nan")
    result = run(alone([0, 1, 2]), net=net)
    assert result.status.tolist() == [OK, ZERO_GRADIENT, NAN]
    assert (result.pixels[1:] == 0).all()
    assert np.isnan(result.code[1:]).all()
    assert result.best_step[1:].tolist() == [-1, -1]
    assert_same(run(alone([0]), net=net), result, [0])


def test_a_unit_that_stays_off_is_said_to_and_gets_other_starts():
    net = network()
    net.operator(net.layer("conv1").node).bias[1] = -1e4
    result = run(alone([0, 1]), "conv1", net=net)
    assert result.status.tolist() == [OK, NEVER_ACTIVE]
    assert (result.pixels[1] > 0).any()


def test_means_cancel_exactly_where_prior_and_network_share_them():
    net = network()
    shared = replace(net.preprocessing, mean=np.array([120.0, 110.0, 100.0]))
    own = prior(gain=(1.0, 1.0, 1.0))
    cone = layer_cone(net, "fc", "window")
    decode = Adapter(own, shared, cone.window, CPU, torch.float32)
    code = torch.ones(1, ENTRIES)
    np.testing.assert_array_equal(decode(code).numpy(), own.generator(code)[:, :, 1:12, 2:13].flip(1).numpy())


def test_a_prior_may_have_a_mean_image():
    """Its centre lies under the network's input, and the window's part of that under the window."""
    net = network()
    levels = np.random.RandomState(0).uniform(90, 130, (3, 14, 15))
    cone = layer_cone(net, "conv1", "window")
    at, code = cone.window, torch.ones(1, ENTRIES)
    part = (slice(None), slice(1 + at.top, 1 + at.bottom), slice(2 + at.left, 2 + at.right))
    decode, plain = (
        Adapter(prior(mean=mean), net.preprocessing, at, CPU, torch.float64).__call__ for mean in (levels, np.zeros(3))
    )
    np.testing.assert_allclose((decode(code) - plain(code)).numpy()[0], levels[part][::-1], rtol=1e-9)


@pytest.mark.parametrize("changes", [{"height": 10}, {"width": 8}, {"order": "L"}])
def test_images_that_the_network_cannot_read_are_refused(changes):
    net = network()
    cone = layer_cone(net, "fc", "window")
    with pytest.raises(SettingsError, match="prior tiny: makes .* the network reads RGB of 11 x 11"):
        Adapter(prior(**changes), net.preprocessing, cone.window, CPU, torch.float32)


def test_a_start_of_one_iteration_is_its_own_picture():
    result = run(alone([0]), of=tiny_run(replace(SETTINGS, iterations=1, start="mean")))
    assert result.status.tolist() == [OK]
    np.testing.assert_array_equal(result.code[0], real_codes().mean)
    assert result.best_step.tolist() == [0]


def test_a_minimized_run_descends_and_keeps_the_lowest():
    result = run(alone(range(5)), of=tiny_run(replace(SETTINGS, direction="minimize")))
    assert result.status.tolist() == [OK] * 5
    assert (result.best_activation_float[:, 0] < result.trace[:, 0]).all()
    assert (result.best_activation_float[:, 0] <= np.nanmin(result.trace, axis=1)).all()


def test_a_start_that_is_not_drawn_is_not_tried_again():
    """A unit without a gradient: another attempt from the same code would end in the same way."""
    net = network()
    net.operator(net.layer("fc").node).weight[1] = 0
    result = run(alone([1]), net=net, of=tiny_run(replace(SETTINGS, start="mean")))
    assert (result.status.tolist(), result.attempt.tolist()) == ([ZERO_GRADIENT], [0])
