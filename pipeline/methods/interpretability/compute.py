"""Compute the machine interpretability score of a layer's units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from pipeline.dataset_settings import DatasetRecord
from pipeline.methods.interpretability.embedding import directions, embed
from pipeline.methods.interpretability.extremes import Extremes, Maxima, extremes, read_maxima
from pipeline.methods.interpretability.pictures import ShownPictures
from pipeline.methods.interpretability.task import InterpretabilityTask
from pipeline.methods.interpretability.trials import Trials, draw_trials, score
from pipeline.nets.network import Network
from pipeline.nets.window import frames
from pipeline.planned_images import fill_colour, planned_source, read_batches
from pipeline.resources import Resources, package_versions, placed
from pipeline.store.shard import encode_shard

NATURAL, BOTH, NOISE = "natural", "natural_both", "noise"  # pictures that no setting of the atlas made
BATCH = 32  # images of one forward pass
DIRECTED = 1024  # embeddings that are in double precision at a time; a wide layer has a hundred thousand
KEPT_BYTES = 1 << 28  # of images that are kept in memory, because every layer reads them
MOST, LEAST = 0, 1  # sides
NOISE_POOL = 10  # times the pictures of a trial: so many are drawn for a layer, and each unit takes some


class SampleImages:
    """The images of a dataset, as the network reads them. The first ones that are read are kept, as far as they fit."""

    def __init__(self, dataset: DatasetRecord, resources: Resources) -> None:
        self.resources = resources
        self._dataset, self._kept = dataset, {}
        size = resources.network.preprocessing
        self._most = KEPT_BYTES // (3 * size.height * size.width)

    def sample(self, count: int) -> list[int]:
        """Numbers of a sample of the dataset, chosen by hash, ascending."""
        return planned_source(self._dataset, self.resources).index.sample(count).tolist()

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield number and pixels (y, x, rgb) of those that can be read. numbers : ascending."""
        start = 0
        for end in range(1, len(numbers) + 1):
            held = numbers[end - 1] in self._kept
            if held or end == len(numbers) or numbers[end] != numbers[end - 1] + 1 or numbers[end] in self._kept:
                if held:
                    yield numbers[end - 1], self._kept[numbers[end - 1]]
                else:
                    yield from self._run(numbers[start], numbers[end - 1] + 1)
                start = end

    def _run(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        for batch in read_batches(self._dataset, self.resources, start, stop, 1, 0, []):
            if len(self._kept) < self._most:
                self._kept[batch.images[0]] = batch.pixels[0]
            yield batch.images[0], batch.pixels[0]


def sample_maxima(images: SampleImages, units: Mapping[str, Sequence[int]], count: int, device: torch.device) -> Maxima:
    """The largest activations of the layers' units in a sample of the dataset."""

    def batches() -> Iterator[tuple[list[int], np.ndarray]]:
        chosen, pixels = [], []
        for number, image in images.read(images.sample(count)):
            chosen.append(number)
            pixels.append(image)
            if len(chosen) == BATCH:
                yield chosen, np.stack(pixels)
                chosen, pixels = [], []
        if chosen:
            yield chosen, np.stack(pixels)

    return read_maxima(placed(images.resources.network, device), units, batches(), device)


def compute_interpretability(
    task: InterpretabilityTask,
    images: SampleImages,
    judge: Network,
    maxima: Maxima,
    pictures: Sequence[ShownPictures],
    device: torch.device,
) -> bytes:
    """The shard of a layer: score and accuracy (unit, pictures), NaN for units that do not vary or lack these pictures.

    judge : on the device.
    maxima : of the task's units.
    pictures : those that the task's record names.
    """
    asked, settings = task.asked, task.asked.settings
    trials = min(settings.trials, len(maxima.numbers) // (2 * (1 + settings.shown)))
    names = [NATURAL, BOTH, NOISE, *(one.path for one in pictures)]
    told = np.full((2, len(asked.units), len(names)), np.nan, np.float32)  # score and accuracy
    if trials:
        count = trials * (1 + settings.shown)
        found = extremes(images.resources.network, asked.layer, maxima, count, settings.seed)
        seen = _Embedded(task, found, images, judge, device)
        drawn: dict[int, Trials] = {}
        for row in np.flatnonzero(found.varies).tolist():
            generator = np.random.default_rng([settings.seed, asked.units[row]])
            drawn[row] = draw_trials(trials, settings.shown, generator)
            queries, natural = seen.natural(row, drawn[row].query), seen.natural(row, drawn[row].shown)
            noise = seen.noise[generator.permutation(len(seen.noise))[: settings.shown]]
            told[:, row, 0] = score(*queries, natural[MOST], None, settings.temperature)
            told[:, row, 1] = score(*queries, *natural, settings.temperature)
            told[:, row, 2] = score(*queries, noise[None], None, settings.temperature)
        for place, one in enumerate(pictures, start=3):
            for row, shown in enumerate(one.units()):
                if shown and row in drawn:
                    queries = seen.natural(row, drawn[row].query)
                    own = seen.of(shown[: settings.shown])[None]
                    told[:, row, place] = score(
                        *(reversed(queries) if one.minimized else queries), own, None, settings.temperature
                    )
    arrays = {"score": told[0], "accuracy": told[1]}
    facts = {"pictures": names, "trials": trials, "images": len(maxima.numbers), "packages": package_versions()}
    return encode_shard(task.record(), arrays, facts)


class _Embedded:
    """The embeddings of a layer's extreme patches, seen from their mean; of noise, and of further pictures.

    noise : (picture, entry), of pixels drawn evenly from all levels, as large as the layer's windows.
    """

    def __init__(
        self,
        task: InterpretabilityTask,
        found: Extremes,
        images: SampleImages,
        judge: Network,
        device: torch.device,
    ) -> None:
        asked, network = task.asked, images.resources.network
        self._judge, self._layer, self._device = judge, asked.embedding, device
        where = np.concatenate([found.image[..., None], found.window], axis=-1)  # (side, unit, rank, 5)
        different, index = np.unique(where.reshape(-1, 5), axis=0, return_inverse=True)
        self._index = index.reshape(where.shape[:-1])
        patches = embed(judge, asked.embedding, _patches(different, images), device)
        self._centre = patches.mean(axis=0, dtype=np.float64)
        for start in range(0, len(patches), DIRECTED):
            patches[start : start + DIRECTED] = directions(patches[start : start + DIRECTED], self._centre)
        self._natural = patches
        size = (frames(network, asked.layer, axis).size for axis in (0, 1))
        shape = NOISE_POOL * asked.settings.shown, *size, 3
        self.noise = self.of(np.random.default_rng(asked.settings.seed).integers(0, 256, shape, np.uint8))

    def natural(self, row: int, ranks: np.ndarray) -> list[np.ndarray]:
        """Of a unit's extreme patches those of these ranks (side, …), for each side (…, entry)."""
        return [self._natural[self._index[side, row][ranks[side]]].astype(np.float64) for side in (MOST, LEAST)]

    def of(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The embeddings of pictures, (picture, entry)."""
        return directions(embed(self._judge, self._layer, pictures, self._device), self._centre)


def _patches(where: np.ndarray, images: SampleImages) -> Iterator[np.ndarray]:
    """Yield the patch of each row of `where`: image, top, left, bottom, right, images ascending.

    A position that reads nothing but padding has one pixel of the mean colour.
    """
    blank = np.array([[fill_colour(images.resources)]], np.uint8)
    numbers, starts = np.unique(where[:, 0], return_index=True)
    ends = [*starts[1:].tolist(), len(where)]
    for (_, pixels), start, end in zip(images.read(numbers.tolist()), starts.tolist(), ends, strict=True):
        for top, left, bottom, right in where[start:end, 1:].tolist():
            yield pixels[top:bottom, left:right] if top < bottom and left < right else blank
