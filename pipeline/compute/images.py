"""Images of a dataset as the network sees them: batches for mining, and the pixels of hits as a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from atlas_viewer import format
from pipeline.compute.resources import Resources, package_versions
from pipeline.cuts import ground
from pipeline.data.batches import Batch, Skipped, batches
from pipeline.data.source import ImageSource
from pipeline.errors import DataError
from pipeline.records import MiningRecord
from pipeline.store.shard import Pieces, encode_shard
from pipeline.tasks import ImagesTask

MINE_AHEAD = 1  # threads that decode while the network works on the batch before


def read_batches(
    mining: MiningRecord,
    resources: Resources,
    start: int,
    stop: int,
    batch: int,
    threads: int,
    skipped: list[Skipped],
) -> Iterator[Batch]:
    """Images start … stop−1 in batches of one shape; those that cannot be read go to `skipped`."""
    size, source = resources.network.preprocessing, planned_source(mining, resources)
    return batches(
        source,
        start,
        stop,
        height=size.height,
        width=size.width,
        preprocess=mining.dataset.preprocess,
        fill=mean_colour(resources),
        reduced=mining.dataset.reduced_decoding,
        batch=batch,
        threads=threads,
        skipped=skipped,
    )


def planned_source(mining: MiningRecord, resources: Resources) -> ImageSource:
    """The images that the plan is about. DataError if they are not here (any more)."""
    source = resources.source
    if source is None or source.digest != mining.dataset.digest:
        raise DataError(f"dataset {mining.dataset.name}: the images here are not those of the plan; give the same root")
    return source


def mean_colour(resources: Resources) -> tuple[int, int, int]:
    """The network's mean colour, RGB."""
    size = resources.network.preprocessing
    return ground(size.order, size.mean)


def read_images(mining: MiningRecord, resources: Resources, numbers: Sequence[int]) -> dict[int, Batch]:
    """Each of the images in a batch of its own. DataError if one of them cannot be read (any more)."""
    found, skipped = {}, []
    for number in numbers:
        for batch in read_batches(mining, resources, number, number + 1, 1, 0, skipped):
            found[number] = batch
    if skipped:
        raise DataError(f"dataset {mining.dataset.name}: {skipped[0].key} could be read before: {skipped[0].reason}")
    return found


def compute_images(task: ImagesTask, resources: Resources) -> bytes:
    """The shard of some images: pixels, and where each lies in its original."""
    found = read_images(task.mining, resources, task.numbers)
    encode = format.IMAGES["pixels"].encode
    chunks = [encode(found[number].pixels) for number in task.numbers]
    places = [found[number].placements[0] for number in task.numbers]
    height, width = task.image
    boxes = [
        (
            place.first_row,
            place.first_column,
            place.first_row + height * place.row_scale,
            place.first_column + width * place.column_scale,
        )
        for place in places
    ]
    arrays = {
        "pixels": Pieces("u1", (len(chunks), height, width, 3), chunks),
        "placement": np.array(boxes, np.float32).reshape(-1, 4),
        "size": np.array([(place.rows, place.columns) for place in places], np.int32).reshape(-1, 2),
    }
    return encode_shard(task.record(), arrays, {"packages": package_versions()})
