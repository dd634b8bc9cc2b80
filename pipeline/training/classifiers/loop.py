"""Training a classifier with stochastic gradient descent: its optimizer, its steps, and folding at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from pipeline.errors import TrainingError
from pipeline.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pipeline.training.schedule import step_seed


def take_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[int, torch.Generator], Tensor],
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
    """Train a network in place; a training run that was interrupted and started again gives the same weights.

    loss : called with the step and the generator of everything random in it. The generator depends on seed and step.
    batch : images in a step, for the speed in the log.
    rate : step -> learning rate.
    checkpoint : file of the checkpoint; training resumes from it if it exists.
    checkpoint_every : steps between two checkpoints.
    settings : everything that decides the result, as text; a checkpoint with another text is refused.
    log : called with each line of the log.
    Raises TrainingError if the loss is not a finite number; the last checkpoint stays.
    """
    saved, first = load_checkpoint(checkpoint, settings=settings), 0
    if saved is not None:
        network.load_state_dict(saved.states["network"])
        optimizer.load_state_dict(saved.states["optimiser"])
        first = saved.step
        log(f"going on from step {first}")
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first, steps):
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        torch.manual_seed(step_seed(seed, step))  # dropout uses the global generator
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        value = loss(step, generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"step {step}: the loss is no longer a number; the checkpoint {checkpoint} is at most "
                f"{checkpoint_every} steps older; begin again with a lower recipe.rate"
            )
        done = step + 1
        if done % checkpoint_every == 0 or done == steps:
            speed = len(losses) * batch / (time.monotonic() - began)
            log(f"step {done}/{steps} loss {np.mean(losses):.3f} rate {rate(step):.4f}, {speed:.0f} images/s")
            states = {"network": network.state_dict(), "optimiser": optimizer.state_dict()}
            save_checkpoint(checkpoint, Checkpoint(settings=settings, step=done, states=states))
            losses, began = [], time.monotonic()


def sgd(network: nn.Module, *, rate: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with Nesterov momentum.

    rate : initial learning rate.
    weight_decay : of weights. Biases and normalization parameters do not decay.
    """
    decayed = [value for value in network.parameters() if value.ndim > 1]
    free = [value for value in network.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)


def scaled_logits(network: nn.Sequential, pixels: Tensor, mean: Sequence[float], gain: Sequence[float]) -> Tensor:
    """Return the input of a network's softmax, its last layer, for RGB pixels.

    pixels : (batch, channel, row, column), levels 0..255.
    mean, gain : one number a channel.
    """
    return network[:-1](scaled(pixels, mean, gain))


def scaled(pixels: Tensor, mean: Sequence[float], gain: Sequence[float]) -> Tensor:
    """Return a network's input for RGB pixels: (pixels - mean) * gain.

    pixels : (batch, channel, row, column), levels 0..255.
    mean, gain : one number a channel.
    """
    return (pixels - torch.tensor(mean)[None, :, None, None]) * torch.tensor(gain)[None, :, None, None]


def fold(trained: nn.Sequential, plain: nn.Sequential) -> nn.Sequential:
    """Fold batch normalizations into the layers below them; return `plain` with the folded weights, in evaluation mode.

    trained : has a batch normalization `bnN` after `convN` or `fcN`.
    plain : the same network without batch normalizations. It then computes what `trained` computes in evaluation mode.
    """
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("bn")}
    children = dict(trained.named_children())
    for name, norm in children.items():
        if not name.startswith("bn"):
            continue
        below = f"conv{name[2:]}" if f"conv{name[2:]}" in children else f"fc{name[2:]}"
        fuse = fuse_conv_bn_weights if below.startswith("conv") else fuse_linear_bn_weights
        layer = children[below]
        ones, zeros = torch.ones_like(norm.running_var), torch.zeros_like(norm.running_mean)
        scale, shift = (norm.weight, norm.bias) if norm.affine else (ones, zeros)
        weight, bias = fuse(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, scale, shift)
        state[f"{below}.weight"], state[f"{below}.bias"] = weight.detach(), bias.detach()
    plain.load_state_dict(state)
    return plain.eval()
