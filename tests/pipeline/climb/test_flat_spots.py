"""Climbs that lose their gradient on the way, against the authors' loop written out for one image at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from flat_networks import lite, saturating
from torch import nn

from pipeline.climb.attempts import Climbed, Item, climb_items
from pipeline.climb.seeds import StartKey
from pipeline.methods.ascent.pixels import Pixels, start_image
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import InnerProduct, Pointwise
from pipeline.nets.preprocessing import Preprocessing

OK, ZERO_GRADIENT, NEVER_ACTIVE = 1, 2, 4
POINTS = 30
STORED = {"rtol": 3e-7, "atol": 1e-12}  # of what was computed in float64 and stored in float32
SETTINGS = AscentSettings("image", "item", "float64", fresh_starts=2, trace_points=POINTS)
# Layer → the one whose gradient a unit has while it is off, for layers that come out of a ReLU.
BELOW = {"clip": "fc", "r6": "fc", "blocks.0.0.2": "blocks.0.0.1"}
CASES = [
    *(("saturating", layer) for layer in ("conv2", "gate", "fc", "clip", "r6", "hard")),
    *(("lite", layer) for layer in ("blocks.0.0.2", "blocks.0.2.1", "add#2", "head.1")),
]


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {"saturating": saturating().to(dtype=torch.float64), "lite": lite().to(dtype=torch.float64)}


@dataclass
class Written:
    """What the authors' program keeps of one climb. moved : whether there was a gradient before the first step."""

    moved: bool
    best: np.ndarray
    best_value: float
    best_step: int
    stopped: int
    trace: list[float]


def value_and_slope(network: Network, layer: str, unit: int, image: np.ndarray) -> tuple[float, np.ndarray]:
    x = torch.from_numpy(image)[None].requires_grad_()
    row, column = network.layer(layer).centre
    names = [layer, BELOW.get(layer, layer)]
    values = network.run(x, names)
    value, below = (values[name] if values[name].dim() == 2 else values[name][:, :, row, column] for name in names)
    climbed = below if layer in BELOW and below[0, unit] <= 0 else value
    (slope,) = torch.autograd.grad(climbed[0, unit], x)
    return value[0, unit].item(), slope[0].numpy()


def written_out(network: Network, layer: str, unit: int, start: np.ndarray, style: StyleSettings) -> Written:
    """The loop of the authors' program (iteration, order of operations, end), and what it keeps."""
    mean, sign = network.preprocessing.full_mean, style.sign
    x, kept, trace, moved, stopped = start, None, [], False, -1
    for ii in range(style.max_iter):
        x = np.minimum(255, np.maximum(0, x + mean)) - mean
        value, slope = value_and_slope(network, layer, unit, x)
        trace.append(value)
        if ii >= style.first_kept and (kept is None or sign * value > sign * kept[1]):
            kept = x, value, ii
        if ii == style.max_iter - 1:
            break
        if np.linalg.norm(slope) == 0:
            stopped = ii if ii else -1
            kept = kept or (x, value, ii)
            break
        moved = True
        size = style.step_start + (style.step_end - style.step_start) * ii / (style.max_iter - 2)
        x = x + sign * slope * size / np.abs(slope).mean()
        x = x * (1 - style.decay)
        if style.small_norm_percentile:
            norm = np.linalg.norm(x, axis=0)
            x = x * ~(norm < np.percentile(norm, style.small_norm_percentile))
    return Written(moved, *kept, stopped, trace)


def attempts(network: Network, layer: str, unit: int, style: StyleSettings) -> list[Written]:
    window = layer_cone(network, layer, "image").window
    keys = (StartKey(0, layer, unit, style.name, 0, attempt) for attempt in range(SETTINGS.fresh_starts + 1))
    sized = network.preprocessing
    starts = (start_image(key, style.start_image, SETTINGS.start, sized, window) for key in keys)
    return [written_out(network, layer, unit, start, style) for start in starts]


def climb(network: Network, layer: str, styles: list[StyleSettings], batch: int = 7) -> Climbed:
    """Every unit in every style."""
    cone = layer_cone(network, layer, SETTINGS.canvas)
    units = range(network.layer(layer).channels)
    return climb_items(
        cone,
        Pixels(cone, layer, 0, SETTINGS),
        [Item(((unit, 1.0),), 0, one) for one in styles for unit in units],
        fresh_starts=SETTINGS.fresh_starts,
        trace_points=SETTINGS.trace_points,
        batch=batch,
        device=torch.device("cpu"),
        dtype=torch.float64,
    )


@pytest.fixture
def styles(style) -> list[StyleSettings]:
    plain = style(max_iter=POINTS, decay=0.02, small_norm_percentile=10.0)
    return [
        plain,
        replace(plain, name="last", keep="last"),
        replace(plain, name="late", keep_from=3),
        replace(plain, name="down", direction="minimize"),
        replace(plain, name="short", max_iter=4),
    ]


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_a_climb_keeps_and_records_what_the_authors_loop_does(networks, styles, name, layer):
    """All styles in one micro-batch. Every item that had a gradient at one of its starts has a picture."""
    network, at = networks[name], 0
    climbed = climb(network, layer, styles)
    for style in styles:
        for unit in range(network.layer(layer).channels):
            tried = attempts(network, layer, unit, style)
            status, attempt = climbed.status[at], climbed.attempt[at]
            if not any(one.moved for one in tried):
                assert status == ZERO_GRADIENT and climbed.stopped[at] == -1
                assert np.isnan(climbed.trace[at]).all() and not climbed.best.pixels[at].any()
            else:
                assert status in (OK, NEVER_ACTIVE)
                first = next(number for number, one in enumerate(tried) if one.moved)
                assert attempt == first or status == NEVER_ACTIVE or tried[first].best_value <= 0
                one = tried[attempt]
                assert (climbed.best.step[at], climbed.stopped[at]) == (one.best_step, one.stopped)
                np.testing.assert_allclose(climbed.best.activation_float[at, 0], one.best_value, **STORED)
                best = network.preprocessing.pixels(one.best[None], network.preprocessing.full_mean)[0]
                np.testing.assert_array_equal(climbed.best.pixels[at], best)
                trace = np.array(one.trace)
                steps = climbed.trace_steps[at][climbed.trace_steps[at] >= 0]
                np.testing.assert_allclose(climbed.trace[at][: len(trace)], trace[steps[: len(trace)]], **STORED)
                assert np.isnan(climbed.trace[at][len(trace) :]).all()
                last = one.stopped if one.stopped >= 0 else style.max_iter - 1
                assert climbed.last.step[at] == last
                np.testing.assert_allclose(climbed.last.activation_float[at, 0], trace[-1], **STORED)
            at += 1
    assert (climbed.stopped > 0).sum() > 4  # the network has what the test is about


def test_the_networks_show_every_end_of_a_climb(networks, styles):
    fc, clip = (climb(networks["saturating"], layer, styles[:1]) for layer in ("fc", "clip"))
    assert fc.status.tolist() == [ZERO_GRADIENT] + [OK] * 23  # unit 0 reads nothing
    assert (fc.stopped[1:] > 0).all() and fc.attempt[1:].any()
    assert set(clip.status.tolist()) == {OK, ZERO_GRADIENT, NEVER_ACTIVE}
    late = climb(networks["lite"], "blocks.0.2.1", styles[:1])
    assert late.stopped.max() > 10 and (late.stopped == -1).any()


@pytest.mark.parametrize("layer", ["fc", "r6"])
def test_where_climbs_stop_does_not_depend_on_the_micro_batch(networks, styles, layer):
    many, one = (climb(networks["saturating"], layer, styles, batch=batch) for batch in (200, 1))
    for name in ("status", "attempt", "stopped", "trace_steps"):
        np.testing.assert_array_equal(getattr(many, name), getattr(one, name))
    np.testing.assert_array_equal(many.best.pixels, one.best.pixels)
    np.testing.assert_array_equal(many.last.pixels, one.last.pixels)
    np.testing.assert_allclose(many.trace, one.trace, **STORED)


def test_a_unit_of_a_relu6_layer_climbs_where_it_is_off_but_not_from_its_upper_end(style):
    """From the mean image, the units are at -3, 3 and 9 before ReLU6, all with the same weights."""
    b = GraphBuilder(Preprocessing(4, 5, "RGB", np.full((3, 1, 1), 120.0), np.ones(3)))
    weight = torch.linspace(-1, 2, 60).expand(3, 60) / 10
    at = b.add("fc", InnerProduct(weight, torch.tensor([-3.0, 3.0, 9.0])), [b.input], "fc")
    at = b.add("relu6", Pointwise(nn.ReLU6(), "relu6"), [at], "relu6")
    network = b.build("heads", at).to(dtype=torch.float64)
    fc, heads = (climb(network, layer, [style(max_iter=2, start_image="mean")]) for layer in ("fc", "relu6"))
    assert fc.status.tolist() == [OK, OK, OK]
    assert heads.status.tolist() == [OK, OK, ZERO_GRADIENT]
    np.testing.assert_array_equal(heads.last.pixels[:2], fc.last.pixels[:2])
    np.testing.assert_allclose(heads.last.activation_float[:2, 0], fc.last.activation_float[:2, 0].clip(0, 6))
