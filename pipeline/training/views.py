"""Random views of photos: what a network in training is shown instead of the photos themselves."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def cropped(pixels: Tensor, *, size: int, least_area: float, most_aspect: float, generator: torch.Generator) -> Tensor:
    """Return a random part of each picture, half of them mirrored, as (batch, channel, size, size).

    pixels : (batch, channel, row, column). least_area : the part's share of the picture is drawn from here to 1,
    its aspect from 1/most_aspect to most_aspect (log-uniformly); parts that do not fit are mirrored at the border.
    Source: Szegedy et al. 2015, Going Deeper with Convolutions, section 6.
    """
    count = len(pixels)
    area = least_area + (1 - least_area) * torch.rand(count, generator=generator)
    aspect = torch.exp((2 * torch.rand(count, generator=generator) - 1) * math.log(most_aspect))
    across, down = (area * aspect).sqrt(), (area / aspect).sqrt()  # of the picture's sides
    right = (2 * torch.rand(count, generator=generator) - 1) * (1 - across).clamp_min(0)
    low = (2 * torch.rand(count, generator=generator) - 1) * (1 - down).clamp_min(0)
    mirror = 1 - 2 * (torch.rand(count, generator=generator) < 0.5).float()
    zero = torch.zeros(count)
    affine = torch.stack([torch.stack([across * mirror, zero, right], 1), torch.stack([zero, down, low], 1)], 1)
    grid = functional.affine_grid(affine, [count, pixels.shape[1], size, size], align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def recoloured(pixels: Tensor, *, most: float, generator: torch.Generator) -> Tensor:
    """Return the batch of levels 0..255 with brightness, contrast and saturation changed by factors 1 ± most."""
    if most <= 0:
        return pixels

    def factor() -> Tensor:
        return 1 + most * (2 * torch.rand(len(pixels), 1, 1, 1, generator=generator) - 1)

    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + factor() * (pixels - grey)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = mean + factor() * (pixels - mean)
    return (pixels * factor()).clamp(0, 255)
