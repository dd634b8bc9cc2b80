"""Conversion between pixels and the input of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from pipeline.errors import SettingsError

ORDERS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0), "L": (0,)}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True)
class Preprocessing:
    """Image size, channel order, mean, gain and interpolation of a network.

    The graph of every network reads *centred images*: float (batch, channel, row, column), pixel levels 0…255 minus
    the mean, with channels in the order of the network. Zero is the mean image. A further scale that the weights
    expect (the gain) is the first operator of the graph, so a step of 1 is one pixel level in every network.

    height, width : of the input, in pixels.
    order : channels as the network reads them: "RGB", "BGR" or "L".
    mean : (channel, 1, 1) or (channel, height, width), in pixel levels.
    gain : (channel,), network units a pixel level.
    interpolation : Pillow's filter that resizes photos to the input.
    """

    height: int
    width: int
    order: str
    mean: np.ndarray = field(repr=False)
    gain: np.ndarray = field(repr=False)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise SettingsError(f"preprocessing order: got {self.order!r}, expected one of {', '.join(ORDERS)}")
        mean = np.asarray(self.mean, np.float64)
        mean = mean.reshape(-1, 1, 1) if mean.ndim == 1 else mean
        gain = np.asarray(self.gain, np.float64).reshape(-1)
        if mean.shape not in ((self.channels, 1, 1), (self.channels, self.height, self.width)):
            raise SettingsError(
                f"preprocessing mean: got shape {mean.shape}, expected ({self.channels},) or "
                f"({self.channels}, {self.height}, {self.width})"
            )
        if gain.shape != (self.channels,):
            raise SettingsError(f"preprocessing gain: got {gain.size} numbers, expected {self.channels}")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "gain", gain)

    @property
    def channels(self) -> int:
        return len(ORDERS[self.order])

    @property
    def full_mean(self) -> np.ndarray:
        """The mean image, float64 (channel, height, width)."""
        return np.broadcast_to(self.mean, (self.channels, self.height, self.width))

    @cached_property
    def single_mean(self) -> np.ndarray | None:
        """The mean image, float32 (height, width, channel); None if single precision does not hold it exactly."""
        single = self.mean.astype(np.float32)
        if (single != self.mean).any():
            return None
        return np.ascontiguousarray(np.moveaxis(np.broadcast_to(single, self.full_mean.shape), 0, -1))

    def fitted(self, pixels: np.ndarray) -> np.ndarray:
        """RGB uint8 pixels (picture, row, column, rgb), resized to the input's size by the interpolation's filter."""
        shape, by = (self.width, self.height), Image.Resampling[self.interpolation.upper()]
        return np.stack([np.asarray(Image.fromarray(p).resize(shape, by)) for p in pixels])

    def centred(self, pixels: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
        """Centred images (…, channel, row, column), float32.

        pixels : RGB uint8 (…, row, column, rgb).
        mean : (channel, row, column), the mean under the pixels if they are a part of the image; None for the whole
            mean image.
        """
        mean = self.full_mean if mean is None else mean
        levels = np.asarray(pixels, np.float32)
        levels = (levels @ _LUMA)[..., None] if self.order == "L" else levels[..., list(ORDERS[self.order])]
        return (np.moveaxis(levels, -1, -3) - mean).astype(np.float32)

    def pixels(self, centred: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
        """RGB uint8 pixels (…, row, column, rgb): the mean added, rounded and clipped to 0…255.

        centred : (…, channel, row, column).
        mean : as for `centred`.
        """
        mean = self.full_mean if mean is None else mean
        levels = np.clip(np.rint(np.asarray(centred, np.float64) + mean), 0, 255).astype(np.uint8)
        levels = np.moveaxis(levels, -3, -1)
        return levels[..., [0, 0, 0]] if self.order == "L" else levels[..., list(ORDERS[self.order])]
