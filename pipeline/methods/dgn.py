"""DGN-AM: the codes of a learned generator, found by ascent, whose images excite units most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.methods.ascent import MISSING, NEVER_ACTIVE, WORTH, laid_out, trace_points
from pipeline.methods.climb import OK
from pipeline.methods.code_climb import CodeClimb, climb_codes
from pipeline.methods.code_starts import CodeKey, CodeRange, start_code
from pipeline.methods.decoder import Decoder
from pipeline.methods.micro_batches import run_batches
from pipeline.methods.objective import NOBODY, Objective
from pipeline.nets.cone import Cone
from pipeline.search_records import Members
from pipeline.search_settings import SearchSettings

_KEPT = ("pixels", "best_pixels", "code", "best_code", "activation", "activation_float", "best_activation",
         "best_activation_float", "best_step", "status", "trace")  # fmt: skip


@dataclass(frozen=True)
class SearchItem:
    """One search: units of a layer with their weights, from the start of one sample."""

    members: Members
    sample: int

    @property
    def words(self) -> str:
        """The units in words: what starts are drawn for."""
        return "+".join(str(unit) if weight == 1 else f"{weight:g}*{unit}" for unit, weight in self.members)


@dataclass(frozen=True)
class Searched:
    """What became of the items, in their order; axes as named. last : the last iterate's; best : that of the highest
    objective.

    pixels, best_pixels : uint8 (item, y, x, rgb). code, best_code : float32 (item, entry). activation,
    best_activation : float32 (item, member), of those pixels, measured again after rounding; activation_float,
    best_activation_float : of the images before rounding; NaN beyond an item's last member. best_step : int32 (item,).
    status, attempt : uint8 (item,), as in AscentResult. trace : float32 (item, point), the first member's activation;
    trace_steps : int32 (point,). halved : how often the micro-batch was halved because the device was out of memory.
    Of an item that ended as zero_gradient or nan, pixels are zero, codes and activations NaN, best_step −1.
    """

    pixels: np.ndarray
    best_pixels: np.ndarray
    code: np.ndarray
    best_code: np.ndarray
    activation: np.ndarray
    activation_float: np.ndarray
    best_activation: np.ndarray
    best_activation_float: np.ndarray
    best_step: np.ndarray
    status: np.ndarray
    attempt: np.ndarray
    trace: np.ndarray
    trace_steps: np.ndarray
    halved: int

    @property
    def code_norm(self) -> np.ndarray:
        """L2 norm of the last iterate's code, float32 (item,)."""
        return np.linalg.norm(self.code.astype(np.float64), axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Search:
    """What all items of a run share. name : of the search. balance : γ of the objective. image_code : (entry,), of the
    start image, or None."""

    name: str
    settings: SearchSettings
    seed: int
    known: CodeRange
    balance: float
    image_code: np.ndarray | None


def search_codes(
    cone: Cone,
    decode: Decoder,
    items: Sequence[SearchItem],
    search: Search,
    *,
    batch: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Searched:
    """Search with every item, `batch` at a time, on the cone's device.

    cone : of the units' layer. decode : to its window. Micro-batches have one shape: the last is filled up with
    repeats. Items whose gradient is zero, that are not a number, or that never switch on a unit behind a ReLU get
    fresh starts. Searches of one iteration climb nowhere and count as ok whatever the unit says.
    Raises torch.cuda.OutOfMemoryError when a micro-batch of one item does not fit.
    """
    most = max((len(item.members) for item in items), default=1)
    result = _empty(cone, len(items), search, most)
    waiting, halved = list(range(len(items))), 0
    for attempt in range(search.settings.fresh_starts + 1 if search.settings.drawn else 1):

        def run(chosen: Sequence[int], batch: int, attempt: int = attempt) -> Searched:
            return _micro_batch(cone, decode, [items[at] for at in chosen], search, most, attempt, batch, device, dtype)

        def keep(chosen: Sequence[int], outcome: Searched, attempt: int = attempt) -> None:
            _keep(result, chosen, outcome, attempt)

        batch, more = run_batches(waiting, batch, run, keep)
        halved += more
        waiting = [at for at in waiting if result.status[at] != OK]
    return replace(result, halved=halved)


def _empty(cone: Cone, count: int, search: Search, members: int) -> Searched:
    window, settings = cone.window, search.settings
    pixels = np.zeros((count, window.height, window.width, 3), np.uint8)
    code = np.full((count, search.known.mean.size), np.nan, np.float32)
    activation = np.full((count, members), np.nan, np.float32)
    return Searched(
        pixels=pixels,
        best_pixels=pixels.copy(),
        code=code,
        best_code=code.copy(),
        activation=activation,
        activation_float=activation.copy(),
        best_activation=activation.copy(),
        best_activation_float=activation.copy(),
        best_step=np.full(count, -1, np.int32),
        status=np.full(count, MISSING, np.uint8),
        attempt=np.zeros(count, np.uint8),
        trace=np.full((count, settings.trace_points), np.nan, np.float32),
        trace_steps=trace_points(settings.iterations, settings.trace_points),
        halved=0,
    )


def _micro_batch(
    cone: Cone,
    decode: Decoder,
    items: Sequence[SearchItem],
    search: Search,
    members: int,
    attempt: int,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Searched:
    """The result of one attempt of at most `batch` items, run as exactly `batch`."""
    settings, known = search.settings, search.known
    codes = [start_code(_key(item, cone, search, attempt), settings, known, search.image_code) for item in items]
    repeats = [*range(len(items)), *[len(items) - 1] * (batch - len(items))]
    start = torch.from_numpy(np.stack([codes[at] for at in repeats])).to(device, dtype)
    spare = [(NOBODY, 0.0)] * members
    padded = [(*items[at].members, *spare)[:members] for at in repeats]
    units, weights = ([[member[part] for member in row] for row in padded] for part in (0, 1))
    objective = Objective(cone, units, weights, search.balance, device)
    bounds = known.bounds(settings)
    climbed = climb_codes(
        decode,
        lambda image: objective(laid_out(image)),
        start,
        None if bounds is None else tuple(torch.from_numpy(bound).to(device, dtype) for bound in bounds),
        settings,
        known.unit(settings),
        search.seed,
    )
    return _result(cone, len(items), search, members, climbed, objective)


def _key(item: SearchItem, cone: Cone, search: Search, attempt: int) -> CodeKey:
    return CodeKey(search.seed, cone.layer.name, item.words, search.name, item.sample, attempt)


def _result(cone: Cone, count: int, search: Search, members: int, climbed: CodeClimb, objective: Objective) -> Searched:
    """The result of a micro-batch without its repeats, with the failed items blank."""
    result, preprocessing = _empty(cone, count, search, members), cone.network.preprocessing
    result.status[:] = climbed.ended[:count].cpu().numpy()
    good = result.status == OK
    for prefix, iterate in (("", climbed.last), ("best_", climbed.best)):
        image = iterate.image.nan_to_num()  # of items that have failed
        pixels = preprocessing.pixels(image.cpu().numpy(), cone.mean)
        centred = torch.from_numpy(preprocessing.centred(pixels, cone.mean)).to(image)
        with torch.no_grad():
            shown, _ = objective(laid_out(centred))
        for name, values in (
            ("pixels", pixels),
            ("code", iterate.code.cpu().numpy()),
            ("activation", shown.cpu().numpy()),
            ("activation_float", iterate.activation.cpu().numpy()),
        ):
            getattr(result, f"{prefix}{name}")[good] = values[:count][good]
    result.best_step[good] = climbed.best.step[:count].cpu().numpy()[good]
    history = climbed.history[:, :count].cpu().numpy()
    steps = result.trace_steps[result.trace_steps >= 0]
    for at in np.flatnonzero(good):
        result.trace[at, : len(steps)] = history[steps, at]
    if (cone.gates or cone.rectified) and search.settings.iterations > 1:
        off = ~(np.nan_to_num(result.best_activation_float, nan=-np.inf).max(axis=1) > 0)
        result.status[good & off] = NEVER_ACTIVE
    return result


def _keep(result: Searched, chosen: Sequence[int], outcome: Searched, attempt: int) -> None:
    """Write an attempt's outcome into the result, where it is worth more than what stands there."""
    for at, to in enumerate(chosen):
        old, new = int(result.status[to]), int(outcome.status[at])
        if WORTH[new] < WORTH[old]:
            continue
        higher = outcome.best_activation_float[at, 0] > result.best_activation_float[to, 0]  # false if either is NaN
        if WORTH[new] == WORTH[old] and not higher:
            continue
        for name in _KEPT:
            getattr(result, name)[to] = getattr(outcome, name)[at]
        result.attempt[to] = attempt
