"""Pictures of a block of units by gradient ascent, as a shard."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from pipeline.compute.resources import Resources, package_versions, placed, prepare
from pipeline.methods.ascent import AscentResult, Item, ascend
from pipeline.nets.cone import layer_cone
from pipeline.store.shard import Pieces, encode_shard
from pipeline.tasks import AscentTask

SMALL = ("activation", "activation_float", "best_step", "status", "attempt", "trace")


def compute_ascent(task: AscentTask, resources: Resources) -> bytes:
    """The shard of a task of gradient ascent."""
    record = task.style
    device = prepare(record.device)
    cone = layer_cone(placed(resources.network, device), task.layer, record.ascent.canvas)
    result = ascend(
        cone,
        [Item(unit, record.style, task.sample) for unit in task.units],
        layer=task.layer,
        seed=record.seed,
        settings=record.ascent,
        batch=task.batch,
        device=device,
    )
    return encode_shard(task.record(), _arrays(result), {"halved": result.halved, "packages": package_versions()})


def _arrays(result: AscentResult) -> dict[str, np.ndarray | Pieces]:
    count = len(result.status)
    shown = [status in (format.Status.ok, format.Status.never_active) for status in result.status]
    encode = format.STYLE["pixels"].encode
    chunks = [encode(result.pixels[at][None, None]) if shown[at] else None for at in range(count)]
    small = {name: getattr(result, name) for name in SMALL}
    return {"pixels": Pieces("u1", result.pixels.shape, chunks), "trace_step": result.trace_steps[0], **small}
