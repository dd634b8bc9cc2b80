"""Back-projections as pictures, in the three forms of the toolbox: raw, norm, and blurred norm."""

from __future__ import annotations

import numpy as np
from PIL import Image

from atlas_viewer.montage import stretch

FORMS = ("raw", "norm", "blurred")
SHARE = 0.995  # of the values of a raw picture that lie within its scale; a few peaks would leave all others grey
SIGMA = 4.0  # pixels of the network's input. Source: Yosinski et al. 2015, their toolbox's default


def forms(signals: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Every form of these signals by name, uint8: raw (picture, y, x, rgb), the others (picture, y, x).

    raw : signed, zero as mid-grey; the values beyond those of SHARE are black or white.
    norm : the L2 norm over the colours, from its least as black to its most as white.
    blurred : the same after a Gaussian blur of the norm, the border mirrored.
    signals : (picture, y, x, rgb), zero where there is no signal.
    size : of the result, at most that of the signals.
    Each picture is scaled after it was reduced, because fine signals would vanish otherwise.
    Source: Yosinski et al. 2015, the toolbox's deconv, deconv-norm and deconv-norm-blur.
    Departure: the toolbox scales raw pictures by their largest value.
    """
    signals = signals.astype(np.float32, copy=False)
    heights = np.sqrt(np.einsum("pyxc,pyxc->pyx", signals, signals))
    colours = signals
    if signals.shape[1:3] != tuple(size):
        colours = np.stack([_reduced(signals[..., colour], size) for colour in range(3)], axis=-1)
    reduced = _reduced(heights, size)  # before the blur, which is then narrower by as much: a quarter of the work
    high, wide = (SIGMA * small / side for small, side in zip(size, signals.shape[1:3], strict=True))
    return {
        "raw": stretch(_within_scale(colours), np.zeros(3)),
        "norm": _grey(reduced),
        "blurred": _grey(_blur(_blur(reduced, 1, high), 2, wide)),
    }


def _within_scale(colours: np.ndarray) -> np.ndarray:
    """Signed pictures (picture, y, x, rgb), each with its few largest values cut to the size that SHARE do not pass."""
    sizes = np.abs(colours).reshape(len(colours), -1)
    place = min(int(SHARE * sizes.shape[1]), sizes.shape[1] - 1)
    limits = np.partition(sizes, place, axis=1)[:, place]
    limits = np.where(limits > 0, limits, sizes.max(axis=1))[:, None, None, None]  # nearly all of it may be zero
    return np.clip(colours, -limits, limits)


def _reduced(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if planes.shape[1:] == tuple(size):
        return planes
    return np.stack([np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BOX)) for plane in planes])


def _grey(heights: np.ndarray) -> np.ndarray:
    least = heights.min(axis=(1, 2), keepdims=True)
    span = heights.max(axis=(1, 2), keepdims=True) - least
    share = np.divide(heights - least, span, out=np.zeros_like(heights), where=span > 0)
    return np.rint(share * 255).astype(np.uint8)


def _blur(heights: np.ndarray, axis: int, sigma: float) -> np.ndarray:
    """Blur along one axis, by shifted sums: small matrix products of several processes would wait for each other."""
    reach, length = int(4 * sigma + 0.5), heights.shape[axis]
    kernel = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    kernel = (kernel / (2 * kernel.sum() - kernel[0])).astype(heights.dtype)
    margins = [(0, 0)] * heights.ndim
    margins[axis] = (reach, reach)
    lines = np.moveaxis(np.pad(heights, margins, mode="symmetric"), axis, 0)
    total = kernel[0] * lines[reach : reach + length]
    both = np.empty_like(total)
    for shift in range(1, reach + 1):
        np.add(lines[reach - shift :][:length], lines[reach + shift :][:length], out=both)
        both *= kernel[shift]
        total += both
    return np.moveaxis(total, 0, axis)
