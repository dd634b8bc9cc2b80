"""The course of a training: the order of the pictures, how the rate falls, what weights decay, how many threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


def epoch_rows(step: int, *, seed: int, count: int, batch: int) -> np.ndarray:
    """The pictures of a step, rising: each epoch goes through all of `count` in an order of its own."""
    epoch, place = divmod(step, count // batch)
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)
    return np.sort(order[place * batch : (place + 1) * batch])


def warm_and_linear(step: int, *, steps: int, highest: float) -> float:
    """The rate of a step: it rises over the first tenth of the steps, and then falls linearly to zero."""
    warm = max(1, steps // 10)
    return highest * (step + 1) / warm if step < warm else highest * (steps - step) / (steps - warm)


def step_seed(seed: int, step: int) -> int:
    """The seed of all that is random in a step, so that a training can go on anywhere."""
    return seed * 1_000_003 + step + 1


def sgd(network: nn.Module, *, rate: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent with Nesterov's momentum; weights decay, biases and normalisations do not."""
    decayed = [value for value in network.parameters() if value.ndim > 1]
    free = [value for value in network.parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)


def scaled_logits(network: nn.Sequential, pixels: Tensor, mean: Sequence[float], gain: Sequence[float]) -> Tensor:
    """What stands before a network's softmax, its last part, for RGB pixels 0..255 (batch, channel, row, column)."""
    return network[:-1](scaled(pixels, mean, gain))


def scaled(pixels: Tensor, mean: Sequence[float], gain: Sequence[float]) -> Tensor:
    """What a network is given for RGB pixels 0..255 (batch, channel, row, column)."""
    return (pixels - torch.tensor(mean)[None, :, None, None]) * torch.tensor(gain)[None, :, None, None]


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    """Compute on this many threads; their number decides the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
