"""Batches of pixels as centred images on a device, in the layout that runs fastest there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.nets.preprocessing import ORDERS, Preprocessing

Batch = tuple[np.ndarray, np.ndarray, int]  # numbers (n,), RGB uint8 pixels (batch, row, column, rgb), n


def centred(
    preprocessing: Preprocessing, pixels: np.ndarray, device: torch.device, *, into: Tensor | None = None
) -> Tensor:
    """`Preprocessing.centred` of RGB uint8 pixels (batch, row, column, rgb), on the device, channels side by side.

    Networks run up to twice as fast on a CPU with the channels of a pixel side by side in memory.
    into : an earlier result of the same shape, to be written over.
    """
    if preprocessing.order == "L":
        return torch.from_numpy(preprocessing.centred(pixels)).to(device)
    order, mean = ORDERS[preprocessing.order], preprocessing.single_mean
    count, height, width, channels = pixels.shape
    shape = (count, channels, height, width)
    images = torch.empty(shape, device=device, memory_format=torch.channels_last) if into is None else into
    if device.type == "cpu" and mean is not None:
        np.subtract(_ordered(pixels, order), mean, out=images.permute(0, 2, 3, 1).numpy())
        return images
    levels = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)[:, list(order)]
    if mean is not None:
        return images.copy_(levels).sub_(torch.from_numpy(mean).permute(2, 0, 1).to(device))
    return images.copy_(levels.double().sub_(torch.from_numpy(preprocessing.full_mean.copy()).to(device)))


def _ordered(pixels: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Pixels (…, rgb) with their channels in another order. A pass a channel is faster than indexing three bytes."""
    if order == (0, 1, 2):
        return pixels
    turned = np.empty_like(pixels)
    for channel, place in enumerate(order):
        turned[..., channel] = pixels[..., place]
    return turned
