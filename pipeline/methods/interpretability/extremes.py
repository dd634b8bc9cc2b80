"""The images that excite each unit most and least, and where in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.nets.device_images import centred
from pipeline.nets.network import Network, stream
from pipeline.nets.window import frames

VARIES = 1e-8  # least difference between images of a unit that varies; Source: Zimmermann et al. 2024, constant units


@dataclass(frozen=True)
class LayerMaxima:
    """The largest activation of each unit in each image, (image, unit).

    place : row · width + column of its first position.
    """

    value: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Maxima:
    """The largest activations of units in a sample of images. numbers : int64 (image,), ascending."""

    numbers: np.ndarray
    layers: Mapping[str, LayerMaxima]


@dataclass(frozen=True)
class Extremes:
    """The extreme images of a layer's units. Sides: most exciting, least exciting; both begin with the most extreme.

    image : int (side, unit, rank), number in the dataset.
    window : int (side, unit, rank, 4), the pixels that the position of the largest activation depends on: top, left,
        bottom, right.
    varies : bool (unit,), whether the unit's largest activation differs between images.
    """

    image: np.ndarray
    window: np.ndarray
    varies: np.ndarray


def read_maxima(
    network: Network,
    units: Mapping[str, Sequence[int]],
    batches: Iterable[tuple[Sequence[int], np.ndarray]],
    device: torch.device,
) -> Maxima:
    """The largest activations of the layers' units, in one pass over the images.

    network : on the device.
    units : layer → its units.
    batches : numbers and pixels (image, y, x, rgb) of images, numbers ascending.
    """
    numbers: list[int] = []
    values: dict[str, list[np.ndarray]] = {layer: [] for layer in units}
    places: dict[str, list[np.ndarray]] = {layer: [] for layer in units}
    with torch.inference_mode():
        for chosen, pixels in batches:
            numbers += chosen
            for layer, maps in stream(network, centred(network.preprocessing, pixels, device), list(units)):
                value, place = maps.flatten(2).max(dim=2) if maps.dim() == 4 else (maps, torch.zeros_like(maps))
                own = list(units[layer])
                values[layer].append(value[:, own].cpu().numpy())
                places[layer].append(place[:, own].to(torch.int32).cpu().numpy())
    layers = {name: LayerMaxima(np.concatenate(values[name]), np.concatenate(places[name])) for name in units}
    return Maxima(np.array(numbers, np.int64), layers)


def extremes(network: Network, layer: str, maxima: Maxima, count: int, seed: int) -> Extremes:
    """The `count` most and least exciting images of a layer's units; among equal ones a permutation decides.

    An image in which a unit is not a number is at neither end.
    """
    value, place = maxima.layers[layer].value, maxima.layers[layer].place
    mixed = np.random.default_rng(seed).permutation(len(value))
    ascending = mixed[np.argsort(value[mixed], axis=0, kind="stable")]  # not-a-number last
    finite = np.isfinite(value).sum(axis=0)
    last = np.maximum(finite - 1 - np.arange(count)[:, None], 0)
    chosen = np.stack([np.take_along_axis(ascending, last, axis=0), ascending[:count]])  # (side, rank, unit)
    rows, columns = np.divmod(place[chosen, np.arange(value.shape[1])], network.layer(layer).width)
    vertical, horizontal = (frames(network, layer, axis) for axis in (0, 1))
    window = [vertical.start[rows], horizontal.start[columns], vertical.stop[rows], horizontal.stop[columns]]
    bounded = np.where(np.isfinite(value), value, np.nan)
    spread = np.fmax.reduce(bounded, axis=0) - np.fmin.reduce(bounded, axis=0)
    return Extremes(
        image=np.moveaxis(maxima.numbers[chosen], 1, 2),
        window=np.moveaxis(np.stack(window, axis=-1), 1, 2),
        varies=(spread > VARIES) & (finite >= 2 * count),
    )
