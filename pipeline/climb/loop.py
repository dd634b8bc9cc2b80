"""The one loop of activation maximization: a micro-batch of items climbs together, each with its own setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.climb.parameterization import Setting, Step
from pipeline.climb.transforms import transformed

OK, ZERO_GRADIENT, NAN = 1, 2, 3  # how a climb ended, as stored
ALL_FAILED_EVERY = 16  # iterations between checks whether all items have failed; each check synchronizes a GPU

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

    last : the last iterate.
    best : the iterate with the highest objective among those that may be kept.
    ended : (item,), OK, ZERO_GRADIENT or NAN; the other fields of an item that is not OK are undefined.
    history : (iteration, item), the first member's activation; beyond its end, an item repeats its last one.
    With transforms, `best` is chosen and `history` measured on transformed images. The activations of the two iterates
    are measured on the images themselves.
    """

    last: Iterate
    best: Iterate
    ended: Tensor
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
    iteration of an item only evaluates, and does so without transforms. An item fails for good when its gradient is
    zero or its values are not finite. With transforms, a zero gradient is a failure only if it is zero in every
    iteration, because one shift may switch a unit off and the next one on again. Items do not affect one another.
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
    ended = torch.full_like(last, OK)
    stuck = changed & (last > 0)  # with transforms: the gradient was zero in every iteration so far
    best, height = None, torch.full(start.shape[:1], -torch.inf, dtype=start.dtype, device=device)
    history = []
    for iteration in range(int(last.max()) + 1):
        bound(parameters)
        moves = iteration < last
        moving = [iteration < one.iterations - 1 for one in settings]
        asked = [one if moved else {} for one, moved in zip(transforms, moving, strict=True)]
        now, total, gradient = _evaluate(parameters, image, objective, any(moving), asked, seed, iteration)
        history.append(now.activation[:, 0])
        value = total.to(height.dtype)
        better = (value > height) & (first_kept <= iteration) & (iteration <= last)
        best = _replaced(_copied(now) if best is None else best, now, better)
        height = torch.where(better, value, height)
        ended = judged(ended, total, gradient, moves)
        if any(transforms):
            flat = (ended == ZERO_GRADIENT) & changed
            stuck &= flat | ~moves
            ended = torch.where(flat, OK, ended)
        if not any(moving) or (iteration % ALL_FAILED_EVERY == 0 and bool((ended != OK).all())):
            break
        parameters = steps(parameters, gradient, value, iteration)
    assert best is not None  # every item has at least one iteration
    if any(transforms):
        ended = torch.where(stuck & (ended == OK), ZERO_GRADIENT, ended)
        best = replace(best, activation=objective(best.image)[0])
    return Climb(now, best, ended, torch.stack(history))


def judged(ended: Tensor, value: Tensor, gradient: Tensor | None, moves: Tensor) -> Tensor:
    """The state of each item after an iteration, (item,); the first failure is kept.

    ended : (item,), the state before.
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
    now = torch.where(finite, torch.where(flat, ZERO_GRADIENT, OK), NAN)
    return torch.where(ended == OK, now, ended)


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


def _copied(now: Iterate) -> Iterate:
    """A copy of the iterate, because a step may overwrite the parameters."""
    parameters = now.parameters.clone()
    image = parameters if now.image is now.parameters else now.image
    return Iterate(parameters, image, now.activation, torch.full_like(now.step, -1))


def _replaced(best: Iterate, now: Iterate, better: Tensor) -> Iterate:
    """`now` where it is better, else `best`, whose parameters are overwritten in place."""

    def chosen(new: Tensor, old: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.where(better.reshape(-1, *[1] * (new.dim() - 1)), new, old, out=out)

    parameters = chosen(now.parameters, best.parameters, out=best.parameters)
    image = parameters if now.image is now.parameters else chosen(now.image, best.image)
    return Iterate(parameters, image, chosen(now.activation, best.activation), torch.where(better, now.step, best.step))
