"""Shards of gradient ascent without any ascent: what computing a task would store."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.ascent import STYLE
from pipeline.methods.ascent.task import AscentTask
from pipeline.store.shard import Pieces, encode_shard

POINTS = 4


def picture(unit: int, sample: int) -> np.ndarray:
    return np.random.RandomState([unit, sample]).randint(0, 256, (9, 9, 3)).astype(np.uint8)


def fake_shard(task: AscentTask, dead: int | None = None, without: str = "") -> bytes:
    """What computing the task would store, with pictures that tell unit and sample; unit 4 stopped at step 6.

    without : an array that is left out.
    """
    count, encode = task.count, STYLE["pixels"].encode
    units, samples = (np.array(column) for column in zip(*task.pictures, strict=True))
    status = np.where(units == dead, format.Status.zero_gradient, format.Status.ok).astype(np.uint8)
    chunks = [None if unit == dead else encode(picture(unit, sample)[None, None]) for unit, sample in task.pictures]
    arrays = {
        "pixels": Pieces("u1", (count, 9, 9, 3), chunks),
        "activation": (units + samples / 10).astype(np.float32),
        "activation_float": units.astype(np.float32),
        "best_step": np.full(count, 5, np.int32),
        "stopped": np.where(units == 4, 6, -1).astype(np.int32),
        "status": status,
        "attempt": np.zeros(count, np.uint8),
        "trace": np.zeros((count, POINTS), np.float32),
        "trace_step": np.arange(POINTS, dtype=np.int32),
    }
    arrays.pop(without, None)
    return encode_shard(task.record(), arrays, {"halved": 0, "packages": ["numpy 1"]})
