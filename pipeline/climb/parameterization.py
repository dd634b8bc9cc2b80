"""The parameterization of images: the start of the parameters, their image, and the update."""

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
    """What the loop needs to know of an item's setting.

    iterations : number of iterations; the last one only evaluates.
    sign : 1 to maximize, −1 to minimize.
    first_kept : first iteration that may be kept as the best one.
    transforms : name → value of the transforms of the image before it is evaluated (`pipeline.climb.transforms`).
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

    dtype : type of the parameters during a climb.
    seed : seed of all random starts and transforms.
    layer : name of the units' layer; it is part of the key of a start.
    several_starts : whether another attempt begins at another start.
    starts_by_number : whether the key of a start holds a single unit as a number, or else as text. Both are valid, but
        the choice decides every picture.
    kept_shape : shape of one item's parameters in the results; (0,) if the image itself is the parameters.
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

    def drawn(self, parameters: Tensor) -> Tensor:
        """The images during a climb in bfloat16, float32; they may be less precise than `image`."""
        return self.image(parameters)

    @abstractmethod
    def steps(self, settings: Sequence[Any], device: torch.device) -> Step:
        """The update of a micro-batch.

        settings : of the items; equal settings are adjacent.
        A step leaves the parameters that it is given as they are, and returns new ones. An item after its last update
        keeps its own.
        """

    def bound(self, parameters: Tensor) -> None:  # noqa: B027 - codes are bounded by their steps
        """Clip parameters to their range, in place, before they are evaluated."""
