"""What an atlas holds of the dataset side: read back, so that an atlas without its shards can be added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer.evidence.statistics import STATISTICS
from atlas_viewer.evidence.tops import BACKPROJECTED, RULES, TOPS
from atlas_viewer.field import Field
from pipeline.methods.tops.result import DatasetResult, LayerArrays, hit_images
from pipeline.methods.tops.task import BACKPROJECT_REVISION, MINE_REVISION, Hit, mining_of, top_units
from pipeline.plan import Plan
from pipeline.store.held import HeldAtlas, check_revision

_HIT_FIELDS = ("image", "activation", "position", "window", "frame")
_ABSENT = {"f": np.nan, "i": -1}  # kind of an array's type → the value of a unit that is not in the atlas; else 0


def held_result(plan: Plan, atlas: Path) -> DatasetResult | None:
    """Hits and statistics of every requested unit, as the atlas has them; None if one is missing."""
    with HeldAtlas.open(atlas) as held:
        return result_of(plan, held, partial=False)


def result_of(plan: Plan, held: HeldAtlas, *, partial: bool) -> DatasetResult | None:
    """Hits and statistics of the requested units, as an open atlas has them.

    partial : whether units that it lacks are without hits in the result; otherwise the result is then None.
    """
    mining, dataset = mining_of(plan), held.group("/dataset")
    if mining is None or dataset is None or dataset.attrs["digest"] != mining.dataset.digest:
        return None
    images = {name: dataset[f"images/{name}"] for name in ("number", "key", "hash", "label")}
    numbers, layers = images["number"][...], {}
    for layer in plan.layers():
        asked = top_units(plan, layer.name)
        arrays = _layer(held, layer.name, layer.channels, () if partial else asked, numbers) if asked else None
        if asked and arrays is None and not partial:
            return None
        if arrays is not None:
            layers[layer.name] = arrays
    chosen = hit_images(plan, layers)
    rows = np.searchsorted(numbers, chosen)
    keys = images["key"].asstr()[...]
    skipped = zip(dataset["skipped_key"].asstr()[...], dataset["skipped_reason"].asstr()[...], strict=True)
    return DatasetResult(
        layers=layers,
        numbers=chosen,
        keys=tuple(str(keys[row]) for row in rows),
        hashes=images["hash"][...][rows],
        labels=images["label"][...][rows],
        skipped=tuple((str(key), str(reason)) for key, reason in skipped),
        packages=tuple(sorted(held.packages)),
    )


def _layer(held: HeldAtlas, layer: str, channels: int, asked: Sequence[int], numbers: np.ndarray) -> LayerArrays | None:
    """The arrays of a layer, a row for each channel; None if a requested unit is missing."""
    path = held.layer_groups.get(layer)
    tops, statistics = (held.group(f"{path}/{name}") for name in ("tops", "statistics"))
    if tops is None or statistics is None:
        return None
    check_revision(statistics, MINE_REVISION)
    units = held.units(layer)
    largest = tops["largest"]
    seen = units[(largest["image"][:, 0] >= 0) | (statistics["image_count"][...] == 0)]
    if not np.isin(asked, seen).all():
        return None
    hits = {}
    for kind, group in tops.items():
        fields = {name: _scattered(TOPS[name], group, units, channels) for name in _HIT_FIELDS}
        row = fields["image"]
        fields["image"] = np.where(row >= 0, numbers[np.maximum(row, 0)], -1) if len(numbers) else row
        hits[kind] = fields
    arrays = {
        field.name: _scattered(field, statistics, units, channels)
        for field in STATISTICS.fields
        if field.name in statistics and field.name != "unit"
    }
    return LayerArrays(hits, arrays, (int(largest.attrs["height"]), int(largest.attrs["width"])))


def _scattered(field: Field, group: h5py.Group, units: np.ndarray, channels: int) -> np.ndarray:
    """An array with a row for each channel of the layer, from one with a row for each unit of the atlas."""
    values = group[field.name][...]
    if "unit" not in field.axes:
        return values
    whole = np.full((channels, *values.shape[1:]), _ABSENT.get(values.dtype.kind, 0), values.dtype)
    whole[units] = values
    return whole


def held_backprojections(group: h5py.Group | None, rules: Sequence[str], units: np.ndarray) -> frozenset[int]:
    """The units all of whose best images the atlas has projected back by all rules.

    group : the group of the largest hits.
    """
    if group is None or any(f"{rule}_scale" not in group for rule in rules):
        return frozenset()
    hit = group["image"][...] >= 0
    done = np.ones(hit.shape, bool)
    for rule in rules:
        done &= np.isfinite(group[f"{rule}_scale"][...]) | ~hit
    return frozenset(units[done.all(axis=1)].tolist())


def layer_backprojections(
    atlas: Path, rules: Mapping[str, Sequence[str]], hits: Mapping[str, Mapping[int, Sequence[Hit]]]
) -> dict[str, frozenset[int]]:
    """Layer → the units whose back-projections need not be computed again.

    rules : layer → rules.
    hits : layer → unit → its hits, best first; those that the atlas has must be the same.
    """
    found = {}
    with HeldAtlas.open(atlas) as held:
        for layer, wanted in hits.items():
            group, units = held_hits(held, layer, "largest"), held.units(layer)
            done = held_backprojections(group, rules[layer], units)
            rows = dict(zip(units.tolist(), hit_numbers(held, group).tolist(), strict=True)) if done else {}
            found[layer] = frozenset(
                unit for unit in done & {*wanted} if rows[unit][: len(wanted[unit])] == [hit[1] for hit in wanted[unit]]
            )
    return found


def hit_numbers(held: HeldAtlas, group: h5py.Group) -> np.ndarray:
    """Numbers of the images of hits, (unit, rank); −1 for none."""
    rows, numbers = group["image"][...], held.group("/dataset/images")["number"][...]
    return np.where(rows >= 0, numbers[np.maximum(rows, 0)], -1) if len(numbers) else rows


def held_hits(held: HeldAtlas, layer: str, kind: str) -> h5py.Group | None:
    """The hits of a kind in a layer. Raises OutputError if another revision found them or projected them back."""
    path = held.layer_groups.get(layer)
    group = None if path is None else held.group(f"{path}/tops/{kind}")
    if group is not None:
        check_revision(group, MINE_REVISION)
        if any(rule in group for rule in RULES):
            check_revision(group, BACKPROJECT_REVISION, BACKPROJECTED, absent=1, noun="back-projections")
    return group


def held_pixels(atlas: Path) -> frozenset[int]:
    """Numbers of the images whose pixels the atlas has."""
    with HeldAtlas.open(atlas) as held:
        images = held.group("/dataset/images")
        if images is None or "pixels" not in images:
            return frozenset()
        return frozenset(images["number"][np.isfinite(images["placement"][:, 0])].tolist())
