"""The comparator: images compared by what a network makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import SettingsError
from pipeline.nets.network import Network
from pipeline.nets.preprocessing import ORDERS


class Comparator:
    """A network's values at some layers, of images in (-1, 1).

    layers : by name; each is taken after its ReLU. Images are RGB, (batch, 3, row, column), of the network's input
    size or larger: their centre is what the network sees.
    """

    def __init__(self, network: Network, layers: Sequence[str]) -> None:
        if network.preprocessing.order not in ("RGB", "BGR"):
            raise SettingsError(
                f"network {network.name}: reads {network.preprocessing.order} images; priors are made for colour"
            )
        self.network, self.layers = network, tuple(layers)
        for layer in self.layers:
            network.layer(layer)  # raises with the near match
        self._order = list(ORDERS[network.preprocessing.order])
        self._mean = torch.from_numpy(np.ascontiguousarray(network.preprocessing.full_mean, np.float32))

    def values(self, image: Tensor) -> list[Tensor]:
        """The layers' values, float32."""
        size = self.network.preprocessing
        seen = centre(image, (size.height, size.width))
        if self._order != [0, 1, 2]:
            seen = seen[:, self._order]
        centred = seen * 127.5 + (127.5 - self._mean.to(image.device))
        found = self.network.run(centred, list(self.layers))
        return [functional.relu(found[layer].float()) for layer in self.layers]


def centre(image: Tensor, size: Sequence[int]) -> Tensor:
    """The centre of images (…, row, column), of that many rows and columns. Source: the authors' DGN-AM program."""
    top, left = (image.shape[-2] - size[0]) // 2, (image.shape[-1] - size[1]) // 2
    return image[..., top : top + size[0], left : left + size[1]]


def relative_error(made: Tensor, real: Tensor, energy: Tensor | float) -> Tensor:
    """Mean square of the difference over the mean square of a real image's values."""
    return functional.mse_loss(made, real) / energy


def half_squares(made: Tensor, real: Tensor) -> Tensor:
    """Half the sum of squares of the difference, per image. Source: Caffe's EuclideanLoss, as published."""
    return (made - real).square().sum() / (2 * len(made))


def shifted(images: Sequence[Tensor], reach: int, generator: torch.Generator) -> list[Tensor]:
    """The batches of images, all moved alike by up to `reach` pixels either way; edges repeat."""
    down, right = (int(torch.randint(0, 2 * reach + 1, (), generator=generator)) for _ in range(2))
    rows, columns = images[0].shape[-2:]
    padded = [functional.pad(image, (reach,) * 4, mode="replicate") for image in images]
    return [image[:, :, down : down + rows, right : right + columns] for image in padded]
