"""The memorisation test: how far the real images of a class lie from its synthetic pictures, and from each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Network, stream

_HELD = 1 << 22  # entries compared at a time: 32 MB in double precision

Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right are the first outside


@dataclass(frozen=True)
class Distances:
    """Euclidean distances in every space: the pixels, then the layers in the order of the graph.

    spaces : names. images : (image,) numbers, rising. to_pictures : float64 (space, picture, image).
    references : (reference,) numbers, rising. between : float64 (space, reference, image), NaN of one to itself.
    """

    spaces: tuple[str, ...]
    images: np.ndarray
    to_pictures: np.ndarray
    references: np.ndarray
    between: np.ndarray

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of the nearest image to each picture (−1 for none) and its distance (NaN), both (picture, space).

        Of equally near images the one with the least number. Distances that are not finite do not count.
        """
        spaces, pictures, count = self.to_pictures.shape
        if not count:
            return np.full((pictures, spaces), -1, np.int64), np.full((pictures, spaces), np.nan)
        known = np.where(np.isfinite(self.to_pictures), self.to_pictures, np.inf)
        distance = known.min(axis=2).T
        number = self.images[known.argmin(axis=2)].T
        there = np.isfinite(distance)
        return np.where(there, number, -1), np.where(there, distance, np.nan)

    def typical(self) -> np.ndarray:
        """(space,) median, over the references, of the distance to the nearest other image; NaN where there is none."""
        if not self.between.size:
            return np.full(len(self.spaces), np.nan)
        least = np.where(np.isfinite(self.between), self.between, np.inf).min(axis=2)
        found = [own[np.isfinite(own)] for own in least]
        return np.array([np.median(own) if own.size else np.nan for own in found])


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
    """Distances of the images of a class from its pictures, and of the references among the images from all of them.

    network : on the device. layers : a layer's own value is compared, before any ReLU above it. pictures, images :
    (numbers, pixels, count), no image twice, all batches of one shape, those beyond `count` padding. Pictures show the
    window alone, but come at the input's size. The references among the images come first. window : outside of it
    pictures and images alike are taken for the mean image, and pixels are not compared.

    The differences themselves are squared and summed, in double precision, pair by pair: a distance depends on nothing
    but the two, and of an image to its copy it is zero.
    Source: Nguyen et al. 2016, figure S22.
    """
    place = {node: number for number, node in enumerate(network.nodes)}
    ordered = sorted(layers, key=lambda name: place[network.layer(name).node])  # as they stream
    reader = _Reader(network, ordered, window, device)
    held: list[Tensor] = []  # a space each: (picture or reference so far, entry)
    with torch.inference_mode():
        for _, pixels, count in pictures:
            found = list(reader.spaces(pixels, count))
            held = [torch.cat(pair) for pair in zip(held, found, strict=True)] if held else found
        known, order, rows, tables = len(held[0]), [], [], []
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
    return _whole(("pixels", *reader.layers), known, order, rows, tables)


class _Reader:
    """Reads batches in every space, one space at a time."""

    def __init__(self, network: Network, layers: Sequence[str], window: Box, device: torch.device) -> None:
        self.layers = layers
        self._network, self._window, self._device = network, window, device

    def spaces(self, pixels: np.ndarray, count: int) -> Iterator[Tensor]:
        """The first `count` images as (image, entry) in each space: bytes of the pixels, then float32 of each layer."""
        top, left, bottom, right = self._window
        shown = np.ascontiguousarray(pixels[:count, top:bottom, left:right]).reshape(count, -1)
        yield torch.from_numpy(shown).to(self._device)
        images = centred(self._network.preprocessing, pixels, self._device)
        inside = torch.zeros(images.shape[2:], dtype=torch.bool, device=self._device)
        inside[top:bottom, left:right] = True
        images.masked_fill_(~inside, 0)
        for _, value in stream(self._network, images, self.layers):
            yield value[:count].flatten(1).clone()  # what is yielded may be written over


def _pairs(held: Tensor, values: Tensor) -> np.ndarray:
    """Distances, float64 (held, image), of every pair of rows, a few rows at a time."""
    some = max(1, _HELD // values.shape[1])
    table = np.empty((len(held), len(values)))
    for column in range(0, len(values), some):
        own = values[column : column + some].double()
        for row in range(0, len(held), some):
            part = torch.cdist(held[row : row + some].double(), own, compute_mode="donot_use_mm_for_euclid_dist")
            table[row : row + some, column : column + some] = part.cpu().numpy()
    return table


def _whole(
    spaces: Sequence[str], known: int, order: Sequence[int], rows: Sequence[int], tables: Sequence[np.ndarray]
) -> Distances:
    """The tables (space, picture or reference so far, image of the batch) together, the images by number."""
    whole = np.full((len(spaces), known + len(rows), len(order)), np.nan)
    column = 0
    for table in tables:
        whole[:, : table.shape[1], column : column + table.shape[2]] = table
        column += table.shape[2]
    between = whole[:, known:]
    square = between[:, :, : len(rows)]  # of the references alone: they come first, in the order of their rows
    square[...] = np.where(np.isnan(square), square.transpose(0, 2, 1), square)
    square[:, range(len(rows)), range(len(rows))] = np.nan
    images, references = np.argsort(order, kind="stable"), np.argsort(rows, kind="stable")
    return Distances(
        spaces=tuple(spaces),
        images=np.array(order, np.int64)[images],
        to_pictures=whole[:, :known][:, :, images],
        references=np.array(rows, np.int64)[references],
        between=between[:, references][:, :, images],
    )
