"""The memorisation test: distances of a class's real images from its synthetic pictures, and from each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Network, stream

_ENTRIES = 1 << 22  # compared at a time: 32 MB in double precision

Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right are the first outside


@dataclass(frozen=True)
class Distances:
    """Euclidean distances in every space: the pixels, then the layers in the order of the graph.

    spaces : names.
    images : (image,) numbers, ascending.
    to_pictures : float64 (space, picture, image).
    references : (reference,) numbers, ascending.
    between : float64 (space, reference, image); NaN between an image and itself.
    """

    spaces: tuple[str, ...]
    images: np.ndarray
    to_pictures: np.ndarray
    references: np.ndarray
    between: np.ndarray

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of the image nearest to each picture (−1 for none), and its distance (NaN), both (picture, space).

        The lowest number wins a tie. Distances that are not finite are ignored.
        """
        spaces, pictures, count = self.to_pictures.shape
        if not count:
            return np.full((pictures, spaces), -1, np.int64), np.full((pictures, spaces), np.nan)
        finite = np.where(np.isfinite(self.to_pictures), self.to_pictures, np.inf)
        distance = finite.min(axis=2).T
        number = self.images[finite.argmin(axis=2)].T
        exists = np.isfinite(distance)
        return np.where(exists, number, -1), np.where(exists, distance, np.nan)

    def typical(self) -> np.ndarray:
        """(space,) median over the references of the distance to the nearest other image; NaN if there is none."""
        if not self.between.size:
            return np.full(len(self.spaces), np.nan)
        smallest = np.where(np.isfinite(self.between), self.between, np.inf).min(axis=2)
        finite = [row[np.isfinite(row)] for row in smallest]
        return np.array([np.median(row) if row.size else np.nan for row in finite])


def class_distances(
    network: Network,
    layers: Sequence[str],
    pictures: Iterable[Batch],
    images: Iterable[Batch],
    *,
    window: Box,
    references: Collection[int],
    device: torch.device,
) -> Distances:
    """Distances between the pictures and images of a class, and between the references and all images.

    network : on the device.
    layers : names; a layer's own value is compared, before any ReLU above it.
    pictures, images : batches (numbers, pixels, count) of one shape; images beyond `count` are padding. No image comes
        twice. Pictures have the size of the input, but show the window only.
    window : outside of it, pictures and images are replaced by the mean image, and pixels are not compared.
    references : numbers of the images that are compared with all images; they come first.

    Differences are squared and summed in double precision, pair by pair. So a distance depends on the two images only,
    and is zero between an image and its copy.
    Source: Nguyen et al. 2016, figure S22.
    """
    place = {node: number for number, node in enumerate(network.nodes)}
    ordered = sorted(layers, key=lambda name: place[network.layer(name).node])  # in the order of the stream
    reader = _Reader(network, ordered, window, device)
    held: list[Tensor] = []  # a space each: (picture or reference so far, entry)
    with torch.inference_mode():
        for _, pixels, count in pictures:
            values = list(reader.spaces(pixels, count))
            held = [torch.cat(pair) for pair in zip(held, values, strict=True)] if held else values
        shown, order, rows, tables = len(held[0]), [], [], []
        for numbers, pixels, count in images:
            kept = [place for place, number in enumerate(numbers[:count].tolist()) if number in references]
            if kept and len(rows) < len(order):
                raise ValueError("class_distances: a reference after other images, expected the references first")
            order += numbers[:count].tolist()
            rows += numbers[kept].tolist()
            table = []
            for space, values in enumerate(reader.spaces(pixels, count)):
                if kept:
                    held[space] = torch.cat([held[space], values[kept]])
                table.append(_pairs(held[space], values))
            tables.append(np.stack(table))
    return _whole(("pixels", *reader.layers), shown, order, rows, tables)


class _Reader:
    """Reads batches in every space, one space at a time."""

    def __init__(self, network: Network, layers: Sequence[str], window: Box, device: torch.device) -> None:
        self.layers = layers
        self._network, self._window, self._device = network, window, device

    def spaces(self, pixels: np.ndarray, count: int) -> Iterator[Tensor]:
        """Yield the first `count` images as (image, entry) in each space: uint8 pixels, then float32 of each layer."""
        top, left, bottom, right = self._window
        shown = np.ascontiguousarray(pixels[:count, top:bottom, left:right]).reshape(count, -1)
        yield torch.from_numpy(shown).to(self._device)
        images = centred(self._network.preprocessing, pixels, self._device)
        inside = torch.zeros(images.shape[2:], dtype=torch.bool, device=self._device)
        inside[top:bottom, left:right] = True
        images.masked_fill_(~inside, 0)
        for _, value in stream(self._network, images, self.layers):
            yield value[:count].flatten(1).clone()  # the stream may overwrite its values


def _pairs(held: Tensor, values: Tensor) -> np.ndarray:
    """Distances, float64 (held, image), of every pair of rows, a few rows at a time."""
    some = max(1, _ENTRIES // values.shape[1])
    table = np.empty((len(held), len(values)))
    for column in range(0, len(values), some):
        chunk = values[column : column + some].double()
        for row in range(0, len(held), some):
            distances = torch.cdist(held[row : row + some].double(), chunk, compute_mode="donot_use_mm_for_euclid_dist")
            table[row : row + some, column : column + some] = distances.cpu().numpy()
    return table


def _whole(
    spaces: Sequence[str], shown: int, order: Sequence[int], rows: Sequence[int], tables: Sequence[np.ndarray]
) -> Distances:
    """The distances of all tables (space, picture or reference so far, image of the batch), images sorted by number."""
    whole = np.full((len(spaces), shown + len(rows), len(order)), np.nan)
    column = 0
    for table in tables:
        whole[:, : table.shape[1], column : column + table.shape[2]] = table
        column += table.shape[2]
    between = whole[:, shown:]
    square = between[:, :, : len(rows)]  # of the references alone: they come first, in the order of their rows
    square[...] = np.where(np.isnan(square), square.transpose(0, 2, 1), square)
    square[:, range(len(rows)), range(len(rows))] = np.nan
    images, references = np.argsort(order, kind="stable"), np.argsort(rows, kind="stable")
    return Distances(
        spaces=tuple(spaces),
        images=np.array(order, np.int64)[images],
        to_pictures=whole[:, :shown][:, :, images],
        references=np.array(rows, np.int64)[references],
        between=between[:, references][:, :, images],
    )
