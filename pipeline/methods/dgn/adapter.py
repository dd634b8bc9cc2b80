"""Adapter from a prior to a network: crops the generator's images and converts them to the network's input."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.nets.interval import Interval
from pipeline.nets.preprocessing import ORDERS, Preprocessing
from pipeline.nets.window import Window
from pipeline.priors.windowed import windowed


class ImagePrior(Protocol):
    """What an adapter needs of a prior: its generator, and how the generator's images become pixels."""

    name: str
    code_shape: tuple[int, ...]
    height: int
    width: int
    order: str
    mean: np.ndarray
    gain: np.ndarray
    generator: nn.Module


class Adapter:
    """Converts codes (item, entry) to centred pixels (item, channel, row, column) under a window.

    The generator's images are at least as large as the network's input, which is cropped from their centre. Only what
    lies under the window is drawn (`pipeline.priors.windowed`). If prior and network share mean and channel order, the
    two means cancel exactly. Nothing is clipped.
    Source: Nguyen et al. 2016, the authors' program, which feeds the crop of the generator's output unchanged.
    """

    def __init__(
        self, prior: ImagePrior, preprocessing: Preprocessing, window: Window, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Raises SettingsError if the images are smaller than the input, or only one of the two is grey."""
        top, left = prior.height - preprocessing.height, prior.width - preprocessing.width
        if min(top, left) < 0 or len(ORDERS[prior.order]) != len(ORDERS[preprocessing.order]):
            raise SettingsError(
                f"prior {prior.name}: makes {prior.order} images of {prior.height} x {prior.width}, the network reads "
                f"{preprocessing.order} of {preprocessing.height} x {preprocessing.width}; choose another by priors=[…]"
            )
        at = [ORDERS[prior.order].index(colour) for colour in ORDERS[preprocessing.order]]
        self._channels = None if at == sorted(at) else at
        rows = Interval(top // 2 + window.top, top // 2 + window.bottom)
        columns = Interval(left // 2 + window.left, left // 2 + window.right)
        self._under_window = (slice(None), rows.as_slice(), columns.as_slice())
        self._code_shape, self._draw = prior.code_shape, windowed(prior.generator, prior.code_shape, rows, columns)
        inside = (slice(None), slice(window.top, window.bottom), slice(window.left, window.right))
        mean, gain = (self._under(values, at) for values in (prior.mean, prior.gain))
        self._shift = torch.from_numpy(mean - preprocessing.full_mean[inside]).to(device, dtype)
        self._scale = torch.from_numpy(1 / gain).to(device, dtype)

    def _under(self, values: np.ndarray, channels: list[int]) -> np.ndarray:
        """A prior's mean or gain, (channel,) or an image, in the network's channel order and under the window."""
        levels = np.asarray(values, np.float64)
        levels = levels.reshape(-1, 1, 1) if levels.ndim == 1 else levels[self._under_window]
        return levels[channels]

    def __call__(self, code: Tensor) -> Tensor:
        image = self._draw(code.unflatten(1, self._code_shape))
        image = image if self._channels is None else image[:, self._channels]
        return image * self._scale + self._shift
