"""Errors of a generator's reconstructions on held-out images, beside baselines; and the strength of grid artifacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.training_images import Pictures
from pipeline.training.classifiers.augmentation import blurred
from pipeline.training.priors.comparator import Comparator, centre, real_images

PERIODS = (2, 4, 8, 16)  # pixels: strides and their products
_BATCH = 50  # images
_BLUR = 3.0  # pixels: sigma of the blurred image
_NEIGHBOURS = 2  # frequencies on either side with which a peak is compared
_FLOOR = 1e-12  # share of all power below which values are rounding errors
_LEAST_PLACE = 3  # lowest frequency, in cycles an image: below, the neighbours are the image's own slow variation


@dataclass(frozen=True)
class Errors:
    """Mean errors over images."""

    pixel: float  # mean square of the difference, levels in [0, 1]
    shared: float  # root mean square of the mean difference, pixel levels: marks at the same positions of all images
    code: float  # square of the code's difference, over the square of the code's distance from the mean code
    layers: dict[str, float]  # by layer: mean square of the difference, over the mean square of the values
    grid: dict[int, float]  # by period, in pixels: power of a grid over its neighbours, dB; not quite 0 for real images


def reconstruct(generator: nn.Module, encoder: Comparator, images: Tensor) -> Tensor:
    """Return the generator's images for the codes of `images`, both in (-1, 1), float32 (batch, 3, row, column)."""
    with torch.no_grad():
        return generator(encoder.values(images)[0])


def measure_errors(
    generator: nn.Module,
    encoder: Comparator,
    layers: Comparator,
    held_out: Pictures,
    mean: np.ndarray,
    count: int,
    device: torch.device,
) -> dict[str, Errors]:
    """Return the errors of the reconstructions of held-out images, and of baselines, by name.

    The baselines are the mean of the measured images, a blurred copy of each image, and the image itself.

    generator : in evaluation mode, on `device`.
    encoder : the value of its single layer is the code.
    layers : the layers that are compared.
    held_out : images of the network's input size.
    mean : the mean code, (entry,).
    count : number of images, the first ones; at most all of them are used.
    device : where generator and network compute.
    """
    count = min(count, len(held_out))
    batches = [slice(at, min(at + _BATCH, count)) for at in range(0, count, _BATCH)]
    sums_of_images = torch.stack([real_images(held_out, rows).sum(0) for rows in batches])
    mean_image = (sums_of_images.sum(0, keepdim=True) / count).to(device)
    answers = {
        "reconstruction": lambda images: reconstruct(generator, encoder, images),
        "mean image": lambda images: mean_image.expand_as(images),
        "blurred image": lambda images: blurred(
            images, sigma=_BLUR, rows=images.new_ones(len(images), dtype=torch.bool)
        ),
        "image itself": lambda images: images,
    }
    sums = {name: np.zeros(2 + 2 * len(layers.layers) + 1) for name in answers}
    power, shared = {name: 0 for name in answers}, {name: 0 for name in answers}
    mean_code = torch.from_numpy(mean).to(device)
    for rows in batches:
        images = real_images(held_out, rows).to(device)
        with torch.no_grad():
            code, targets = encoder.values(images)[0].flatten(1), layers.values(images)
            for name, answer in answers.items():
                made = centre(answer(images), images.shape[-2:])
                power[name] = power[name] + axis_power(made)
                shared[name] = shared[name] + (made - images).double().sum(0)
                new_code, values = encoder.values(made)[0].flatten(1), layers.values(made)
                sums[name] += np.array(
                    [
                        float(((made - images) / 2).square().mean()) * len(images),
                        float((new_code - code).square().sum()),
                        float((code - mean_code).square().sum()),
                        *(float((one - other).square().sum()) for one, other in zip(values, targets, strict=True)),
                        *(float(other.square().sum()) for other in targets),
                    ]
                )
    return {
        name: Errors(
            pixel=total[0] / count,
            shared=float((shared[name] / count).square().mean().sqrt()) * 127.5,  # type: ignore[attr-defined]
            code=total[1] / total[2],
            layers={
                layer: total[3 + place] / total[3 + len(layers.layers) + place]
                for place, layer in enumerate(layers.layers)
            },
            grid=grid_decibels(power[name]),
        )
        for name, total in sums.items()
    }


def periods(size: tuple[int, int]) -> tuple[int, ...]:
    """Return the periods that can be measured in images of this size, (rows, columns)."""
    side = _side(size)
    return tuple(period for period in PERIODS if side // period >= _LEAST_PLACE)


def axis_power(images: Tensor) -> np.ndarray:
    """Return the power of images along each axis, float64 (axis, frequency), frequencies from 0 to 1/2 per pixel.

    This is the sum over images and channels of |DFT|² where the other axis's frequency is zero. The results of several
    batches can be added.

    images : (batch, channel, row, column); the centred square whose side is a multiple of all periods is used.
    """
    side = _side(tuple(images.shape[-2:]))
    square = centre(images, (side, side)).double()
    both = [torch.fft.rfft(square.mean(axis)).abs().square().flatten(0, 1).sum(0) for axis in (-1, -2)]
    return torch.stack(both).cpu().numpy()


def grid_decibels(power: np.ndarray) -> dict[int, float]:
    """Return, by period, the power at its axis frequency over the mean power of the neighbours, in dB; 0 means no grid.

    power : as axis_power returns, or a sum of several. The axis with the larger ratio counts. Zero power gives 0 dB.
    """
    most = power.shape[1] - 1
    power = np.maximum(power, max(_FLOOR * float(power.sum()), np.finfo(np.float64).tiny))
    decibels = {}
    for period in periods((2 * most, 2 * most)):
        place = 2 * most // period
        near = [at for at in range(place - _NEIGHBOURS, place + _NEIGHBOURS + 1) if at != place and at <= most]
        decibels[period] = float(10 * np.log10(power[:, place] / power[:, near].mean(1)).max())
    return decibels


def _side(size: tuple[int, int]) -> int:
    """Largest side of a square in the image that is a multiple of all periods; of small images, an even one."""
    least = min(size)
    return least - least % PERIODS[-1] if least >= PERIODS[-1] else least - least % 2
