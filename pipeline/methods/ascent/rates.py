"""The rate of a step: the factor of the gradient that is added to the image."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.methods.ascent.settings import StyleSettings


def step_rates(style: StyleSettings, gradient: Tensor, objective: Tensor, iteration: int) -> Tensor:
    """Each item's rate, (item,), by the style's policy; 0 where the gradient is zero and the policy divides by it.

    gradient : (item, channel, row, column), of the objective.
    objective : (item,), the activation, or its negative when minimizing.

    constant    rate
    progress    min(max_rate, desired_progress / ‖g‖²); a linear model then gains desired_progress
    progress01  the same with min(early_progress, late_progress_factor · remaining distance), for units in [0, 1]
    scale_free  s / mean|g|, with s in pixel levels, from step_start at the first update to step_end at the last

    Source: the authors' program of Yosinski et al. 2015, for the first three.
    Departure: scale_free, because the size of gradients differs by orders of magnitude between networks and layers, and
    that of pixels does not.
    """
    if style.policy == "constant":
        return torch.full_like(objective, style.rate)
    if style.policy == "scale_free":
        size = gradient.abs().mean(dim=(1, 2, 3))
        return torch.where(size > 0, step_size(style, iteration) / size, 0)
    wanted: float | Tensor = style.desired_progress
    if style.policy == "progress01":
        left = (1 if style.direction == "maximize" else 0) - objective
        wanted = (left * style.late_progress_factor).clamp(max=style.early_progress)
    steepness = gradient.flatten(1).square().sum(dim=1)
    return torch.where(steepness > 0, (wanted / steepness).clamp(max=style.max_rate), 0)


def step_size(style: StyleSettings, iteration: int) -> float:
    """The mean change of an entry at an iteration with scale_free, in pixel levels."""
    updates = style.max_iter - 1  # the last iteration only evaluates
    done = iteration / (updates - 1) if updates > 1 else 0.0
    return style.step_start + (style.step_end - style.step_start) * done
