"""Runs items in micro-batches, restarts those that failed, and selects what is kept, for any parameterization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.climb.loop import NAN, OK, ZERO_GRADIENT, Climb, Evaluation, Iterate, climb
from pipeline.climb.objective import NO_UNIT, Objective
from pipeline.climb.parameterization import Parameterization, Setting
from pipeline.climb.seeds import StartKey
from pipeline.nets.cone import Cone
from pipeline.units import Members

MISSING, NEVER_ACTIVE = 0, 4  # further states of an item, as stored
FRESH_BATCH = (
    4  # items of a micro-batch of fresh starts: few items fail, and a full one would be repeats for the most part
)
PREFERENCE = {MISSING: 0, ZERO_GRADIENT: 1, NAN: 1, NEVER_ACTIVE: 2, OK: 3}  # a result replaces one with a lower number


@dataclass(frozen=True)
class Item:
    """One picture to compute: units with their weights, one sample, one setting."""

    members: Members
    sample: int
    setting: Setting

    @property
    def words(self) -> str:
        """The units as text, such as 3+0.5*7."""
        return "+".join(str(unit) if weight == 1 else f"{weight:g}*{unit}" for unit, weight in self.members)


@dataclass(frozen=True)
class Iterates:
    """One iterate of every item. An item that failed has zero pixels, NaN, and step −1.

    pixels : uint8 (item, y, x, rgb).
    parameters : float32 (item, …); empty if the image itself is the parameters.
    activation : float32 (item, member), of those pixels, measured again after rounding; NaN beyond the last member.
    activation_float : float32 (item, member), of the image before rounding.
    step : int32 (item,), iteration of the iterate.
    """

    pixels: np.ndarray
    parameters: np.ndarray
    activation: np.ndarray
    activation_float: np.ndarray
    step: np.ndarray


@dataclass(frozen=True)
class Climbed:
    """The results of the items, in their order.

    last, best : the last iterate, and the one with the highest objective among those that may be kept; see
        `pipeline.climb.loop.Climb` for items that stopped.
    status : uint8 (item,): 0 missing, 1 ok, 2 zero_gradient, 3 nan, 4 never_active.
    attempt : uint8 (item,), number of the start: 0 for the first, then fresh ones.
    stopped : int32 (item,), the iteration at which the climb stopped because no gradient was left; −1 for one that ran
        to its end, and without a picture.
    trace : float32 (item, point), the first member's activation during the climb; NaN beyond its end.
    trace_steps : int32 (item, point), the iterations of the trace; −1 beyond the end.
    halved : how often the micro-batch was halved because the device was out of memory.
    """

    last: Iterates
    best: Iterates
    status: np.ndarray
    attempt: np.ndarray
    stopped: np.ndarray
    trace: np.ndarray
    trace_steps: np.ndarray
    halved: int

    @property
    def shown(self) -> list[bool]:
        """Whether each item has a picture; an item whose unit stayed off still has one."""
        return [status in (OK, NEVER_ACTIVE) for status in self.status.tolist()]


def climb_items(
    cone: Cone,
    parameterization: Parameterization,
    items: Sequence[Item],
    *,
    fresh_starts: int,
    trace_points: int,
    batch: int,
    device: torch.device,
    balance: float = 0.0,
    log_odds: bool = False,
    last: bool = True,
    dtype: torch.dtype = torch.float32,
    lowered: bool = False,
) -> Climbed:
    """Run the climbs of all items, `batch` at a time, on the cone's device.

    Fresh starts run FRESH_BATCH at a time, those of items without a gradient apart from the others: such a micro-batch
    usually ends with its first iteration.

    cone : cone of the units' layer. The objective is the layer's own value, before any ReLU above it.
    fresh_starts : further starts for items whose gradient is zero from the start, whose values are not finite, or whose
        unit stays off behind a ReLU that can switch it off. An item with one iteration only evaluates, and is ok
        whether its unit is on or off.
    trace_points : points kept of each trace.
    batch : items of a micro-batch. All micro-batches of first starts have this shape; the last is padded with repeats.
    balance, log_odds : see `Objective`.
    last : whether the last iterate is wanted besides the best; else it is as that of an item that failed.
    dtype : precision of the network.
    lowered : climb in bfloat16, see `Cone.lowered` and `Parameterization.drawn`. The two iterates that are kept are
        drawn and measured again in `dtype`; the trace is that of the climb.
    Raises torch.cuda.OutOfMemoryError if a micro-batch of one item does not fit.
    """
    members = max((len(item.members) for item in items), default=1)
    climbing = cone.lowered() if lowered else cone
    task = _Task(cone, climbing, parameterization, members, trace_points, balance, log_odds, last, dtype, device)
    result, halved = task.empty(items), 0
    waiting = sorted(range(len(items)), key=lambda at: (items[at].setting.iterations, repr(items[at].setting)))
    for attempt in range(fresh_starts + 1 if parameterization.several_starts else 1):
        size, groups = (batch, [waiting]) if attempt == 0 else (min(batch, FRESH_BATCH), _by_gradient(waiting, result))
        for group in groups:
            done = 0
            while done < len(group):
                chosen = group[done : done + size]
                outcome = task.attempted([items[at] for at in chosen], attempt, size)
                if outcome is None:
                    torch.cuda.empty_cache()
                    size, halved = size // 2, halved + 1
                    continue
                _keep(result, chosen, outcome, attempt)
                done += len(chosen)
        batch = size if attempt == 0 else batch
        waiting = [at for at in waiting if result.status[at] != OK]
    return replace(result, halved=halved)


def trace_steps(iterations: int, points: int) -> np.ndarray:
    """The iterations that a trace keeps, int32 (point,): evenly spaced from first to last; −1 fills the rest."""
    steps = np.full(points, -1, np.int32)
    kept = np.unique(np.rint(np.linspace(0, iterations - 1, min(points, iterations))).astype(np.int32))
    steps[: len(kept)] = kept
    return steps


def channels_last(image: torch.Tensor) -> torch.Tensor:
    """The image in channels_last on a CPU, whose convolutions run about 1.5 times faster on it."""
    return image.contiguous(memory_format=torch.channels_last) if image.device.type == "cpu" else image


def _by_gradient(waiting: Sequence[int], result: Climbed) -> list[list[int]]:
    """The items that wait for a fresh start, those without a gradient apart."""
    without = [at for at in waiting if result.status[at] == ZERO_GRADIENT]
    return [without, [at for at in waiting if result.status[at] != ZERO_GRADIENT]]


@dataclass(frozen=True)
class _Task:
    """What all micro-batches share. cone : on which is measured; climbing : the same cone, on which is climbed."""

    cone: Cone
    climbing: Cone
    parameterization: Parameterization
    members: int
    trace_points: int
    balance: float
    log_odds: bool
    last: bool
    dtype: torch.dtype
    device: torch.device

    @property
    def _kept(self) -> tuple[str, ...]:
        return ("last", "best") if self.last else ("best",)

    def empty(self, items: Sequence[Item]) -> Climbed:
        count, window = len(items), self.cone.window
        steps = [trace_steps(item.setting.iterations, self.trace_points) for item in items]

        def iterates() -> Iterates:
            activation = np.full((count, self.members), np.nan, np.float32)
            return Iterates(
                pixels=np.zeros((count, window.height, window.width, 3), np.uint8),
                parameters=np.full((count, *self.parameterization.kept_shape), np.nan, np.float32),
                activation=activation,
                activation_float=activation.copy(),
                step=np.full(count, -1, np.int32),
            )

        return Climbed(
            last=iterates(),
            best=iterates(),
            status=np.full(count, MISSING, np.uint8),
            attempt=np.zeros(count, np.uint8),
            stopped=np.full(count, -1, np.int32),
            trace=np.full((count, self.trace_points), np.nan, np.float32),
            trace_steps=np.stack(steps) if steps else np.zeros((0, self.trace_points), np.int32),
            halved=0,
        )

    def attempted(self, items: Sequence[Item], attempt: int, batch: int) -> Climbed | None:
        """One attempt of at most `batch` items, padded to `batch`; None if the device is out of memory."""
        try:
            return self._run(items, attempt, batch)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        return None  # the failed call's tensors live until its block is left

    def _run(self, items: Sequence[Item], attempt: int, batch: int) -> Climbed:
        described = self.parameterization
        repeats = [*items, *[items[-1]] * (batch - len(items))]
        starts = [described.start(self._key(item, attempt), item.setting) for item in items]
        start = np.stack([*starts, *[starts[-1]] * (batch - len(items))])
        settings = [item.setting for item in repeats]
        exact = self._evaluation(self.cone, repeats)
        lowered = self.climbing is not self.cone
        climbed = climb(
            torch.from_numpy(start).to(self.device, described.dtype),
            described.drawn if lowered else described.image,
            self._evaluation(self.climbing, repeats) if lowered else exact,
            described.steps(settings, self.device),
            settings,
            seed=described.seed,
            bound=described.bound,
        )
        if lowered and bool((climbed.ended == OK).any()):
            kept = {name: self._measured(getattr(climbed, name), exact) for name in self._kept}
            climbed = replace(climbed, **kept)
        return self._result(items, climbed, exact)

    def _evaluation(self, cone: Cone, items: Sequence[Item]) -> Evaluation:
        """Activations and objectives of images of the items, on a cone."""
        objective = Objective(
            cone,
            [(*item.members, *[(NO_UNIT, 0.0)] * (self.members - len(item.members))) for item in items],
            [item.setting.sign for item in items],
            balance=self.balance,
            log_odds=self.log_odds,
            device=self.device,
        )
        return lambda image: objective(channels_last(image.to(self.dtype)))

    @torch.no_grad()
    def _measured(self, iterate: Iterate, evaluated: Evaluation) -> Iterate:
        """An iterate of a lowered climb, with its image and activation in full precision."""
        image = self.parameterization.image(iterate.parameters)
        return replace(iterate, image=image, activation=evaluated(image)[0])

    def _key(self, item: Item, attempt: int) -> StartKey:
        described, ((unit, weight), *others) = self.parameterization, item.members
        single = described.starts_by_number and weight == 1 and not others
        drawn_for, name = unit if single else item.words, item.setting.name
        return StartKey(described.seed, described.layer, drawn_for, name, item.sample, attempt)

    def _result(self, items: Sequence[Item], climbed: Climb, evaluated: Evaluation) -> Climbed:
        """The result of a micro-batch without its repeats, with the failed items blank."""
        count, result = len(items), self.empty(items)
        result.status[:] = climbed.ended[:count].cpu().numpy()
        good = result.status == OK
        if not good.any():
            return result
        preprocessing, mean = self.cone.network.preprocessing, self.cone.mean
        for name in self._kept:
            into, iterate = getattr(result, name), getattr(climbed, name)
            image = iterate.image.nan_to_num()  # failed items may hold NaN
            pixels = preprocessing.pixels(image.cpu().numpy(), mean)
            with torch.no_grad():
                shown, _ = evaluated(torch.from_numpy(preprocessing.centred(pixels, mean)).to(image))
            values = {
                "pixels": pixels,
                "activation": shown.cpu().numpy(),
                "activation_float": iterate.activation.cpu().numpy(),
                "step": iterate.step.cpu().numpy(),
            }
            if self.parameterization.kept_shape != (0,):
                values["parameters"] = iterate.parameters.cpu().numpy()
            for field, array in values.items():
                getattr(into, field)[good] = array[:count][good]
        result.stopped[good] = climbed.stopped[:count].cpu().numpy()[good]
        history = climbed.history[:, :count].cpu().numpy()
        for at in np.flatnonzero(good):
            steps = result.trace_steps[at][result.trace_steps[at] >= 0]
            steps = steps if result.stopped[at] < 0 else steps[steps <= result.stopped[at]]
            result.trace[at, : len(steps)] = history[steps, at]
        if self.cone.gates or self.cone.rectified:
            climbs = np.array([item.setting.sign > 0 and item.setting.iterations > 1 for item in items])
            active = np.nan_to_num(result.best.activation_float, nan=-np.inf).max(axis=1) > 0
            result.status[good & climbs & ~active] = NEVER_ACTIVE
        return result


def _keep(result: Climbed, chosen: Sequence[int], outcome: Climbed, attempt: int) -> None:
    """Copy the outcome of an attempt into the result, for the items for which it is better."""
    for at, to in enumerate(chosen):
        old, new = int(result.status[to]), int(outcome.status[at])
        if PREFERENCE[new] < PREFERENCE[old]:
            continue
        before, after = result.best.activation_float[to, 0], outcome.best.activation_float[at, 0]
        if PREFERENCE[new] == PREFERENCE[old] and not after > before:  # also where either is NaN
            continue
        for kept, new_ones in ((result.last, outcome.last), (result.best, outcome.best), (result, outcome)):
            for name, values in vars(new_ones).items():
                if isinstance(values, np.ndarray):
                    getattr(kept, name)[to] = values[at]
        result.attempt[to] = attempt
