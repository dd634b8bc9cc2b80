"""Compute the tasks of the dataset side: mining a block of images, pixels of images, back-projections."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from atlas_viewer.evidence.dataset import IMAGES
from atlas_viewer.evidence.tops import TOPS
from pipeline.data.batches import Skipped
from pipeline.errors import DataError
from pipeline.methods.tops.backproject import back_project, encode8
from pipeline.methods.tops.mine import MineSettings, mine_block
from pipeline.methods.tops.task import BackprojectTask, ImagesTask, MineTask
from pipeline.nets.preprocessing import ORDERS
from pipeline.planned_images import read_batches, read_images
from pipeline.resources import Resources, package_versions, placed, prepare
from pipeline.store.shard import Pieces, encode_shard

# Threads that decode while the network runs on the previous batch: a GPU outruns one of them many times.
MINE_AHEAD = {"cpu": 1, "cuda": 8}
TOLERANCE = 1e-3  # of the task's largest activation: in float32 a cone is not bit-identical to the whole pass


def compute_mining(task: MineTask, resources: Resources) -> bytes:
    """The shard of a block of images: the block's arrays, and the images that were left out with their reasons."""
    if resources.source is None:
        raise DataError("mining: no dataset; choose one by DATASET=…")
    mining, index, skipped = task.mining, resources.source.index, []
    device = prepare(mining.device)
    tops, dataset = mining.tops, mining.dataset
    images = range(task.start, task.stop)
    result = mine_block(
        placed(resources.network, device),
        task.layers,
        _batches(task, resources, skipped),
        settings=MineSettings(
            tops.k, tops.smallest, tops.own_class and dataset.ordered, tops.quantiles, tops.positions
        ),
        sample=_sample(resources, tops.sample, images),
        position_sample=_sample(resources, tops.position_images(dataset.images), images),
        labels={image: int(index.labels[image]) for image in images if index.labels[image] >= 0},
        classes=len(dataset.classes),
        device=device,
    )
    facts = {
        "packages": package_versions(),
        "skipped": [[bad.image, bad.key, bad.reason] for bad in skipped],
    }
    return encode_shard(task.record(), result.arrays(), facts)


def _sample(resources: Resources, count: int, images: range) -> set[int]:
    """The images of a block that belong to a sample of the whole dataset."""
    chosen = resources.source.index.sample(count)
    low, high = np.searchsorted(chosen, [images.start, images.stop])
    return set(chosen[low:high].tolist())


def _batches(
    task: MineTask, resources: Resources, skipped: list[Skipped]
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    dataset, ahead = task.mining.dataset, MINE_AHEAD[task.mining.device.kind]
    for batch in read_batches(dataset, resources, task.start, task.stop, task.batch, ahead, skipped):
        yield np.array(batch.images, np.int64), batch.pixels, batch.count


def compute_images(task: ImagesTask, resources: Resources) -> bytes:
    """The shard of some images: their pixels, and the placement of each in its original."""
    read = read_images(task.dataset, resources, task.numbers)
    encode = IMAGES["pixels"].encode
    chunks = [encode(read[number].pixels) for number in task.numbers]
    places = [read[number].placements[0] for number in task.numbers]
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


def compute_backprojections(task: BackprojectTask, resources: Resources) -> bytes:
    """The shard of a block of units: 8-bit signals with a scale each, frames and windows; axes (unit, rank).

    Raises DataError if an activation, computed again, differs from the mined one.
    """
    device = prepare(task.mining.device)
    read = read_images(task.mining.dataset, resources, sorted({hit[1] for hit in task.hits}))
    result = back_project(
        placed(resources.network, device),
        task.layer,
        [read[hit[1]].pixels[0] for hit in task.hits],
        np.array([hit[0] for hit in task.hits]),
        np.array([hit[2:4] for hit in task.hits]),
        rules=task.rules,
        lrn=task.mining.tops.lrn,
        batch=task.batch,
        device=device,
    )
    mined = np.array([hit[4] for hit in task.hits], np.float32)
    _compare(task, mined, result.activation)
    arrays: dict[str, np.ndarray | Pieces] = {
        "frame": result.frames.astype(np.int32),
        "window": result.windows.astype(np.int32),
        "activation": result.activation,
    }
    for rule, signals in zip(result.rules, result.signals, strict=True):
        bytes8, scale = encode8(_in_rgb(signals, resources.network.preprocessing.order))
        encode = TOPS[rule].encode
        arrays[rule] = Pieces("u1", bytes8.shape, [encode(picture[None, None]) for picture in bytes8])
        arrays[f"{rule}_scale"] = scale
    return encode_shard(task.record(), arrays, {"halved": result.halved, "packages": package_versions()})


def _in_rgb(signals: np.ndarray, order: str) -> np.ndarray:
    """Signals (hit, channel, y, x) as a view (hit, y, x, rgb). order : of the channels."""
    beside = np.moveaxis(signals, 1, -1)
    if len(ORDERS[order]) == 1:
        return np.broadcast_to(beside, (*beside.shape[:-1], 3))
    return beside[..., ::-1] if order == "BGR" else beside


def _compare(task: BackprojectTask, mined: np.ndarray, again: np.ndarray) -> None:
    allowed = TOLERANCE * max(float(np.abs(mined).max(initial=0.0)), 1e-6)
    worst = int(np.abs(mined - again).argmax()) if len(mined) else 0
    if len(mined) and not abs(mined[worst] - again[worst]) <= allowed:
        raise DataError(
            f"back-projection of {task.layer}:{task.hits[worst][0]}: image {task.hits[worst][1]} gives "
            f"{again[worst]:.6g}, but {mined[worst]:.6g} when mined; the images or the machine's arithmetic changed"
        )


COMPUTE = {MineTask: compute_mining, ImagesTask: compute_images, BackprojectTask: compute_backprojections}
