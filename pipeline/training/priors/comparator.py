"""Values of a network's layers for images in (-1, 1), and their statistics over real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.training_images import Pictures
from pipeline.errors import SettingsError
from pipeline.nets.network import Network
from pipeline.nets.preprocessing import ORDERS

_STATISTICS_BATCH = 100  # images


class Comparator:
    """Computes the values of some layers of a network, each after its ReLU.

    Images are compared by these values. With a single layer it is the encoder, whose value is an image's code.
    """

    def __init__(self, network: Network, layers: Sequence[str]) -> None:
        """
        network : its colour order must be RGB or BGR.
        layers : names of layers.
        Raises UnitError, with the nearest name, for a layer that the network lacks; SettingsError for a grey network.
        """
        if network.preprocessing.order not in ("RGB", "BGR"):
            raise SettingsError(
                f"network {network.name}: reads {network.preprocessing.order} images; priors are made for colour"
            )
        self.network, self.layers = network, tuple(layers)
        for layer in self.layers:
            network.layer(layer)
        self._order = list(ORDERS[network.preprocessing.order])
        self._mean = torch.from_numpy(np.ascontiguousarray(network.preprocessing.full_mean, np.float32))

    def values(self, image: Tensor) -> list[Tensor]:
        """Return the layers' values, float32, in the order of the layers.

        image : RGB in (-1, 1), (batch, 3, row, column), of the network's input size or larger; the centre is used.
        """
        size = self.network.preprocessing
        cut = centre(image, (size.height, size.width))
        if self._order != [0, 1, 2]:
            cut = cut[:, self._order]
        centred = cut * 127.5 + (127.5 - self._mean.to(image.device))
        values = self.network.run(centred, list(self.layers))
        return [functional.relu(values[layer].float()) for layer in self.layers]


@dataclass(frozen=True)
class CodeStatistics:
    """Statistics of real images' codes and of the compared layers, measured before a training run."""

    mean: np.ndarray  # float32 (entry,)
    deviation: np.ndarray  # standard deviation, float32 (entry,)
    scale: float  # root mean square of all entries
    energies: list[float]  # mean square of each compared layer's values


def code_statistics(
    encoder: Comparator, comparator: Comparator, train: Pictures, count: int, seed: int, device: torch.device
) -> CodeStatistics:
    """Measure codes and layers over real images, with sums in float64.

    encoder : the value of its single layer is the code.
    train : images of the network's input size.
    count : number of images, chosen at random; at most all of them are used.
    device : where the network computes.
    """
    count = min(count, len(train))
    rows = np.sort(np.random.Generator(np.random.Philox(key=[seed, 1 << 40])).permutation(len(train))[:count])
    total = squares = None
    energies = np.zeros(len(comparator.layers))
    for at in range(0, count, _STATISTICS_BATCH):
        pixels = torch.from_numpy(train.pixels(rows[at : at + _STATISTICS_BATCH]))
        images = pixels.permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        with torch.no_grad():
            code = encoder.values(images)[0].flatten(1).double().cpu().numpy()
            energies += [float(value.double().square().mean()) * len(images) for value in comparator.values(images)]
        total = code.sum(0) if total is None else total + code.sum(0)
        squares = np.square(code).sum(0) if squares is None else squares + np.square(code).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return CodeStatistics(
        mean.astype(np.float32), deviation.astype(np.float32), float(np.sqrt(squares.mean() / count)),
        (energies / count).tolist(),
    )  # fmt: skip


def real_images(pictures: Pictures, rows: slice | np.ndarray) -> Tensor:
    """Return pictures as RGB images in (-1, 1), float32 (batch, 3, row, column)."""
    pixels = torch.from_numpy(pictures.pixels(rows)).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def centre(image: Tensor, size: Sequence[int]) -> Tensor:
    """Return the centre of images (…, row, column).

    size : rows and columns of the result.
    Source: the authors' DGN-AM program.
    """
    top, left = (image.shape[-2] - size[0]) // 2, (image.shape[-1] - size[1]) // 2
    return image[..., top : top + size[0], left : left + size[1]]


def shifted(images: Sequence[Tensor], reach: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of images that are all shifted by the same random offset; edge pixels repeat.

    images : each (batch, channel, row, column).
    reach : largest offset in each direction, pixels.
    """
    down, right = (int(torch.randint(0, 2 * reach + 1, (), generator=generator)) for _ in range(2))
    rows, columns = images[0].shape[-2:]
    padded = [functional.pad(image, (reach,) * 4, mode="replicate") for image in images]
    return [image[:, :, down : down + rows, right : right + columns] for image in padded]
