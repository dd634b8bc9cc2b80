"""What the part of an atlas that the learned priors fill contradicts; for groups that are sound by themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import h5py
import numpy as np

from atlas_viewer.field import Status


def dgn_faults(file: h5py.File) -> Iterator[str]:
    """What priors, searches, combinations and memorisation tests deny of each other and of the network."""
    for prior in file.get("priors", {}).values():
        entries = math.prod(np.asarray(prior.attrs["code_shape"]).tolist())
        if len(prior["mean"]) != entries:
            yield f"{prior.name}/mean: {len(prior['mean'])} entries, expected {entries} as in code_shape"
    for layer in file.get("layers", {}).values():
        for search in layer.get("dgn", {}).values():
            yield from (f"{search.name}{fault}" for fault in _code_faults(file, search))
            best, there = search["best_activation"][...], np.isfinite(search["activation"][...])
            if not np.isfinite(best[there]).all():
                yield f"{search.name}/best_activation: not finite where there is a last iterate"
    for combination in file.get("combinations", {}).values():
        yield from (f"{combination.name}{fault}" for fault in _code_faults(file, combination))
        yield from (f"{combination.name}{fault}" for fault in _member_faults(file, combination))
    for test in file.get("memorisation", {}).values():
        yield from (f"{test.name}{fault}" for fault in _memorisation_faults(file, test))


def _code_faults(file: h5py.File, group: h5py.Group) -> Iterator[str]:
    """Codes of a search are those of its prior; one that is not there yet denies nothing."""
    named = {prior.attrs["prior"]: prior for prior in file.get("priors", {}).values()}
    prior = named.get(group.attrs["prior"])
    if prior is None:
        return
    if prior.attrs["digest"] != group.attrs["prior_digest"]:
        yield f": attribute prior_digest is not the digest of {prior.name}"
    elif group["code"].shape[-1] != len(prior["mean"]):
        yield f"/code: {group['code'].shape[-1]} entries, expected {len(prior['mean'])} as in {prior.name}"


def _member_faults(file: h5py.File, group: h5py.Group) -> Iterator[str]:
    layers = file["network/layers/name"].asstr()[...].tolist()
    layer, units = group.attrs["layer"], group["member_unit"][...]
    if layer not in layers:
        yield f": layer {layer!r} is not in the layer table"
        return
    channels = int(file["network/layers/channels"][layers.index(layer)])
    if units.size and not (units.min() >= -1 and units.max() < channels):
        yield f"/member_unit: not within -1 to {channels - 1}"
    real = units >= 0
    if not real[:, :1].all() or (np.diff(real.astype(int), axis=1) > 0).any():
        yield "/member_unit: expected units first, then -1"
    status, activation = group["status"][...], group["member_activation"][...]
    if status.size and status.max() > max(Status):
        yield "/status: a value that is no status"
    there = (status == Status.ok)[:, :, None] & real[:, None, :]
    if not np.isfinite(activation[there]).all():
        yield "/member_activation: not finite where status is ok"


def _memorisation_faults(file: h5py.File, test: h5py.Group) -> Iterator[str]:
    layers = {layer.attrs["layer"]: layer for layer in file.get("layers", {}).values()}
    layer, name = layers.get(test.attrs["layer"]), test.attrs["search"]
    searches = {} if layer is None else {group.attrs["search"]: group for group in layer.get("dgn", {}).values()}
    if name not in searches:
        yield f": search {name!r} of layer {test.attrs['layer']!r} is not there"
        return
    unit, nearest, distance = test["unit"][...], test["nearest"][...], test["distance"][...]
    if not (np.diff(unit) > 0).all() or not np.isin(unit, layer["units/index"][...]).all():
        yield f"/unit: not rising, or not units of {layer.name}"
    samples = searches[name]["status"].shape[1]
    if nearest.shape[1] != samples:
        yield f"/nearest: {nearest.shape[1]} samples, expected {samples} as in {searches[name].name}"
    images = len(file["dataset/images/number"]) if "dataset/images" in file else 0
    if nearest.size and not (nearest.min() >= -1 and nearest.max() < images):
        yield f"/nearest: a row outside 0 to {images - 1}"
    if not np.isfinite(distance[nearest >= 0]).all():
        yield "/distance: not finite where there is an image"
