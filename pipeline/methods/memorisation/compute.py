"""Compute the memorisation test of one class: the real images nearest to its pictures, and the typical distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.data.batches import Skipped
from pipeline.methods.memorisation.distances import class_distances
from pipeline.methods.memorisation.task import MemorisationTask
from pipeline.nets.device_images import Batch
from pipeline.planned_images import planned_source, read_batches
from pipeline.resources import Resources, package_versions, placed, prepare
from pipeline.store.shard import encode_shard


def compute_memorisation(task: MemorisationTask, resources: Resources) -> bytes:
    """The shard of a class: the nearest image for each sample and space, with keys and hashes of these images."""
    index = planned_source(task.dataset, resources).index
    device = prepare(task.device)
    network = placed(resources.network, device)
    chosen = index.sample(task.settings.images, np.flatnonzero(index.labels == task.unit))
    references = set(index.sample(task.settings.typical, chosen).tolist())
    order = sorted(chosen.tolist(), key=lambda number: (number not in references, number))
    shown = np.flatnonzero(task.shown)
    distances = class_distances(
        network,
        task.layers,
        _pictures(task, network.preprocessing.height, network.preprocessing.width),
        _images(task, resources, order),
        window=task.window,
        references=references,
        device=device,
    )
    nearest = np.full((len(task.shown), len(distances.spaces)), -1, np.int64)
    distance = np.full(nearest.shape, np.nan, np.float32)
    nearest[shown], distance[shown] = distances.nearest()
    numbers = np.unique(nearest[nearest >= 0])
    arrays = {
        "nearest": nearest,
        "distance": distance,
        "typical": distances.typical().astype(np.float32),
        "numbers": numbers,
        "hashes": index.hashes[numbers],
    }
    facts = {
        "packages": package_versions(),
        "images": len(distances.images),
        "keys": [index.keys[number] for number in numbers],
        "spaces": list(distances.spaces),
    }
    return encode_shard(task.record(), arrays, facts)


def _pictures(task: MemorisationTask, height: int, width: int) -> Iterator[Batch]:
    """Yield the existing pictures, placed in the network's input, in batches of the images' shape."""
    top, left, bottom, right = task.window
    chosen = task.pixels[list(task.shown)]
    whole = np.zeros((len(chosen), height, width, 3), np.uint8)
    whole[:, top:bottom, left:right] = chosen
    yield from _batches(enumerate(whole), task.batch)


def _images(task: MemorisationTask, resources: Resources, numbers: Sequence[int]) -> Iterator[Batch]:
    """Yield images of the dataset in the order of the numbers; unreadable ones are left out, as in mining."""
    skipped: list[Skipped] = []
    single = (
        (number, batch.pixels[0])
        for number in numbers
        for batch in read_batches(task.dataset, resources, number, number + 1, 1, 0, skipped)
    )
    yield from _batches(single, task.batch)


def _batches(single: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[Batch]:
    """Yield pictures with their numbers in batches of one shape; the last is padded with its last picture."""
    waiting: list[tuple[int, np.ndarray]] = []
    for one in single:
        waiting.append(one)
        if len(waiting) == size:
            yield _batch(waiting, size)
            waiting = []
    if waiting:
        yield _batch(waiting, size)


def _batch(waiting: Sequence[tuple[int, np.ndarray]], size: int) -> Batch:
    numbers, pixels = zip(*waiting, strict=True)
    return np.array(numbers, np.int64), np.stack([*pixels, *pixels[-1:] * (size - len(pixels))]), len(numbers)


COMPUTE = {MemorisationTask: compute_memorisation}
