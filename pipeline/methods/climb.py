"""The inner loop of gradient ascent: one micro-batch of images climbs together, each in its own style."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.methods.rates import step_rates
from pipeline.methods.regularizers import clip_range, regularize
from pipeline.settings import StyleSettings

OK, ZERO_GRADIENT, NAN = 1, 2, 3  # how a climb ended, as stored
ALL_FAILED_EVERY = 16  # iterations between looks at whether anything still climbs: on a GPU a look is a wait


@dataclass(frozen=True)
class Climb:
    """What a micro-batch's climb left: the kept image of every item and how it came about.

    image : (item, channel, row, column). activation, step : (item,) of that image. ended : (item,), OK,
    ZERO_GRADIENT or NAN; the other fields of an item that is not OK mean nothing.
    history : (iteration, item), the activation in every iteration; an item repeats its last beyond its own end.
    """

    image: Tensor
    activation: Tensor
    step: Tensor
    ended: Tensor
    history: Tensor


@dataclass(frozen=True)
class _Group:
    """Neighbouring items of one style."""

    style: StyleSettings
    items: slice


@torch.no_grad()
def climb(
    activations: Callable[[Tensor], Tensor], start: Tensor, styles: Sequence[StyleSettings], mean: Tensor
) -> Climb:
    """Climb from the start images, one style an item; equal styles stand together.

    activations : images (item, channel, row, column) → (item,), differentiable. start : centred images; mean :
    the mean image (channel, row, column); both of one dtype, which the climb keeps.

    An iteration clips to valid pixels, evaluates, keeps the image if it is the best so far, then steps along the
    gradient and regularizes; an item's last iteration only evaluates. An item whose gradient is zero, or that is
    not a number any more, has failed for good: what becomes of its image is of no interest, and nothing here acts
    across items.
    Source: Yosinski et al. 2015, section 3; order of operations of the authors' program.
    """
    groups = _groups(styles)
    sign, first_kept, last = (
        torch.tensor([value(style) for style in styles], device=start.device) for value in (_sign, _first_kept, _last)
    )
    image = start.clone()
    kept, kept_step = start.clone(), torch.full_like(last, -1)
    height = torch.full(start.shape[:1], -torch.inf, dtype=start.dtype, device=start.device)  # of what is kept
    ended = torch.full_like(last, OK)
    history = []
    for iteration in range(int(last.max()) + 1):
        clip_range(image, mean, out=image)
        moving = [group for group in groups if iteration < group.style.max_iter - 1]
        value, gradient = _evaluate(activations, image, sign if moving else None)
        history.append(value)
        objective = sign * value.to(height.dtype)
        better = (objective > height) & (first_kept <= iteration) & (iteration <= last)
        torch.where(better[:, None, None, None], image, kept, out=kept)
        height = torch.where(better, objective, height)
        kept_step = torch.where(better, iteration, kept_step)
        ended = judged(ended, value, gradient, iteration < last)
        if iteration % ALL_FAILED_EVERY == 0 and bool((ended != OK).all()):
            break
        for group in moving:
            at, slope = image[group.items], gradient[group.items]
            rate = step_rates(group.style, slope, objective[group.items], iteration)
            at.addcmul_(slope, rate[:, None, None, None])
            at.copy_(regularize(at, slope, group.style, iteration))
    return Climb(kept, sign * height, kept_step, ended, torch.stack(history))


def _evaluate(
    activations: Callable[[Tensor], Tensor], image: Tensor, sign: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Activations and, given signs, the gradients of sign · activation."""
    if sign is None:
        return activations(image), None
    with torch.enable_grad():
        leaf = image.detach().requires_grad_()
        value = activations(leaf)
        (gradient,) = torch.autograd.grad(value, leaf, grad_outputs=sign.to(value.dtype))
    return value.detach(), gradient


def judged(ended: Tensor, value: Tensor, gradient: Tensor | None, moves: Tensor) -> Tensor:
    """How each item stands after an iteration; the first failure is the one that counts.

    moves : (item,), whether the item has an update ahead and so needs a gradient.
    """
    finite, flat = value.isfinite(), torch.zeros_like(moves)
    if gradient is not None:
        entries = gradient.flatten(1)
        lowest, highest = entries.amin(dim=1), entries.amax(dim=1)  # exact, where squares of small ones vanish
        finite = finite & ((lowest.isfinite() & highest.isfinite()) | ~moves)
        flat = (lowest == 0) & (highest == 0) & moves
    now = torch.where(finite, torch.where(flat, ZERO_GRADIENT, OK), NAN)
    return torch.where(ended == OK, now, ended)


def _groups(styles: Sequence[StyleSettings]) -> list[_Group]:
    groups, start = [], 0
    for style, items in itertools.groupby(styles):
        stop = start + len(list(items))
        groups.append(_Group(style, slice(start, stop)))
        start = stop
    return groups


def _sign(style: StyleSettings) -> int:
    return style.sign


def _last(style: StyleSettings) -> int:
    return style.max_iter - 1


def _first_kept(style: StyleSettings) -> int:
    return style.keep_from if style.keep == "best" else _last(style)
