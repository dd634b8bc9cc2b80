"""How pixels become what a network reads, and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pipeline.errors import SettingsError

ORDERS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0), "L": (0,)}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True)
class Preprocessing:
    """Image size, channel order and mean of a network.

    The graph of every network reads *centred images*: float (batch, channel, row, column), pixel level
    0…255 minus mean, channels in the network's own order. Zero is the mean image. What further scale the
    weights expect (`gain`, one factor a channel) is the first operator of the graph, so that a step of one
    is a pixel level in every network.
    """

    height: int
    width: int
    order: str  # "RGB", "BGR" or "L"
    mean: np.ndarray = field(repr=False)  # (channel, 1, 1) or (channel, height, width), pixel levels
    gain: np.ndarray = field(repr=False)  # (channel,)

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

    def fitted(self, pixels: np.ndarray) -> np.ndarray:
        """RGB uint8 pixels (picture, row, column, rgb) in the input's size, by Pillow's bilinear filter."""
        shape = (self.width, self.height)
        return np.stack([np.asarray(Image.fromarray(p).resize(shape, Image.Resampling.BILINEAR)) for p in pixels])

    def centred(self, pixels: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
        """Centred float32 images (…, channel, row, column) of RGB uint8 pixels (…, row, column, rgb).

        mean : the part of the mean image under the pixels, when they are a part of the image.
        """
        mean = self.full_mean if mean is None else mean
        levels = np.asarray(pixels, np.float32)
        levels = (levels @ _LUMA)[..., None] if self.order == "L" else levels[..., list(ORDERS[self.order])]
        return (np.moveaxis(levels, -1, -3) - mean).astype(np.float32)

    def pixels(self, centred: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
        """RGB uint8 pixels (…, row, column, rgb) of centred images: mean added, clipped to 0…255, rounded."""
        mean = self.full_mean if mean is None else mean
        levels = np.clip(np.rint(np.asarray(centred, np.float64) + mean), 0, 255).astype(np.uint8)
        levels = np.moveaxis(levels, -3, -1)
        return levels[..., [0, 0, 0]] if self.order == "L" else levels[..., list(ORDERS[self.order])]
