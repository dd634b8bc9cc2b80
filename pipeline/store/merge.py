"""Merge shards, in plan order, into one atlas.h5. Chunks are copied unchanged into a new file beside the old one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.numbers import NUMBERS
from pipeline.card import LayerCard
from pipeline.errors import OutputError
from pipeline.methods.registry import METHODS
from pipeline.records import UNSET, numbers
from pipeline.store.merging import Merge, MergeReport
from pipeline.store.network import write_network
from pipeline.work import Work


def merge(work: Work, target: Path, settings: str, advance: Callable[[int], None]) -> MergeReport:
    """Write the atlas from all stored shards; missing results are marked missing.

    work : the work of a plan, with its tasks cut.
    settings : the settings that decide results, as YAML.
    advance : called with the number of tasks just merged.
    The old atlas stays until the new one is complete. Raises OutputError if it cannot be written.
    """
    temporary = target.with_name(f".{target.name}.part")
    try:
        with format.create(temporary) as file:
            groups = write_network(file, work.plan.card)
            merging = Merge(file, work, groups, MergeReport(), set(), advance)
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
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{target}: cannot be written ({error}); free space or choose OUT=…") from error
    return merging.report


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
    format.UNITS["index"].write(units, np.array(numbered, np.int32))
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
