"""The regularizers, which keep an image natural: pure operators that treat each image of a batch separately.

Images are (batch, channel, row, column), mean-subtracted pixel levels: zero is the mean image. Gradients are those of
the objective, of the same shape. A percentile is in [0, 100) and taken over one image. Values strictly below it become
zero; values equal to it stay, so a threshold of zero clips nothing. Every operator returns a new tensor of the same
shape and dtype; `regularize` returns the image itself if no regularizer is on.
Source: Yosinski et al. 2015, section 3 and table 1, and the authors' program for what the paper leaves open.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.ascent.settings import StyleSettings

TRUNCATE = 4.0  # standard deviations at which the kernel is cut, as by default in scipy.ndimage


def regularize(image: Tensor, gradient: Tensor, style: StyleSettings, iteration: int) -> Tensor:
    """The images after every regularizer of the style, in the order of the authors' program.

    image : after the step.
    gradient : at the images before the step.
    iteration : number of the iteration, from 0; iteration 0 blurs.
    """
    if style.decay > 0:
        image = decay(image, style.decay)
    if style.blur_radius > 0 and style.blur_every > 0 and iteration % style.blur_every == 0:
        image = blur(image, style.blur_radius)
    if style.small_val_percentile > 0:
        image = clip_small_value(image, style.small_val_percentile)
    if style.small_norm_percentile > 0:
        image = clip_small_norm(image, style.small_norm_percentile)
    if style.px_benefit_percentile > 0:
        image = clip_signed_contribution(image, gradient, style.px_benefit_percentile)
    if style.px_abs_benefit_percentile > 0:
        image = clip_contribution(image, gradient, style.px_abs_benefit_percentile)
    return image


def clip_range(image: Tensor, mean: Tensor, out: Tensor | None = None) -> Tensor:
    """The images with every pixel level, image + mean, clipped to 0…255.

    mean : (channel, row, column), pixel levels.
    out : tensor to write into; None for a new one.
    Departure: the bounds are shifted instead of the image, so that levels inside the range keep their last bits.
    """
    return torch.clamp(image, -mean, 255 - mean, out=out)


def decay(image: Tensor, share: float) -> Tensor:
    """The images with every entry reduced by `share` of itself (θ_decay)."""
    return image * (1 - share)


def blur(image: Tensor, radius: float) -> Tensor:
    """Each channel blurred by a Gaussian of standard deviation `radius` pixels; the sum of a channel is kept.

    The border is reflected with the edge pixel (d c b a | a b c d | d c b a), as often as the kernel needs it.
    Source: Yosinski et al. 2015, section 3; equal to scipy.ndimage.gaussian_filter with its defaults.
    """
    rows = _matrix_on(image.shape[2], radius, image.dtype, image.device)
    columns = _matrix_on(image.shape[3], radius, image.dtype, image.device)
    return rows @ (image @ columns.T)


def clip_small_value(image: Tensor, percentile: float) -> Tensor:
    """Zero single entries, not whole pixels, of small magnitude. In the authors' program, not in the paper."""
    magnitude = image.abs()
    return _zeroed(image, magnitude < _floor(magnitude, percentile))


def clip_small_norm(image: Tensor, percentile: float) -> Tensor:
    """Zero the pixels whose norm over the channels is small (θ_n_pct)."""
    norm = (image * image).sum(dim=1, keepdim=True).sqrt()  # norm(dim=1) is 100 times slower on a CPU
    return _zeroed(image, norm < _floor(norm, percentile))


def clip_contribution(image: Tensor, gradient: Tensor, percentile: float) -> Tensor:
    """Zero the pixels with a small contribution of either sign, |Σ_channel gradient·image| (θ_c_pct)."""
    contribution = (gradient * image).sum(dim=1, keepdim=True).abs()
    return _zeroed(image, contribution < _floor(contribution, percentile))


def clip_signed_contribution(image: Tensor, gradient: Tensor, percentile: float) -> Tensor:
    """Zero the pixels with the lowest −Σ_channel gradient·image, the change predicted if a pixel became zero.

    Those are the pixels whose removal hurts most. The paper mentions a signed variant and rejects it; this is the
    authors' implementation.
    """
    benefit = (gradient * image).sum(dim=1, keepdim=True).neg()
    return _zeroed(image, benefit < _floor(benefit, percentile))


def percentiles(values: Tensor, percentile: float) -> Tensor:
    """The percentile of every row, (row,), of values (row, entry), bit-identical to numpy.percentile.

    Linear interpolation between order statistics. As in numpy, the position between them is a float64, and the
    interpolation uses the dtype of the values and starts from the nearer end.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentiles: percentile {percentile} is outside [0, 100]")
    place = (values.shape[1] - 1) * (percentile / 100)
    index = math.floor(place)
    share = place - index
    low, high = _order_statistics(values, index)
    step = high - low
    return high - step * (1 - share) if share >= 0.5 else low + step * share


def _order_statistics(values: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """The entries at `index` and at index + 1 (or the last) of each row when sorted."""
    last = values.shape[1] - 1
    if values.device.type == "cpu":  # torch's kthvalue takes 20 times as long as numpy's partition, its sort 70 times
        parted = np.partition(values.detach().numpy(), index, axis=1)
        low = np.ascontiguousarray(parted[:, index])
        high = parted[:, index + 1 :].min(axis=1) if index < last else low
        return torch.from_numpy(low), torch.from_numpy(high)
    low = values.kthvalue(index + 1, dim=1).values  # on a GPU it selects by digits, a fraction of a sort's work
    return low, values.kthvalue(index + 2, dim=1).values if index < last else low


def _floor(values: Tensor, percentile: float) -> Tensor:
    """The percentile of each image, shaped to broadcast against (batch, channel, row, column)."""
    return percentiles(values.flatten(1), percentile)[:, None, None, None]


def _zeroed(image: Tensor, clipped: Tensor) -> Tensor:
    """The images with the entries marked in `clipped`, (batch, 1 or channel, row, column), set to zero.

    A product, because masked_fill takes five times as long on a CPU. It turns infinite entries into NaN instead of
    zero, but no climb survives infinite entries anyway.
    """
    return image * (~clipped).to(image.dtype)


@functools.lru_cache(maxsize=64)
def blur_matrix(size: int, radius: float) -> np.ndarray:
    """The blur of one axis as a float64 matrix (output, input), read-only."""
    reach = int(TRUNCATE * radius + 0.5)
    offsets = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (offsets / radius) ** 2) if radius > 0 else np.ones(1)
    taps /= taps.sum()
    source = (np.arange(size)[:, None] + offsets) % (2 * size)  # the mirrored image repeats every 2·size
    source = np.where(source < size, source, 2 * size - 1 - source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), taps)
    matrix.flags.writeable = False
    return matrix


@functools.lru_cache(maxsize=64)
def _matrix_on(size: int, radius: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(blur_matrix(size, radius), dtype=dtype, device=device)
