"""Compute pictures of a block of units by gradient ascent."""

from __future__ import annotations

import numpy as np

from atlas_viewer.evidence.ascent import STYLE
from pipeline.climb.attempts import Climbed, Item, climb_items
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.task import AscentTask
from pipeline.nets.cone import layer_cone
from pipeline.resources import Resources, package_versions, placed, prepare
from pipeline.store.shard import Pieces, encode_shard

SMALL = ("status", "attempt", "stopped", "trace")


def compute_ascent(task: AscentTask, resources: Resources) -> bytes:
    """The shard of a task of gradient ascent."""
    record = task.style
    device = prepare(record.device, task.precision)
    network = placed(resources.network, device, record.device.channels_last)
    cone = layer_cone(network, task.layer, record.ascent.canvas)
    climbed = climb_items(
        cone,
        Pixels(cone, task.layer, record.seed, record.ascent),
        [Item(((unit, 1.0),), sample, record.style) for unit, sample in task.pictures],
        fresh_starts=record.ascent.fresh_starts,
        trace_points=record.ascent.trace_points,
        batch=task.batch,
        device=device,
        last=False,
        lowered=task.precision == "bf16",
    )
    return encode_shard(task.record(), _arrays(climbed), {"halved": climbed.halved, "packages": package_versions()})


def _arrays(climbed: Climbed) -> dict[str, np.ndarray | Pieces]:
    encode, best = STYLE["pixels"].encode, climbed.best
    chunks = [
        encode(pixels[None, None]) if shown else None for pixels, shown in zip(best.pixels, climbed.shown, strict=True)
    ]
    return {
        "pixels": Pieces("u1", best.pixels.shape, chunks),
        "trace_step": climbed.trace_steps[0],
        "activation": best.activation[:, 0],
        "activation_float": best.activation_float[:, 0],
        "best_step": best.step,
        **{name: getattr(climbed, name) for name in SMALL},
    }


COMPUTE = {AscentTask: compute_ascent}
