"""The one loop of activation maximization: a micro-batch of items climbs together, each with its own setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.climb.parameterization import Setting, Step
from pipeline.climb.transforms import transformed

OK, ZERO_GRADIENT, NAN = 1, 2, 3  # how a climb ended, as stored
ALL_ENDED_EVERY = 16  # iterations between checks whether all items have ended; each check synchronizes a GPU

Evaluation = Callable[[Tensor], tuple[Tensor, Tensor]]  # images → activations (item, member), objective (item,)


@dataclass(frozen=True)
class Iterate:
    """One iterate of every item.

    parameters : (item, …).
    image : (item, channel, row, column), centred; the parameters themselves if those are pixels.
    activation : (item, member).
    step : (item,), iteration of the iterate.
    """

    parameters: Tensor
    image: Tensor
    activation: Tensor
    step: Tensor


@dataclass(frozen=True)
class Climb:
    """The result of a micro-batch's climb.

    last : the last iterate; of an item that stopped, the one at which it stopped.
    best : the iterate with the highest objective among those that may be kept; of an item that stopped before the
        first of those, the one at which it stopped.
    ended : (item,), OK, ZERO_GRADIENT or NAN; the other fields of an item that is not OK are undefined.
    stopped : (item,), the iteration at which no gradient was left after earlier steps; −1 for an item without one.
    history : (iteration, item), the first member's activation. Beyond its end, or where it stopped, an item repeats its
        last one; there are no rows after the iteration at which all items had ended.
    With transforms, `best` is chosen and `history` measured on transformed images. The activations of the two iterates
    are measured on the images themselves.
    """

    last: Iterate
    best: Iterate
    ended: Tensor
    stopped: Tensor
    history: Tensor


@torch.no_grad()
def climb(
    start: Tensor,
    image: Callable[[Tensor], Tensor],
    objective: Evaluation,
    steps: Step,
    settings: Sequence[Setting],
    *,
    seed: int,
    bound: Callable[[Tensor], None] = lambda parameters: None,
) -> Climb:
    """Climb from start parameters, with one setting per item.

    start : (item, …).
    image : parameters → centred images (item, channel, row, column), differentiable.
    objective : images → activations (item, member) and what is maximized (item,), differentiable.
    steps : the update, see `Parameterization.steps`.
    seed : seed of the transforms.
    bound : clips parameters to their range, in place.

    An iteration bounds the parameters, evaluates, keeps the iterate if it is the best so far, then steps. The last
    iteration of an item only evaluates, and does so without transforms.
    An item whose gradient is zero before its first step fails. One whose gradient is zero later stops there: neither
    steps nor regularizers move it any more, and it keeps its best iterate so far. With transforms, one shift may switch
    a unit off and the next one on again, so such an item never stops, and fails if its gradient is zero in every
    iteration. An item fails, whatever it had reached, when its values are not finite, because then the network or the
    setting is at fault. Items do not affect one another.
    Source: Yosinski et al. 2015, section 3, and Nguyen et al. 2016, Eq. 1; order of operations of the authors'
    programs.
    """
    parameters, device = start.clone(), start.device
    first_kept, last = (
        torch.tensor([getattr(one, name) for one in settings], device=device) for name in ("first_kept", "iterations")
    )
    last = last - 1
    transforms = [one.transforms for one in settings]
    changed = torch.tensor([bool(asked) for asked in transforms], device=device)
    ended, stopped = torch.full_like(last, OK), torch.full_like(last, -1)
    stuck = changed & (last > 0)  # with transforms: the gradient was zero in every iteration so far
    best, height = None, torch.full(start.shape[:1], -torch.inf, dtype=start.dtype, device=device)
    history = []
    for iteration in range(int(last.max()) + 1):
        bound(parameters)
        moves = iteration < last
        moving = [iteration < one.iterations - 1 for one in settings]
        asked = [one if moved else {} for one, moved in zip(transforms, moving, strict=True)]
        now, total, gradient = _evaluate(parameters, image, objective, any(moving), asked, seed, iteration)
        best = replace(now, step=torch.full_like(now.step, -1)) if best is None else best
        history.append(now.activation[:, 0])
        value = total.to(height.dtype)
        climbing = (ended == OK) & (stopped < 0) & (iteration <= last)
        better = climbing & (value > height) & (first_kept <= iteration)
        finite, flat = judged(total, gradient, moves)
        flat &= finite & climbing
        stuck &= flat | ~moves
        ended = torch.where(climbing & ~finite, NAN, ended)
        if iteration == 0:
            ended = torch.where(flat & ~changed, ZERO_GRADIENT, ended)
        else:
            stops = flat & ~changed
            stopped = torch.where(stops, iteration, stopped)
            better |= stops & (best.step < 0)  # none was kept before
        best = _replaced(best, now, better)
        height = torch.where(better, value, height)
        going = (ended == OK) & (stopped < 0) & moves
        if not any(moving) or (iteration % ALL_ENDED_EVERY == 0 and not bool(going.any())):
            break
        parameters = _chosen(going, steps(parameters, gradient, value, iteration), parameters)
    assert best is not None  # every item has at least one iteration
    if any(transforms):
        ended = torch.where(stuck & (ended == OK), ZERO_GRADIENT, ended)
        best = replace(best, activation=objective(best.image)[0])
    step = torch.where(stopped < 0, torch.minimum(now.step, last), stopped)
    return Climb(replace(now, step=step), best, ended, stopped, torch.stack(history))


def judged(value: Tensor, gradient: Tensor | None, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the values of each item are finite, and whether its gradient is zero, (item,) each.

    value : (item,), the objective.
    gradient : (item, …), or None where no item needs one.
    moves : (item,), whether the item has an update ahead and so needs a gradient.
    """
    finite, flat = value.isfinite(), torch.zeros_like(moves)
    if gradient is not None:
        entries = gradient.flatten(1)
        lowest, highest = entries.amin(dim=1), entries.amax(dim=1)  # exact; squares of small entries underflow
        finite = finite & ((lowest.isfinite() & highest.isfinite()) | ~moves)
        flat = (lowest == 0) & (highest == 0) & moves
    return finite, flat


def _evaluate(
    parameters: Tensor,
    image: Callable[[Tensor], Tensor],
    objective: Evaluation,
    moves: bool,
    asked: Sequence[Mapping[str, float]],
    seed: int,
    iteration: int,
) -> tuple[Iterate, Tensor, Tensor | None]:
    """The iterate, its objective and, if any item has an update ahead, the gradient with respect to the parameters.

    The image of the iterate is not transformed.
    """
    steps = torch.full(parameters.shape[:1], iteration, device=parameters.device)
    if not moves:
        drawn = image(parameters)
        value, total = objective(drawn)
        return Iterate(parameters, drawn, value, steps), total, None
    with torch.enable_grad():
        leaf = parameters.detach().requires_grad_()
        drawn = image(leaf)
        value, total = objective(transformed(drawn, asked, seed, iteration))
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
    shown = parameters if drawn is leaf else drawn.detach()
    return Iterate(parameters, shown, value.detach(), steps), total.detach(), gradient


def _replaced(best: Iterate, now: Iterate, better: Tensor) -> Iterate:
    """`now` where it is better, else `best`."""
    parameters, activation, step = (
        _chosen(better, getattr(now, name), getattr(best, name)) for name in ("parameters", "activation", "step")
    )
    image = parameters if now.image is now.parameters else _chosen(better, now.image, best.image)
    return Iterate(parameters, image, activation, step)


def _chosen(where: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The values of `new` (item, …) for the items marked in `where` (item,), of `old` for the others; or either itself.

    A look at the marks would make a GPU wait; a CPU saves copies of all images by it.
    """
    if where.device.type == "cpu":
        if bool(where.all()):
            return new
        if not bool(where.any()):
            return old
    return torch.where(where.reshape(-1, *[1] * (new.dim() - 1)), new, old)
