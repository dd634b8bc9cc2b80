"""Pictures through a prior, of a block of units or combinations, as a shard; and what an atlas says of a prior."""

from __future__ import annotations

import numpy as np
import torch

from atlas_viewer.format import DGN, Field, Status
from pipeline.compute.resources import Resources, package_versions, placed, placed_prior, prepare
from pipeline.methods.code_starts import CodeRange
from pipeline.methods.decoder import Decoder
from pipeline.methods.dgn import Search, Searched, SearchItem, search_codes
from pipeline.nets.cone import layer_cone
from pipeline.search_tasks import DgnTask, PriorTask
from pipeline.store.shard import Pieces, encode_shard

SMALL = ("activation", "activation_float", "best_activation", "best_activation_float", "best_step", "code_norm",
         "status", "attempt", "trace")  # fmt: skip


def compute_dgn(task: DgnTask, resources: Resources) -> bytes:
    """The shard of a task of DGN-AM."""
    record = task.search
    device = prepare(record.device)
    network, prior = placed(resources.network, device), placed_prior(resources.prior(record.prior), device)
    cone = layer_cone(network, task.layer, "window")
    known = CodeRange(prior.code_mean, prior.code_deviation, prior.rectified)
    image_code = None if record.start_code is None else resources.start_codes[record.start_code]
    result = search_codes(
        cone,
        Decoder(prior, network.preprocessing, cone.window, device, torch.float32),
        [SearchItem(members, task.sample) for members in task.items],
        Search(record.name, record.settings, record.seed, known, task.balance, image_code),
        batch=task.batch,
        device=device,
    )
    return encode_shard(task.record(), _arrays(result), {"halved": result.halved, "packages": package_versions()})


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


def _arrays(result: Searched) -> dict[str, np.ndarray | Pieces]:
    shown = [status in (Status.ok, Status.never_active) for status in result.status]
    large = {name: _pieces(DGN[name], getattr(result, name), shown) for name in
             ("pixels", "best_pixels", "code", "best_code")}  # fmt: skip
    return {**large, "trace_step": result.trace_steps, **{name: getattr(result, name) for name in SMALL}}


def _pieces(field: Field, values: np.ndarray, shown: list[bool]) -> Pieces:
    """values : (item, …), each item's a chunk of its own."""
    chunks = [field.encode(own[None, None]) if there else None for own, there in zip(values, shown, strict=True)]
    return Pieces(field.dtype, values.shape, chunks)
