"""Shards, in plan order, to one atlas.h5: chunks are copied as they are, into a new file beside the old one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from pipeline.card import LayerCard
from pipeline.cuts import ascent_tasks
from pipeline.errors import OutputError
from pipeline.plan import Plan
from pipeline.search_cuts import dgn_tasks
from pipeline.search_tasks import DgnTask
from pipeline.store.memorisation_groups import further_images, read_tests, write_tests
from pipeline.store.network_groups import write_network
from pipeline.store.picture_groups import MergeReport
from pipeline.store.score_groups import write_scores
from pipeline.store.search_groups import SearchWriter, write_combinations, write_priors
from pipeline.store.shard import Shard, ShardFolder
from pipeline.store.style_groups import StyleWriter
from pipeline.store.top_groups import TopWriter
from pipeline.store.tops import read_tops
from pipeline.tasks import AscentTask


def merge(
    plan: Plan,
    shards: ShardFolder,
    target: Path,
    settings: str,
    progress: Callable[[int], None],
) -> MergeReport:
    """Write the atlas of everything that is there; what is missing is marked missing.

    settings : the settings that decide results, YAML. progress : called with the number of tasks just merged.
    The old atlas stays until the new one is whole.
    """
    report = MergeReport()
    tops = read_tops(plan, shards, report.set_aside)
    packages = set() if tops is None else set(tops.packages)
    tasks: dict[tuple[str, str, str], list[AscentTask | DgnTask]] = {}
    for task in (*ascent_tasks(plan), *dgn_tasks(plan)):
        of = task.style if isinstance(task, AscentTask) else task.search
        tasks.setdefault((task.method, task.layer, of.name), []).append(task)
    temporary = target.with_name(f".{target.name}.part")
    try:
        with format.create(temporary) as file:
            groups = write_network(file, plan.card)
            tests = () if tops is None else read_tests(plan, shards, report.set_aside)
            top_writer = None if tops is None else TopWriter(file, plan, tops, further_images(tests), shards, report)
            for layer in plan.layers():
                status = _Statuses(plan.layer_units(layer.name))
                format.LAYER.create(file, {"layer": layer.name}, layer=groups[layer.name])
                for method, name, writer in _writers(file, plan, layer, groups[layer.name]):
                    for task, shard in _shards(tasks[method, layer.name, name], shards, report):
                        writer.add(task, shard, shards.reason(task.id) if shard is None else None, report)
                        if shard is not None:
                            packages.update(shard.facts["packages"])
                        progress(1)
                    statuses = writer.close(report)
                    if (
                        method == "dgn" or name not in plan.sweep
                    ):  # that a regularizer was too strong is no fault of the unit's
                        status.note(statuses)
                if top_writer is not None and layer.name in plan.tops:
                    top_writer.write_layer(layer, groups[layer.name])
                _write_units(file, plan, layer, groups[layer.name], status)
            if top_writer is not None:
                top_writer.write_dataset()
                write_tests(file, plan, tests, groups, top_writer.row)
                packages.update(package for test in tests for package in test.packages)
            write_combinations(file, plan, shards, report, packages, progress)
            write_priors(file, plan, shards, report.set_aside)
            write_scores(file, plan, shards, groups, report.set_aside)
            format.ROOT["settings"].write(file["/"], settings)
            format.ROOT["packages"].write(file["/"], "\n".join(sorted(packages)))
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{target}: cannot be written ({error}); free space or choose OUT=…") from error
    return report


def _writers(
    file: h5py.File, plan: Plan, layer: LayerCard, group: str
) -> Iterator[tuple[str, str, StyleWriter | SearchWriter]]:
    """Each style and search of a layer, as (method, name, writer), one open at a time."""
    names = format.group_names(plan.layer_styles(layer.name))
    for style, own in names.items():
        yield "ascent", style, StyleWriter(file, plan, layer, plan.styles[style], group, own)
    names = format.group_names(plan.layer_searches(layer.name))
    for search, own in names.items():
        yield "dgn", search, SearchWriter(file, plan, layer, plan.searches[search], group, own)


def _shards(
    tasks: list[AscentTask | DgnTask], shards: ShardFolder, report: MergeReport
) -> Iterator[tuple[AscentTask | DgnTask, Shard | None]]:
    for task in tasks:
        yield task, shards.take(task.id, task.record(), report.set_aside)


class _Statuses:
    """The status of every unit of a layer: ok, or the first of its pictures' that is not."""

    def __init__(self, units: tuple[int, ...]) -> None:
        self.units = units
        self.values = np.full(len(units), format.Status.ok, np.uint8)

    def note(self, pictures: np.ndarray) -> None:
        """pictures : (unit, sample) statuses of one style; ok where it was not asked for."""
        for row, statuses in enumerate(pictures):
            bad = statuses[statuses != format.Status.ok]
            if self.values[row] == format.Status.ok and bad.size:
                self.values[row] = bad[0]


def _write_units(file: h5py.File, plan: Plan, layer: LayerCard, group: str, status: _Statuses) -> None:
    units = format.UNITS.create(file, {}, layer=group)
    format.UNITS["index"].write(units, np.array(status.units, np.int32))
    format.UNITS["label"].write(units, [plan.card.label(layer.name, unit) for unit in status.units])
    format.UNITS["status"].write(units, status.values)
    format.UNITS["window"].write(units, np.array(layer.window, np.int32))
    format.UNITS["window_unclipped"].write(units, np.array(layer.open_window, np.int32))
