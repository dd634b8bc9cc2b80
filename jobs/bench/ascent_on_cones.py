"""Micro-batched ascent on the cone against the original's loop and other programs, which pass whole single images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.bench.others import other_programs
from jobs.bench.shapes import shaped
from jobs.console import compose_config
from jobs.request import read_device, read_settings
from pipeline.climb.attempts import Climbed, Item, climb_items
from pipeline.costs import PASSES_PER_STEP
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network
from pipeline.resources import computes_bf16
from pipeline.settings import DeviceSettings
from pipeline.task import Sizes

QUESTION = (
    "unit-steps per CPU second of one thread, low_frequency, the planner's micro-batches; a layer's rates in turn, "
    "beside those of lucent and torch-dreams where they are installed"
)
CAFFENET = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
FEW_LAYERS = ("conv1", "conv2", "conv3", "conv5", "fc8")  # of the short form
LARGER = {  # only the long form measures them
    "googlenet": ("conv2/3x3", "inception_3b/output", "inception_4c/output", "inception_5b/output", "loss3/classifier"),
    "resnet50": ("res2c", "res3d", "res4f", "res5c", "fc1000"),
}
ITERATIONS = 120  # of a climb, whose start and measurements count too
STEPS = 4  # that are timed, of which one blurs
OTHER_STEPS = 3  # of another program, in one call
CPU = torch.device("cpu")


def measure(short: bool) -> Figures:
    """Measure every layer in float32 and, where it climbs so, in bf16; ratios are medians of pairs."""
    torch.set_num_threads(1)
    config = compose_config("atlas", [])
    style = read_settings(StyleSettings, config.style.low_frequency, "style")
    settings = read_settings(AscentSettings, config.ascent, "ascent")
    device, figures, peaks = read_device(config, "cpu"), Figures(), {}
    for precision in precisions(device, 1 << 60):
        peaks[precision] = convolution_peak(precision)
        figures.add(f"peak of a convolution, {precision}", peaks[precision] / 1e9, "billion multiply-accumulates/s")
    for name, layers in ({"caffenet": FEW_LAYERS} if short else {"caffenet": CAFFENET, **LARGER}).items():
        network = shaped(name)
        others = other_programs(network)
        for layer in layers:
            cone = layer_cone(network, layer, "window")
            batches = {
                one: micro_batch(device, cone.macs(), cone.map_bytes(), network.layer(layer).channels, one)
                for one in precisions(device, cone.macs())
            }
            pixels = Pixels(cone, layer, 0, settings)

            def climbed(
                precision: str, iterations: int, batch: int | None = None, cone=cone, batches=batches, pixels=pixels
            ) -> Climbed:
                batch = batches[precision] if batch is None else batch
                items = [Item(((unit, 1.0),), 0, replace(style, max_iter=iterations)) for unit in range(batch)]
                return climb_items(
                    cone, pixels, items, fresh_starts=0, trace_points=settings.trace_points, batch=batch, device=CPU,
                    last=False, lowered=precision == "bf16",
                )  # fmt: skip

            compare(
                figures, layer if name == "caffenet" else f"{name} {layer}", batches, climbed,
                partial(original_loop, network, layer, 0, 1),
                macs_of_a_step(partial(climbed, "float32", batch=1), 1), peaks, runs_of(name, short),
                {other: partial(step, layer, OTHER_STEPS) for other, step in others.items()},
            )  # fmt: skip
    return figures


def runs_of(name: str, short: bool) -> int:
    """In how many turns a network's layers are measured: the larger ones in few, so that the long form ends in time."""
    return 3 if short or name in LARGER else 5


def precisions(device: DeviceSettings, macs: int) -> tuple[str, ...]:
    """The precisions to measure: float32, and bf16 if auto takes it here for so many multiply-accumulates."""
    lowered = device.precision("bf16", macs) if computes_bf16("cpu", fast=True) else "float32"
    return tuple(dict.fromkeys(("float32", lowered)))


def micro_batch(device: DeviceSettings, macs: int, maps: float, units: int, precision: str) -> int:
    """The planner's micro-batch. macs, maps : multiply-accumulates and float32 bytes of an item's forward pass."""
    return Sizes.of(device, PASSES_PER_STEP * macs * ITERATIONS, maps, precision).batch_of(units)


def compare(
    figures: Figures,
    layer: str,
    batches: Mapping[str, int],
    climbed: Callable[[str, int], Climbed],
    one_step: Callable[[], object],
    step_macs: float,
    peaks: dict[str, float],
    runs: int,
    others: Mapping[str, Callable[[], object]] = MappingProxyType({}),
) -> None:
    """Add the figures of a layer.

    batches : precision → items of a micro-batch, float32 first.
    climbed : precision, iterations → the climb of a micro-batch.
    one_step : a step of one image, as the authors' program does it.
    step_macs : multiply-accumulates of a step of an item, forward and backward.
    peaks : precision → multiply-accumulates a second of a convolution.
    runs : turns.
    others : name of another program → OTHER_STEPS steps of one image.
    """
    works = [partial(climbed, one, iterations) for one in batches for iterations in (1, 1 + STEPS)]
    for work in (*works[::2], one_step, *others.values()):  # a full round would take as long as one that counts
        work()
    taken = seconds_in_turn(runs, *works, one_step, *others.values(), clock=time.process_time, warm=True)
    ours, theirs = taken[: len(works)], taken[len(works)]
    beside = {
        name: [each / OTHER_STEPS for each in seconds]
        for name, seconds in zip(others, taken[len(works) + 1 :], strict=True)
    }
    full: dict[str, list[float]] = {}
    for place, (one, batch) in enumerate(batches.items()):
        ends, some = ours[2 * place], ours[2 * place + 1]  # a climb of one iteration has the start and the measurements
        steady = [max(0.0, (b - a) / STEPS) for a, b in zip(ends, some, strict=True)]
        full[one] = [(a + (ITERATIONS - 1) * b) / (ITERATIONS * batch) for a, b in zip(ends, steady, strict=True)]
        rates = [1 / each for each in full[one]]
        words = f"{layer}, micro-batch of {batch}, {one}"
        figures.add_median(words, rates, "unit-steps/s")
        figures.add(f"{words}, to one image at a time", median_ratio(theirs, full[one]), "times")
        for name, seconds in beside.items():
            figures.add(f"{words}, to {name}", median_ratio(seconds, full[one]), "times")
        figures.add(f"{words}, share of the peak", 100 * statistics.median(rates) * step_macs / peaks[one], "%")
    figures.add_median(f"{layer}, one image at a time", [1 / each for each in theirs], "unit-steps/s")
    for name, seconds in beside.items():
        figures.add_median(f"{layer}, {name}", [1 / each for each in seconds], "unit-steps/s")
    if len(full) == 2:
        first, second = batches
        exact, lowered = (climbed(one, 12 if runs < 5 else 60).best.activation_float[:, 0] for one in batches)
        common = min(len(exact), len(lowered))
        figures.add(f"{layer}, {second} to {first}", median_ratio(full[first], full[second]), "times")
        reached = float(np.median(lowered[:common] / exact[:common]))
        figures.add(f"{layer}, activation reached in {second}", reached, f"of {first}'s")


def macs_of_a_step(climbed: Callable[..., object], batch: int) -> float:
    """Multiply-accumulates of a step of an item, as torch counts them: forward, the gradient of the image alone, blurs.

    climbed : iterations → the climb of a micro-batch of `batch` items.
    """
    counts = []
    for iterations in (1, 1 + STEPS):  # a climb of one iteration has the start and the measurements
        with FlopCounterMode(display=False) as counter:
            climbed(iterations)
        counts.append(counter.get_total_flops() / 2)
    return (counts[1] - counts[0]) / (STEPS * batch)


def convolution_peak(precision: str) -> float:
    """Multiply-accumulates a CPU second of a plain large convolution, 3 x 3 with 256 channels, forward."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    image = torch.randn(16, 256, 28, 28, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        (seconds,) = seconds_in_turn(9, lambda: functional.conv2d(image, weight), clock=time.process_time)
    return 16 * 26 * 26 * weight.numel() / min(seconds)


def original_loop(network: Network, layer: str, unit: int, steps: int) -> np.ndarray:
    """Gradient ascent as the authors' program runs it: a full forward pass, fc8 included, backward from the layer.

    Source: Yosinski et al. 2015, the Deep Visualization Toolbox's optimizer, style low_frequency.
    """
    row, column = network.layer(layer).centre
    size = network.preprocessing
    image = np.random.RandomState(0).normal(0, 10, (3, size.height, size.width))
    for step in range(steps):
        image = np.minimum(255.0, np.maximum(0.0, image + size.full_mean)) - size.full_mean
        given = torch.from_numpy(image[None].astype(np.float32)).requires_grad_()
        values = network.run(given, [layer, "prob"])
        value = values[layer][0, unit]
        (gradient,) = torch.autograd.grad(value if value.dim() == 0 else value[row, column], given)
        image = image + 100.0 * gradient[0].numpy()
        image *= 1 - 0.0001
        if step % 4 == 0:
            image = np.stack([gaussian_filter(plane, 1.0) for plane in image])
    return image
