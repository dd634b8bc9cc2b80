"""The steps of a classifier's training, from its checkpoint where there is one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.training.course import step_seed


def take_steps(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Callable[[int, torch.Generator], torch.Tensor],
    *,
    seed: int,
    steps: int,
    batch: int,
    rate: Callable[[int], float],
    checkpoint: Path,
    checkpoint_every: int,
    settings: str,
    log: Callable[[str], None],
) -> None:
    """Let the network learn step by step; interrupted anywhere and called again, it ends with the same weights.

    loss : of a step, with the generator of all that is random in it, which is of (seed, step) alone. rate : of a step.
    settings : what decides the result, as text; a checkpoint of others is refused.
    Raises TrainingError when the loss is no longer a number; the last checkpoint stays.
    """
    found, first = load_checkpoint(checkpoint, settings=settings), 0
    if found is not None:
        network.load_state_dict(found.states["network"])
        optimiser.load_state_dict(found.states["optimiser"])
        first = found.step
        log(f"going on from step {first}")
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first, steps):
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        torch.manual_seed(step_seed(seed, step))  # dropout knows only the global generator
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        value = loss(step, generator)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"step {step}: the loss is no longer a number; {checkpoint} is of at most {checkpoint_every} steps "
                "before; begin again with a lower recipe.rate"
            )
        done = step + 1
        if done % checkpoint_every == 0 or done == steps:
            speed = len(losses) * batch / (time.monotonic() - began)
            log(f"step {done}/{steps} loss {np.mean(losses):.3f} rate {rate(step):.4f}, {speed:.0f} images/s")
            states = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            save_checkpoint(checkpoint, Checkpoint(settings=settings, step=done, states=states))
            losses, began = [], time.monotonic()
