"""Regularized gradient ascent: the images, found from noise, that excite units most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import torch

from pipeline.methods.climb import NAN, OK, ZERO_GRADIENT, Climb, climb
from pipeline.methods.micro_batches import run_batches
from pipeline.methods.starts import StartKey, start_image
from pipeline.nets.cone import Cone
from pipeline.settings import AscentSettings, StyleSettings

MISSING, NEVER_ACTIVE = 0, 4  # further states of an item, as stored
WORTH = {MISSING: 0, ZERO_GRADIENT: 1, NAN: 1, NEVER_ACTIVE: 2, OK: 3}  # a fresh start replaces what is worth less


@dataclass(frozen=True)
class Item:
    """One ascent: a unit, in a style, from the start of one sample."""

    unit: int
    style: StyleSettings
    sample: int


@dataclass(frozen=True)
class AscentResult:
    """What became of the items, in their order; axes as named.

    pixels : uint8 (item, y, x, rgb). activation : float32 (item,), of those pixels, measured again after rounding.
    activation_float : float32 (item,), of the image before rounding. best_step : int32 (item,), the iteration it is
    from. status : uint8 (item,): 0 missing, 1 ok, 2 zero_gradient, 3 nan, 4 never_active. attempt : uint8 (item,),
    which fresh start it is from, 0 the first. trace : float32 (item, point), activations of the climb;
    trace_steps : int32 (item, point), their iterations, −1 (and a trace of NaN) beyond the end of a short climb.
    halved : how often the micro-batch was halved because the device was out of memory.
    Of an item that ended as zero_gradient or nan, the pixels are zero, activations and trace NaN, best_step −1.
    """

    pixels: np.ndarray
    activation: np.ndarray
    activation_float: np.ndarray
    best_step: np.ndarray
    status: np.ndarray
    attempt: np.ndarray
    trace: np.ndarray
    trace_steps: np.ndarray
    halved: int


def ascend(
    cone: Cone,
    items: Sequence[Item],
    *,
    layer: str,
    seed: int,
    settings: AscentSettings,
    batch: int,
    device: torch.device,
) -> AscentResult:
    """Climb with every item, `batch` at a time, on the cone's device.

    What is ascended is the value of the cone's layer itself, before any ReLU above it. Micro-batches have one
    shape: the last is filled up with repeats. Items climb with others of their style as far as possible. Those whose
    gradient is zero, that are not a number, or that never switch on a unit behind a ReLU get fresh starts, in
    micro-batches of the same shape. Styles of one iteration climb nowhere and count as ok whatever the unit says.
    Raises torch.cuda.OutOfMemoryError when a micro-batch of one item does not fit.
    """
    result = _empty(cone, items, settings)
    waiting = sorted(range(len(items)), key=lambda at: (items[at].style.max_iter, astuple(items[at].style)))
    halved = 0
    for attempt in range(settings.fresh_starts + 1):

        def run(chosen: Sequence[int], batch: int, attempt: int = attempt) -> AscentResult:
            keys = [_key(items[at], layer, seed, attempt) for at in chosen]
            return _micro_batch(cone, [items[at] for at in chosen], keys, settings, batch, device)

        def keep(chosen: Sequence[int], outcome: AscentResult, attempt: int = attempt) -> None:
            _keep(result, chosen, outcome, attempt)

        batch, more = run_batches(waiting, batch, run, keep)
        halved += more
        waiting = [at for at in waiting if result.status[at] != OK]
    return replace(result, halved=halved)


def trace_points(max_iter: int, points: int) -> np.ndarray:
    """The iterations that a trace keeps, int32 (point,): evenly spread, first and last among them, −1 for none."""
    steps = np.full(points, -1, np.int32)
    kept = np.unique(np.rint(np.linspace(0, max_iter - 1, min(points, max_iter))).astype(np.int32))
    steps[: len(kept)] = kept
    return steps


def _empty(cone: Cone, items: Sequence[Item], settings: AscentSettings) -> AscentResult:
    count, window = len(items), cone.window
    return AscentResult(
        pixels=np.zeros((count, window.height, window.width, 3), np.uint8),
        activation=np.full(count, np.nan, np.float32),
        activation_float=np.full(count, np.nan, np.float32),
        best_step=np.full(count, -1, np.int32),
        status=np.full(count, MISSING, np.uint8),
        attempt=np.zeros(count, np.uint8),
        trace=np.full((count, settings.trace_points), np.nan, np.float32),
        trace_steps=_trace_steps(items, settings),
        halved=0,
    )


def _trace_steps(items: Sequence[Item], settings: AscentSettings) -> np.ndarray:
    steps = [trace_points(item.style.max_iter, settings.trace_points) for item in items]
    return np.stack(steps) if steps else np.zeros((0, settings.trace_points), np.int32)


def _key(item: Item, layer: str, seed: int, attempt: int) -> StartKey:
    return StartKey(seed, layer, item.unit, item.style.name, item.sample, attempt)


def _micro_batch(
    cone: Cone,
    items: Sequence[Item],
    keys: Sequence[StartKey],
    settings: AscentSettings,
    batch: int,
    device: torch.device,
) -> AscentResult:
    """The result of one attempt of at most `batch` items, run as exactly `batch`."""
    preprocessing, mean = cone.network.preprocessing, cone.mean
    starts = [
        start_image(key, item.style.start_image, settings.start, preprocessing, cone.window)
        for key, item in zip(keys, items, strict=True)
    ]
    repeats = [*range(len(items)), *[len(items) - 1] * (batch - len(items))]
    dtype = getattr(torch, settings.image_dtype)
    start = torch.from_numpy(np.stack([starts[at] for at in repeats])).to(device, dtype)
    units = torch.tensor([items[at].unit for at in repeats], device=device)
    climbed = climb(
        lambda image: cone.activations(laid_out(image.float()), units),
        start,
        [items[at].style for at in repeats],
        torch.tensor(mean, dtype=dtype, device=device),
    )
    pixels = preprocessing.pixels(climbed.image.cpu().numpy(), mean)
    with torch.no_grad():
        shown = cone.activations(laid_out(torch.from_numpy(preprocessing.centred(pixels, mean)).to(device)), units)
    return _result(cone, items, settings, climbed, pixels, shown.cpu().numpy())


def laid_out(image: torch.Tensor) -> torch.Tensor:
    """The image as a CPU's convolutions like it, the channels of a pixel side by side: a step takes two thirds."""
    return image.contiguous(memory_format=torch.channels_last) if image.device.type == "cpu" else image


def _result(
    cone: Cone,
    items: Sequence[Item],
    settings: AscentSettings,
    climbed: Climb,
    pixels: np.ndarray,
    shown: np.ndarray,
) -> AscentResult:
    """The result of a micro-batch without its repeats, with the failed items blank."""
    count, result = len(items), _empty(cone, items, settings)
    result.status[:] = climbed.ended[:count].cpu().numpy()
    good = result.status == OK
    history = climbed.history[:, :count].cpu().numpy()
    result.pixels[good] = pixels[:count][good]
    result.activation[good] = shown[:count][good]
    result.activation_float[good] = climbed.activation[:count].cpu().numpy()[good]
    result.best_step[good] = climbed.step[:count].cpu().numpy()[good]
    for at in np.flatnonzero(good):
        steps = result.trace_steps[at][result.trace_steps[at] >= 0]
        result.trace[at, : len(steps)] = history[steps, at]
    if cone.gates or cone.rectified:
        climbs = np.array([item.style.direction == "maximize" and item.style.max_iter > 1 for item in items])
        result.status[good & climbs & (result.activation_float <= 0)] = NEVER_ACTIVE
    return result


def _keep(result: AscentResult, chosen: Sequence[int], outcome: AscentResult, attempt: int) -> None:
    """Write an attempt's outcome into the result, where it is worth more than what stands there."""
    for at, to in enumerate(chosen):
        old, new = int(result.status[to]), int(outcome.status[at])
        if WORTH[new] < WORTH[old]:
            continue
        higher = outcome.activation_float[at] > result.activation_float[to]  # false when either is NaN
        if WORTH[new] == WORTH[old] and not higher:
            continue
        for name in ("pixels", "activation", "activation_float", "best_step", "status", "trace"):
            getattr(result, name)[to] = getattr(outcome, name)[at]
        result.attempt[to] = attempt
