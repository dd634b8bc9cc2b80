"""What is climbed: how parameters begin, which image they give, and how a step changes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.climb.seeds import StartKey

Step = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # parameters, gradient, objective, iteration → parameters


class Setting(Protocol):
    """What the loop knows of an item's setting, whatever is climbed.

    iterations : of which the last one only evaluates.
    sign : 1 to maximize, −1 to minimize.
    first_kept : first iteration that may be kept as the best one.
    transforms : name → value of what the image undergoes before it is evaluated (`pipeline.climb.transforms`).
    """

    name: str

    @property
    def iterations(self) -> int: ...

    @property
    def sign(self) -> int: ...

    @property
    def first_kept(self) -> int: ...

    @property
    def transforms(self) -> Mapping[str, float]: ...


class Parameterization(ABC):
    """One way to describe images by parameters.

    dtype : of the parameters while they climb.
    seed : of all random starts and shifts.
    layer : name of the layer whose units are climbed for; it decides starts.
    several_starts : whether another attempt starts elsewhere.
    starts_by_number : whether the start of a single unit is drawn for its number, else for its number in words. Both
        are valid; which one it is decides every picture.
    kept_shape : shape of one item's parameters as results keep them; (0,) where the pixels say it all.
    """

    dtype: torch.dtype
    seed: int
    layer: str
    several_starts = True
    starts_by_number = True
    kept_shape: tuple[int, ...] = (0,)

    @abstractmethod
    def start(self, key: StartKey, setting: Any) -> np.ndarray:
        """One item's start, float64, without the item axis and before any bound."""

    @abstractmethod
    def image(self, parameters: Tensor) -> Tensor:
        """The centred images (item, channel, row, column) under the cone's window; differentiable."""

    @abstractmethod
    def steps(self, settings: Sequence[Any], device: torch.device) -> Step:
        """The update of a micro-batch whose items have these settings; equal ones stand together.

        A step may write over the parameters that it is given. Items beyond their last update stay as they are.
        """

    def bound(self, parameters: Tensor) -> None:  # noqa: B027 - codes are bounded by their steps
        """Bring parameters into their range, in place, before they are evaluated."""
