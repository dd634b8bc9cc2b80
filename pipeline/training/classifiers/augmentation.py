"""Augmentation: random crops, colours, blur, noise, contrast and adversarial shifts of a classifier's images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_REACH = 4  # pixels on either side of the centre of the blur's kernel


def cropped(pixels: Tensor, *, size: int, least_area: float, most_aspect: float, generator: torch.Generator) -> Tensor:
    """Return a random crop of each image, resized; half of the crops are mirrored.

    pixels : (batch, channel, row, column).
    size : rows and columns of the result, (batch, channel, size, size).
    least_area : a crop's share of the image's area is drawn uniformly between this and 1.
    most_aspect : a crop's aspect ratio is drawn log-uniformly between 1/most_aspect and most_aspect. A crop that
        sticks out of the image is filled by reflection at the border.
    Source: Szegedy et al. 2015, Going Deeper with Convolutions, section 6.
    """
    count = len(pixels)
    area = least_area + (1 - least_area) * torch.rand(count, generator=generator)
    aspect = torch.exp((2 * torch.rand(count, generator=generator) - 1) * math.log(most_aspect))
    across, down = (area * aspect).sqrt(), (area / aspect).sqrt()  # as shares of the image's sides
    right = (2 * torch.rand(count, generator=generator) - 1) * (1 - across).clamp_min(0)
    low = (2 * torch.rand(count, generator=generator) - 1) * (1 - down).clamp_min(0)
    mirror = 1 - 2 * (torch.rand(count, generator=generator) < 0.5).float()
    zero = torch.zeros(count)
    affine = torch.stack([torch.stack([across * mirror, zero, right], 1), torch.stack([zero, down, low], 1)], 1)
    grid = functional.affine_grid(affine, [count, pixels.shape[1], size, size], align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def recoloured(pixels: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Return images whose saturation, contrast and brightness are multiplied by random factors.

    pixels : (batch, channel, row, column), levels 0..255.
    most : each factor is drawn uniformly between 1 - most and 1 + most.
    """
    if most <= 0:
        return pixels

    def factor() -> Tensor:
        return 1 + most * (2 * torch.rand(len(pixels), 1, 1, 1, generator=generator) - 1)

    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + factor() * (pixels - grey)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + factor() * (pixels - mean)
    return (pixels * factor()).clamp(0, 255)


def blurred(pixels: Tensor, *, sigma: float, rows: Tensor) -> Tensor:
    """Return the batch with some images blurred by a Gaussian.

    pixels : (batch, channel, row, column).
    sigma : standard deviation, in pixels.
    rows : (batch,), true for the images to blur.
    """
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
    """Return images with Gaussian noise.

    pixels : (batch, channel, row, column), levels 0..255.
    most : each image's standard deviation is drawn uniformly between 0 and this, in pixel levels.
    """
    if most <= 0:
        return pixels
    sizes = torch.rand(len(pixels), 1, 1, 1, generator=generator) * most
    return (pixels + sizes * torch.randn(pixels.shape, generator=generator)).clamp_(0, 255)


def faded(pixels: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Return images with less contrast around their mean.

    pixels : (batch, channel, row, column).
    most : each image loses a share of its contrast, drawn uniformly between 0 and this.
    """
    if most <= 0:
        return pixels
    share = 1 - most * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return mean + share * (pixels - mean)


def attacked(
    network: nn.Module, pixels: Tensor, labels: Tensor, *, size: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Return adversarial images: each is moved inside an L2 ball so that the network's loss rises.

    network : pixels 0..255 -> logits; the gradients of its parameters do not change.
    pixels : (batch, channel, row, column), levels 0..255; the result stays in this range.
    labels : (batch,).
    size : radius of the ball, in pixel levels over the whole image (255 is 1 on a scale of [0, 1]).
    steps : steps along the normalized gradient, from a random point of the ball.
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
    """L2 norm of each image, (batch, 1, 1, 1)."""
    return images.flatten(1).norm(dim=1)[:, None, None, None]
