"""What a classifier in training is shown instead of the plain pictures: blurred, noisy, attacked ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_REACH = 4  # pixels that the blur looks to either side


def blurred(pixels: Tensor, *, sigma: float, rows: Tensor) -> Tensor:
    """Return the batch (batch, channel, row, column) with the pictures chosen by `rows` (batch,) blurred."""
    if sigma <= 0 or not bool(rows.any()):
        return pixels
    offsets = torch.arange(-_REACH, _REACH + 1, dtype=pixels.dtype, device=pixels.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = (weights / weights.sum()).expand(pixels.shape[1], 1, -1)
    chosen = functional.pad(pixels[rows], (_REACH, _REACH, _REACH, _REACH), mode="replicate")
    chosen = functional.conv2d(chosen, weights[:, :, None, :], groups=pixels.shape[1])
    chosen = functional.conv2d(chosen, weights[:, :, :, None], groups=pixels.shape[1])
    result = pixels.clone()
    result[rows] = chosen
    return result


def noisy(pixels: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Return the batch with Gaussian noise, each picture's deviation drawn from 0 to `most` pixel levels."""
    if most <= 0:
        return pixels
    sizes = torch.rand(len(pixels), 1, 1, 1, generator=generator) * most
    return (pixels + sizes * torch.randn(pixels.shape, generator=generator)).clamp_(0, 255)


def faded(pixels: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Return the batch with each picture's contrast around its mean lowered by a share up to `most`."""
    if most <= 0:
        return pixels
    share = 1 - most * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return mean + share * (pixels - mean)


def attacked(
    network: nn.Module, pixels: Tensor, labels: Tensor, *, size: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Return the batch moved, within an L2 ball, to where the network errs more.

    network : pixels 0..255 -> logits; its gradients are left as they were.
    size : radius of the ball, in pixel levels over the whole picture (255 is "1" on a scale of [0, 1]).
    Starts from a random point of the ball, climbs the loss along the normalised gradient, stays in 0..255.
    Source: Madry et al. 2018; one step from a random start: Wong et al. 2020.
    """
    if size <= 0 or steps <= 0:
        return pixels
    shift = torch.randn(pixels.shape, generator=generator)
    start = size * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    shift = start * shift / _norm(shift)
    for _ in range(steps):
        moved = (pixels + shift).clamp(0, 255).requires_grad_()
        loss = functional.cross_entropy(network(moved), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, moved)
        shift = shift + 1.25 * size / steps * slope / _norm(slope).clamp_min(1e-12)
        shift = shift * (size / _norm(shift).clamp_min(1e-12)).clamp_max(1.0)
    return (pixels + shift).clamp(0, 255).detach()


def _norm(images: Tensor) -> Tensor:
    return images.flatten(1).norm(dim=1)[:, None, None, None]
