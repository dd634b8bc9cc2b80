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
MOST, LEAST = 0, 1  # sides


def sample_maxima(
    dataset: DatasetRecord, resources: Resources, units: Mapping[str, Sequence[int]], images: int, device: torch.device
) -> Maxima:
    """The largest activations of the layers' units in a sample of the dataset, chosen by hash."""
    numbers = planned_source(dataset, resources).index.sample(images).tolist()

    def batches() -> Iterator[tuple[list[int], np.ndarray]]:
        chosen, pixels = [], []
        for number, image in _read(dataset, resources, numbers):
            chosen.append(number)
            pixels.append(image)
            if len(chosen) == BATCH:
                yield chosen, np.stack(pixels)
                chosen, pixels = [], []
        if chosen:
            yield chosen, np.stack(pixels)

    return read_maxima(placed(resources.network, device), units, batches(), device)


def compute_interpretability(
    task: InterpretabilityTask,
    dataset: DatasetRecord,
    resources: Resources,
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
    asked, network = task.asked, resources.network
    settings = asked.settings
    trials = min(settings.trials, len(maxima.numbers) // (2 * (1 + settings.shown)))
    names = [NATURAL, BOTH, NOISE, *(one.path for one in pictures)]
    scores = np.full((len(names), len(asked.units), 2), np.nan, np.float32)
    if trials:
        count = trials * (1 + settings.shown)
        found = extremes(network, asked.layer, maxima, count, settings.seed)
        unit_trials = _UnitTrials(judge, asked.embedding, found, dataset, resources, device)
        for row in np.flatnonzero(found.varies).tolist():
            generator = np.random.default_rng([settings.seed, asked.units[row]])
            drawn = draw_trials(trials, settings.shown, generator)
            queries, natural = unit_trials.natural(row, drawn)
            scores[0, row] = score(*queries, natural[MOST], None, settings.temperature)
            scores[1, row] = score(*queries, *natural, settings.temperature)
            shape = settings.shown, *(frames(network, asked.layer, axis).size for axis in (0, 1)), 3
            noise = unit_trials.seen(generator.integers(0, 256, shape, np.uint8))
            scores[2, row] = score(*queries, noise[None], None, settings.temperature)
            unit_trials.keep(row, queries)
        for place, one in enumerate(pictures, start=3):
            for row, shown in enumerate(one.units()):
                if shown and found.varies[row]:
                    queries = unit_trials.kept[row]
                    queries = queries[::-1] if one.minimized else queries
                    seen = unit_trials.seen(shown[: settings.shown])
                    scores[place, row] = score(*queries, seen[None], None, settings.temperature)
    arrays = {"score": scores[..., 0].T.copy(), "accuracy": scores[..., 1].T.copy()}
    facts = {"pictures": names, "trials": trials, "images": len(maxima.numbers), "packages": package_versions()}
    return encode_shard(task.record(), arrays, facts)


class _UnitTrials:
    """The embeddings of the extreme patches of a layer, seen from their mean; and those of further pictures."""

    def __init__(
        self,
        judge: Network,
        layer: str,
        found: Extremes,
        dataset: DatasetRecord,
        resources: Resources,
        device: torch.device,
    ) -> None:
        self._judge, self._layer, self._device = judge, layer, device
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        where = np.concatenate([found.image[..., None], found.window], axis=-1)[:, found.varies]
        different, index = np.unique(where.reshape(-1, 5), axis=0, return_inverse=True)
        self._rows = np.flatnonzero(found.varies)
        self._index = index.reshape(where.shape[:-1])
        patches = embed(judge, layer, _patches(different, dataset, resources), device)
        self._centre = patches.mean(axis=0, dtype=np.float64)
        self._natural = directions(patches, self._centre)

    def natural(self, row: int, drawn: Trials) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The images to be told apart (trial, entry), and the pictures shown (trial, picture, entry), of both sides."""
        index = self._index[:, int(np.searchsorted(self._rows, row))]
        sides = (MOST, LEAST)
        return [self._natural[index[side][drawn.query[side]]] for side in sides], [
            self._natural[index[side][drawn.shown[side]]] for side in sides
        ]

    def keep(self, row: int, queries: Sequence[np.ndarray]) -> None:
        """Remember the images that a unit's trials tell apart, for further pictures of it."""
        self.kept[row] = (queries[MOST], queries[LEAST])

    def seen(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The embeddings of pictures, (picture, entry)."""
        return directions(embed(self._judge, self._layer, pictures, self._device), self._centre)


def _patches(where: np.ndarray, dataset: DatasetRecord, resources: Resources) -> Iterator[np.ndarray]:
    """Yield the patch of each row of `where`: image, top, left, bottom, right, images ascending.

    A position that reads nothing but padding has one pixel of the mean colour.
    """
    blank = np.array([[fill_colour(resources)]], np.uint8)
    images, starts = np.unique(where[:, 0], return_index=True)
    ends = [*starts[1:].tolist(), len(where)]
    read = _read(dataset, resources, images.tolist())
    for (_, pixels), start, end in zip(read, starts.tolist(), ends, strict=True):
        for top, left, bottom, right in where[start:end, 1:].tolist():
            yield pixels[top:bottom, left:right] if top < bottom and left < right else blank


def _read(dataset: DatasetRecord, resources: Resources, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and pixels (y, x, rgb) of the images that can be read. numbers : ascending."""
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            for batch in read_batches(dataset, resources, numbers[start], numbers[end - 1] + 1, 1, 0, []):
                yield batch.images[0], batch.pixels[0]
            start = end
