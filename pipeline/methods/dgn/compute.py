"""Compute pictures through a prior, for a block of units or combinations; and the shard of a prior."""

from __future__ import annotations

import numpy as np
import torch

from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.field import Field
from pipeline.climb.attempts import Climbed, Item, Iterates, climb_items
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.codes import CodeRange, Codes
from pipeline.methods.dgn.task import DgnTask, PriorTask
from pipeline.nets.cone import layer_cone
from pipeline.resources import Resources, package_versions, placed, placed_prior, prepare
from pipeline.store.shard import Pieces, encode_shard


def compute_dgn(task: DgnTask, resources: Resources) -> bytes:
    """The shard of a task of DGN-AM."""
    run = task.run
    layout, device = run.device.channels_last, prepare(run.device, task.precision)
    network, prior = placed(resources.network, device, layout), resources.prior(run.prior)
    cone = layer_cone(network, task.layer, "window")

    def adapter(precision: str) -> Adapter:
        generating = placed_prior(prior, device, layout, precision)
        return Adapter(generating, network.preprocessing, cone.window, device, torch.float32)

    climbed = climb_items(
        cone,
        Codes(
            adapter("float32"),
            task.layer,
            run,
            CodeRange(prior.code_mean, prior.code_deviation, prior.rectified),
            None if run.start_code is None else resources.start_codes[run.start_code],
            lowered=None if task.precision == "float32" else adapter(task.precision),
        ),
        [Item(members, sample, run) for members, sample in task.pictures],
        fresh_starts=run.settings.fresh_starts,
        trace_points=run.settings.trace_points,
        batch=task.batch,
        device=device,
        balance=task.balance,
        log_odds=True,
        lowered=task.precision == "bf16",
    )
    return encode_shard(task.record(), _arrays(climbed), {"halved": climbed.halved, "packages": package_versions()})


def compute_prior(task: PriorTask, resources: Resources) -> bytes:
    """The shard of a prior."""
    prior = resources.prior(task.prior)
    arrays = {
        "mean": np.asarray(prior.code_mean, np.float32),
        "deviation": np.asarray(prior.code_deviation, np.float32),
    }
    facts = {
        "card": prior.card,
        "licence": prior.licence,
        "trained_on": ", ".join(f"{name}: {value}" for name, value in sorted(prior.trained_on.items())),
    }
    return encode_shard(task.record(), arrays, facts)


def code_norm(code: np.ndarray) -> np.ndarray:
    """L2 norm of codes (item, entry), float32 (item,)."""
    return np.linalg.norm(code.astype(np.float64), axis=1).astype(np.float32)


def _arrays(climbed: Climbed) -> dict[str, np.ndarray | Pieces]:
    return {
        **_iterate(climbed.last, climbed.shown, ""),
        **_iterate(climbed.best, climbed.shown, "best_"),
        "best_step": climbed.best.step,
        "code_norm": code_norm(climbed.last.parameters),
        "trace_step": climbed.trace_steps[0],
        **{name: getattr(climbed, name) for name in ("status", "attempt", "stopped", "trace")},
    }


def _iterate(iterate: Iterates, shown: list[bool], prefix: str) -> dict[str, np.ndarray | Pieces]:
    return {
        f"{prefix}pixels": _pieces(RUN[f"{prefix}pixels"], iterate.pixels, shown),
        f"{prefix}code": _pieces(RUN[f"{prefix}code"], iterate.parameters, shown),
        f"{prefix}activation": iterate.activation,
        f"{prefix}activation_float": iterate.activation_float,
    }


def _pieces(field: Field, values: np.ndarray, shown: list[bool]) -> Pieces:
    """One chunk for each shown item. values : (item, …)."""
    chunks = [field.encode(value[None, None]) if show else None for value, show in zip(values, shown, strict=True)]
    return Pieces(field.dtype, values.shape, chunks)


COMPUTE = {DgnTask: compute_dgn, PriorTask: compute_prior}
