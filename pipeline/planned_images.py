"""Images of the dataset of a plan, as the network sees them."""

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
    """Images start … stop−1 in batches of one shape; those that cannot be read go to `skipped`."""
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
    )


def planned_source(dataset: DatasetRecord, resources: Resources) -> ImageSource:
    """The images that the plan is about. DataError if they are not here (any more)."""
    source = resources.source
    if source is None or source.digest != dataset.digest:
        raise DataError(f"dataset {dataset.name}: the images here are not those of the plan; give the same root")
    return source


def fill_colour(resources: Resources) -> tuple[int, int, int]:
    """The network's mean colour, RGB."""
    size = resources.network.preprocessing
    return mean_colour(size.order, size.mean)


def read_images(dataset: DatasetRecord, resources: Resources, numbers: Sequence[int]) -> dict[int, Batch]:
    """Each of the images in a batch of its own. DataError if one of them cannot be read (any more)."""
    read, skipped = {}, []
    for number in numbers:
        for batch in read_batches(dataset, resources, number, number + 1, 1, 0, skipped):
            read[number] = batch
    if skipped:
        raise DataError(f"dataset {dataset.name}: {skipped[0].key} could be read before: {skipped[0].reason}")
    return read
