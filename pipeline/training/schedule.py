"""What each step of a training run uses: its images, its seed, its learning rate, its threads and its precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def epoch_rows(step: int, *, seed: int, count: int, batch: int) -> np.ndarray:
    """Return the indices of a step's images, ascending; each epoch visits the images in a new random order.

    count : images in the data set.
    batch : images in a step. The images that do not fill the last batch of an epoch are left out of it.
    """
    epoch, place = divmod(step, count // batch)
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    return np.sort(order[place * batch : (place + 1) * batch])


def step_seed(seed: int, step: int) -> int:
    """Return the seed of everything random in a step, so that a training run can resume at any step."""
    return seed * 1_000_003 + step + 1


def warm_and_linear(step: int, *, steps: int, highest: float) -> float:
    """Return the learning rate of a step: it rises over the first tenth of the steps, then falls linearly to zero."""
    warm = max(1, steps // 10)
    return highest * (step + 1) / warm if step < warm else highest * (steps - step) / (steps - warm)


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    """Compute with this many threads inside the context; the number of threads decides the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context of mixed precision.

    device : "cpu" or "cuda".
    precision : "bf16" computes convolutions and matrix products in bfloat16; "fp32" changes nothing.
    """
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision != "fp32")
