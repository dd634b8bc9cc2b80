"""How well a generator gives back held-out images, against what costs nothing, and whether a grid lies over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.training_images import Pictures
from pipeline.training.augment import blurred
from pipeline.training.comparator import Comparator, centre
from pipeline.training.grid import axis_power, grid_decibels

_BATCH = 50
_BLUR = 3.0  # pixels: sigma of the blurred image


@dataclass(frozen=True)
class Errors:
    """Mean errors over images. pixel : mean square, of levels in [0, 1]. code : square of the code's difference over
    the square of its distance from the mean code. layers : mean square of each layer's difference over the mean square
    of its values, by name. shared : what all images have wrong alike, marks at the same places: root mean square of
    the mean difference, pixel levels. grid : decibels of a grid of each period, in pixels, over its neighbours; of real
    images too it is not quite 0."""

    pixel: float
    shared: float
    code: float
    layers: dict[str, float]
    grid: dict[int, float]


def reconstruct(generator: nn.Module, encoder: Comparator, images: Tensor) -> Tensor:
    """What the generator makes of the images' codes; images in (-1, 1), float32."""
    with torch.no_grad():
        return generator(encoder.values(images)[0])


def real_images(pictures: Pictures, rows: slice | np.ndarray) -> Tensor:
    """Pictures as images in (-1, 1), (batch, 3, row, column)."""
    pixels = torch.from_numpy(pictures.pixels(rows)).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def measure_errors(
    generator: nn.Module,
    encoder: Comparator,
    layers: Comparator,
    held_out: Pictures,
    mean: np.ndarray,
    count: int,
    device: torch.device,
) -> dict[str, Errors]:
    """Errors of the reconstructions of the first `count` held-out images, and of trivial answers, by name.

    mean : the mean code, (entry,). device : where generator and network are. The mean image is that of the
    images measured.
    """
    count = min(count, len(held_out))
    whole = torch.stack(
        [real_images(held_out, slice(at, min(at + _BATCH, count))).sum(0) for at in range(0, count, _BATCH)]
    )
    mean_image = (whole.sum(0, keepdim=True) / count).to(device)
    answers = {
        "reconstruction": lambda images: reconstruct(generator, encoder, images),
        "mean image": lambda images: mean_image.expand_as(images),
        "blurred image": lambda images: blurred(images, sigma=_BLUR, rows=torch.ones(len(images), dtype=torch.bool)),
        "image itself": lambda images: images,
    }
    sums = {name: np.zeros(2 + 2 * len(layers.layers) + 1) for name in answers}
    power, shared = {name: 0 for name in answers}, {name: 0 for name in answers}
    typical = torch.from_numpy(mean).to(device)
    for at in range(0, count, _BATCH):
        images = real_images(held_out, slice(at, min(at + _BATCH, count))).to(device)
        with torch.no_grad():
            code, values = encoder.values(images)[0].flatten(1), layers.values(images)
            for name, answer in answers.items():
                made = centre(answer(images), images.shape[-2:])
                power[name] = power[name] + axis_power(made)
                shared[name] = shared[name] + (made - images).double().sum(0)
                again, found = encoder.values(made)[0].flatten(1), layers.values(made)
                sums[name] += np.array(
                    [
                        float(((made - images) / 2).square().mean()) * len(images),
                        float((again - code).square().sum()),
                        float((code - typical).square().sum()),
                        *(float((one - other).square().sum()) for one, other in zip(found, values, strict=True)),
                        *(float(other.square().sum()) for other in values),
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
