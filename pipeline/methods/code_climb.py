"""The inner loop of DGN-AM: one micro-batch of codes climbs together, through the generator and the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.methods.climb import ALL_FAILED_EVERY, OK, ZERO_GRADIENT, judged
from pipeline.methods.jitter import jittered
from pipeline.search_settings import SearchSettings

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]  # images → (activations (item, member), objective (item,))


@dataclass(frozen=True)
class Iterate:
    """One iterate of every item. code : (item, entry). image : (item, channel, row, column), centred, unclipped.

    activation : (item, member). step : (item,).
    """

    code: Tensor
    image: Tensor
    activation: Tensor
    step: Tensor


@dataclass(frozen=True)
class CodeClimb:
    """What a micro-batch's climb left. best : of the highest objective. ended : (item,), OK, ZERO_GRADIENT or NAN; the
    other fields of an item that is not OK mean nothing. history : (iteration, item), the first member's activation.
    With jitter, best and history are of the images as they were shifted, the activations of both iterates are not.
    """

    last: Iterate
    best: Iterate
    ended: Tensor
    history: Tensor


@torch.no_grad()
def climb_codes(
    decode: Callable[[Tensor], Tensor],
    objective: Objective,
    start: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
    settings: SearchSettings,
    unit: float,
    seed: int,
) -> CodeClimb:
    """Climb from the start codes (item, entry), which are not bounded before they are looked at.

    unit : what step sizes are multiplied by. seed : of the jitter.

    An iteration evaluates and then steps by step · h / mean|h|, h the gradient of objective − λ‖y‖ with respect to the
    code; then it applies the bounds, (entry,) each, and shrinks. The last iteration only evaluates.
    Source: Nguyen et al. 2016, Eq. 1; update and order of operations of the authors' program, whose own normalization
    of the gradient at the image cancels out.
    Departure: an item whose gradient is zero or not a number has failed for good, as in ascent; with jitter, one whose
    gradient is zero in every iteration.
    """
    code = start.clone()
    ended = torch.full(start.shape[:1], OK, device=start.device)
    stuck = torch.ones_like(ended, dtype=torch.bool)  # with jitter: flat in every iteration
    history: list[Tensor] = []
    best, height = None, torch.full_like(start[:, 0], -torch.inf)
    for iteration in range(settings.iterations):
        moves = iteration < settings.iterations - 1
        shift = (settings.jitter if moves else 0.0, seed, iteration)
        image, value, total, slope = _evaluate(decode, objective, code, moves, shift)
        now = Iterate(code, image, value, torch.full_like(ended, iteration))
        better = total > height
        best = now if best is None else _replaced(best, now, better)
        height = torch.where(better, total, height)
        history.append(value[:, 0])
        ended = judged(ended, total, slope, torch.full_like(better, moves))
        if settings.jitter and moves:  # where one shift has switched a unit off, the next may not
            flat = ended == ZERO_GRADIENT
            stuck &= flat
            ended = torch.where(flat, OK, ended)
        if not moves or (iteration % ALL_FAILED_EVERY == 0 and bool((ended != OK).all())):
            break
        code = _stepped(code, slope, unit * step_size(settings, iteration), bounds, settings)
    assert best is not None  # there is at least one iteration
    if settings.jitter:
        ended = torch.where(stuck & (ended == OK) & (settings.iterations > 1), ZERO_GRADIENT, ended)
        best = replace(best, activation=objective(best.image)[0])
    return CodeClimb(now, best, ended, torch.stack(history))


def step_size(settings: SearchSettings, iteration: int) -> float:
    """The mean change of a code's entry at an iteration, in units."""
    return settings.step_start + (settings.step_end - settings.step_start) * iteration / settings.iterations


def _evaluate(
    decode: Callable[[Tensor], Tensor], objective: Objective, code: Tensor, moves: bool, shift: tuple[float, int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Image, activations and objective of the codes and, where they move on, the gradient of the objective.

    shift : the jitter's share, seed and iteration. The image itself is not shifted.
    """
    if not moves:
        image = decode(code)
        return image, *objective(image), None
    with torch.enable_grad():
        leaf = code.detach().requires_grad_()
        image = decode(leaf)
        value, total = objective(jittered(image, *shift))
        (slope,) = torch.autograd.grad(total.sum(), leaf)
    return image.detach(), value.detach(), total.detach(), slope


def _stepped(
    code: Tensor, slope: Tensor, step: float, bounds: tuple[Tensor, Tensor] | None, settings: SearchSettings
) -> Tensor:
    if settings.penalty:
        norm = code.norm(dim=1, keepdim=True)
        slope = slope - settings.penalty * torch.where(norm > 0, code / norm, 0)
    size = slope.abs().mean(dim=1, keepdim=True)
    code = code + torch.where(size > 0, step / size, 0) * slope
    if bounds is not None:
        code = torch.minimum(torch.maximum(code, bounds[0]), bounds[1])
    return code * settings.shrink


def _replaced(best: Iterate, now: Iterate, better: Tensor) -> Iterate:
    """`now` where it is better."""
    return Iterate(
        torch.where(better[:, None], now.code, best.code),
        torch.where(better[:, None, None, None], now.image, best.image),
        torch.where(better[:, None], now.activation, best.activation),
        torch.where(better, now.step, best.step),
    )
