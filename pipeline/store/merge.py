"""Merge shards into an atlas: what is new is written as parts, what was there stays where it is.

A small atlas is then written as one whole file again; a large one stays open, until `make pack`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.numbers import NUMBERS
from atlas_viewer.seal import seal_file
from pipeline.card import LayerCard
from pipeline.errors import OutputError, disk_fault
from pipeline.methods.registry import METHODS
from pipeline.records import UNSET, numbers
from pipeline.store.held import HeldAtlas
from pipeline.store.merging import Merge, MergeReport
from pipeline.store.network import write_network
from pipeline.store.parts import FOLDER, Parts
from pipeline.store.publishing import collect, is_open, pack_atlas, publish, size_of
from pipeline.work import Work

WHOLE_BELOW = 2e9  # bytes: a few seconds of writing


def merge(
    work: Work, target: Path, settings: str, advance: Callable[[int], None], whole_below: float | None = None
) -> MergeReport:
    """Add all stored shards to the atlas; missing results are marked missing. Shards that are in it are removed.

    work : the work of a plan, with its tasks cut.
    settings : the settings that decide results, as YAML.
    advance : called with the number of tasks just merged.
    whole_below : bytes below which the atlas is written whole, a larger one stays open; None for WHOLE_BELOW.
    The old atlas stays until the new one is complete. Raises OutputError if it cannot be written.
    """
    try:
        return _merge(work, target, settings, advance, WHOLE_BELOW if whole_below is None else whole_below)
    except OutputError:
        raise
    except Exception as error:  # h5py raises errors of several types where it cannot read or write
        fault = disk_fault(error)
        if fault is not None:
            raise OutputError(f"{target}: cannot be written ({fault.reason}); {fault.remedy}") from error
        if isinstance(error, OSError):
            raise OutputError(f"{target}: cannot be written ({error}); choose another folder with OUT=…") from error
        raise


def _merge(work: Work, target: Path, settings: str, advance: Callable[[int], None], whole_below: float) -> MergeReport:
    small = size_of(target) + work.shards.bytes() < whole_below
    parts, linked = Parts(target.parent / FOLDER, synced=not small), target.with_name(f".{target.name}.links")
    merging = None
    try:
        with HeldAtlas.open(target) as held:
            with format.create(linked) as file:
                merging = _write(file, work, settings, advance, held, parts)
            seal_file(linked)
            changed = parts.added or held.file is None or is_open(held.file) == small or _differs(held.file, linked)
        if changed:
            if small:
                pack_atlas(linked, target, work.shards, merging.merged)
            else:
                publish(linked, target, work.shards, merging.merged)
        else:
            collect(target)
    finally:
        linked.unlink(missing_ok=True)
    return merging.report


def _write(
    file: h5py.File, work: Work, settings: str, advance: Callable[[int], None], held: HeldAtlas, parts: Parts
) -> Merge:
    """Write the parts of the new atlas, and into `file` what is in no part, with links to them."""
    groups = write_network(file, work.plan.card)
    merging = Merge(file, work, groups, MergeReport(), held.packages, advance, held, parts)
    writers = [method.part("store").WRITERS[method.name](merging) for method in METHODS]
    for layer in work.plan.layers():
        format.LAYER.create(file, {"layer": layer.name}, layer=groups[layer.name])
        statuses = [part for writer in writers for part in writer.write_layer(layer, groups[layer.name])]
        _write_units(merging, layer, statuses)
    for writer in writers:
        writer.write_rest()
    _write_numbers(merging)
    format.ROOT["settings"].write(file["/"], settings)
    format.ROOT["packages"].write(file["/"], "\n".join(sorted(merging.packages)))
    parts.write_links(file)
    return merging


def _differs(held: h5py.File, linked: Path) -> bool:
    """Whether an atlas without new parts differs from the one before: by its groups, or in one that is in no part."""
    with h5py.File(linked, "r") as new:
        for kind in format.SCHEMA:
            before, after = ([group.name for group in kind.within(file)] for file in (held, new))
            if before != after:
                return True
            for name in after if kind in format.UNLINKED else ():
                if not _same(held[name], new[name]):
                    return True
    return False


def _same(one: h5py.Group, other: h5py.Group) -> bool:
    """Whether two groups have equal attributes and datasets."""
    if {*one.attrs} != {*other.attrs} or any(not np.array_equal(one.attrs[n], other.attrs[n]) for n in one.attrs):
        return False
    arrays = [{name for name in group if isinstance(group[name], h5py.Dataset)} for group in (one, other)]
    return arrays[0] == arrays[1] and all(np.array_equal(one[name][()], other[name][()]) for name in arrays[0])


def _write_units(merging: Merge, layer: LayerCard, statuses: Sequence[np.ndarray]) -> None:
    """Write the units of a layer. A unit has the first status of its pictures that is not ok, else ok."""
    numbered = merging.plan.layer_units(layer.name)
    status = np.full(len(numbered), format.Status.ok, np.uint8)
    for pictures in statuses:
        for row, samples in enumerate(pictures):
            bad = samples[samples != format.Status.ok]
            if status[row] == format.Status.ok and bad.size:
                status[row] = bad[0]
    units = format.UNITS.create(merging.file, {}, layer=merging.groups[layer.name])
    format.UNITS["unit"].write(units, np.array(numbered, np.int32))
    format.UNITS["label"].write(units, [merging.plan.card.label(layer.name, unit) for unit in numbered])
    format.UNITS["status"].write(units, status)
    format.UNITS["window"].write(units, np.array(layer.window, np.int32))
    format.UNITS["window_unclipped"].write(units, np.array(layer.open_window, np.int32))


def _write_numbers(merging: Merge) -> None:
    """Write what the numbers of the settings mean, for every method in the plan that has numbers."""
    for method in METHODS:
        if method.numbers is None or not merging.plan.of(method.name):
            continue
        shown = {name: about for name, about in numbers(method.numbers).items() if name != "name" and about.shown}
        group = NUMBERS.create(merging.file, {}, method=method.name)
        NUMBERS["name"].write(group, list(shown))
        for column in ("title", "symbol", "measured_in", "meaning", "axis", "read_when"):
            NUMBERS[column].write(group, [getattr(about, column) for about in shown.values()])
        for column in ("neutral", "published"):
            values = [getattr(about, column) for about in shown.values()]
            NUMBERS[column].write(group, ["" if value is UNSET else json.dumps(value) for value in values])
