"""Shifts by chance that a picture has to bear while it is made, so that no single pixel's place decides it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def jittered(image: Tensor, share: float, seed: int, iteration: int) -> Tensor:
    """The images (item, channel, row, column), all shifted alike, with their edges repeated; differentiable.

    share : of their sides, the most that they are shifted, either way. The shift is of the seed and the iteration
    alone, so that items are the same in whatever company they climb.
    """
    sides = image.shape[2:]
    most = [int(share * side) for side in sides]
    if not any(most):
        return image
    draw = np.random.Generator(np.random.Philox(key=[seed, iteration]))
    down, right = draw.integers([-each for each in most], [each + 1 for each in most]).tolist()
    for axis, by in ((2, down), (3, right)):
        size = image.shape[axis]
        places = (torch.arange(size, device=image.device) + by).clamp(0, size - 1)
        image = image.index_select(axis, places)
    return image
