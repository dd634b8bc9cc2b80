"""The images of a plan's dataset, as the network reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.card import mean_colour
from pipeline.data.batches import Batch, Skipped, batches
from pipeline.data.source import ImageSource
from pipeline.dataset_settings import DatasetRecord
from pipeline.errors import DataError
from pipeline.resources import Resources


def read_batches(
    dataset: DatasetRecord,
    resources: Resources,
    start: int,
    stop: int,
    batch: int,
    threads: int,
    skipped: list[Skipped],
) -> Iterator[Batch]:
    """Yield images start … stop−1 in batches of one shape.

    threads : number of threads that decode; 0 for the caller's own.
    skipped : receives the images that cannot be read.
    """
    size, source = resources.network.preprocessing, planned_source(dataset, resources)
    return batches(
        source,
        start,
        stop,
        height=size.height,
        width=size.width,
        preprocess=dataset.preprocess,
        fill=fill_colour(resources),
        reduced=dataset.reduced_decoding,
        batch=batch,
        threads=threads,
        skipped=skipped,
        interpolation=size.interpolation,
    )


def planned_source(dataset: DatasetRecord, resources: Resources) -> ImageSource:
    """The images of the plan. Raises DataError if others, or none, are open."""
    source = resources.source
    if source is None or source.digest != dataset.digest:
        raise DataError(f"dataset {dataset.name}: the images here are not those of the plan; give the same root")
    return source


def fill_colour(resources: Resources) -> tuple[int, int, int]:
    """The network's mean colour, RGB."""
    size = resources.network.preprocessing
    return mean_colour(size.order, size.mean)


def read_images(dataset: DatasetRecord, resources: Resources, numbers: Sequence[int]) -> dict[int, Batch]:
    """Number → image, as a batch of one. Raises DataError for an image that can no longer be read."""
    read, skipped = {}, []
    for number in numbers:
        for batch in read_batches(dataset, resources, number, number + 1, 1, 0, skipped):
            read[number] = batch
    if skipped:
        raise DataError(f"dataset {dataset.name}: {skipped[0].key} could be read before: {skipped[0].reason}")
    return read
