"""Transforms of an image before it is evaluated: random shifts (jitter), so that no feature depends on exact positions.

To add a transform, write a function here, put its name into TRANSFORMS, and add a number of that name
(`transform=True`) to the settings of each method that offers it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor


def transformed(image: Tensor, asked: Sequence[Mapping[str, float]], seed: int, iteration: int) -> Tensor:
    """The images (item, channel, row, column) after all transforms, in the order of TRANSFORMS; differentiable.

    asked : per item, transform name → value.
    seed, iteration : the only values that seed random transforms.
    """
    for name, transform in TRANSFORMS.items():
        values = [one.get(name, 0.0) for one in asked]
        if any(values):
            image = transform(image, values, seed, iteration)
    return image


def jittered(image: Tensor, shares: Sequence[float], seed: int, iteration: int) -> Tensor:
    """The images (item, channel, row, column), each shifted at random with its edges repeated; differentiable.

    shares : of each item, the largest shift in either direction, as a share of the sides; 0 for none.
    The shift depends on the seed, the iteration and the share only, so an item's picture does not depend on the other
    items.
    """
    if len(set(shares)) == 1:
        return _shifted(image, shares[0], seed, iteration)
    parts, start = [], 0
    for share, items in groupby(shares):
        stop = start + len(list(items))
        parts.append(_shifted(image[start:stop], share, seed, iteration))
        start = stop
    return torch.cat(parts)


def _shifted(image: Tensor, share: float, seed: int, iteration: int) -> Tensor:
    sides = image.shape[2:]
    limits = [int(share * side) for side in sides]
    if not any(limits):
        return image
    draw = np.random.Generator(np.random.Philox(key=[seed, iteration]))
    down, right = draw.integers([-each for each in limits], [each + 1 for each in limits]).tolist()
    for axis, by in ((2, down), (3, right)):
        size = image.shape[axis]
        places = (torch.arange(size, device=image.device) + by).clamp(0, size - 1)
        image = image.index_select(axis, places)
    return image


Transform = Callable[[Tensor, Sequence[float], int, int], Tensor]  # images, value per item, seed, iteration → images
TRANSFORMS: dict[str, Transform] = {"jitter": jittered}
