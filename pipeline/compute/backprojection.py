"""The back-projections of the best images of a block of units, as a shard."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from pipeline.compute.images import read_images
from pipeline.compute.resources import Resources, package_versions, placed, prepare
from pipeline.errors import DataError
from pipeline.methods.backproject import back_project, encode8
from pipeline.nets.preprocessing import ORDERS
from pipeline.store.shard import Pieces, encode_shard
from pipeline.tasks import BackprojectTask

TOLERANCE = 1e-3  # of the largest activation here: a cone in float32 is not bit for bit the whole pass


def compute_backprojections(task: BackprojectTask, resources: Resources) -> bytes:
    """The shard of a block of units: 8-bit signals with a scale each, frames and windows; axes (unit, rank).

    Raises DataError if an activation, computed again, is not the one that was mined.
    """
    device = prepare(task.mining.device)
    found = read_images(task.mining, resources, sorted({hit[1] for hit in task.hits}))
    result = back_project(
        placed(resources.network, device),
        task.layer,
        [found[hit[1]].pixels[0] for hit in task.hits],
        np.array([hit[0] for hit in task.hits]),
        np.array([hit[2:4] for hit in task.hits]),
        rules=task.rules,
        lrn=task.mining.top.lrn,
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
    order = list(ORDERS[resources.network.preprocessing.order])
    for rule, signals in zip(result.rules, result.signals, strict=True):
        signals = np.moveaxis(signals[:, order if len(order) == 3 else [0, 0, 0]], 1, -1)  # (hit, y, x, rgb)
        bytes8, scale = encode8(signals)
        encode = format.TOPS[rule].encode
        arrays[rule] = Pieces("u1", bytes8.shape, [encode(picture[None, None]) for picture in bytes8])
        arrays[f"{rule}_scale"] = scale
    return encode_shard(task.record(), arrays, {"halved": result.halved, "packages": package_versions()})


def _compare(task: BackprojectTask, mined: np.ndarray, again: np.ndarray) -> None:
    allowed = TOLERANCE * max(float(np.abs(mined).max(initial=0.0)), 1e-6)
    worst = int(np.abs(mined - again).argmax()) if len(mined) else 0
    if len(mined) and not abs(mined[worst] - again[worst]) <= allowed:
        raise DataError(
            f"back-projection of {task.layer}:{task.hits[worst][0]}: image {task.hits[worst][1]} gives "
            f"{again[worst]:.6g}, mined was {mined[worst]:.6g}; the images or the machine's arithmetic have changed"
        )
