"""Write the groups of runs, of combinations and of the priors themselves."""

from __future__ import annotations

import math

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.combinations import COMBINATION
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.priors import PRIOR
from pipeline.card import LayerCard
from pipeline.methods.dgn.settings import CombinationRecord, RunRecord
from pipeline.methods.dgn.task import DgnTask
from pipeline.plan import Plan
from pipeline.records import stored_numbers
from pipeline.store.merging import Merge, Writer
from pipeline.store.pictures import PictureWriter, cut_sides, sweep_attributes
from pipeline.store.shard import Shard

_FLOATS = ("activation", "activation_float", "best_activation", "best_activation_float", "code_norm")
_MEMBERS = {"activation", "activation_float", "best_activation", "best_activation_float"}  # (item, member) in a shard


class RunsWriter(Writer):
    """Writes the pictures of all runs, layer by layer."""

    def __init__(self, merge: Merge) -> None:
        super().__init__(merge)
        self._tasks: dict[tuple[str, str], list[DgnTask]] = {}
        for task in merge.work.tasks.get("dgn", ()):
            self._tasks.setdefault((task.layer, task.run.name), []).append(task)

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        plan, statuses = self.merge.plan, []
        for name, run_group in format.group_names(plan.layer_names("dgn", layer.name)).items():
            written = self._write_run(layer, plan.settings["dgn"][name], group, run_group)
            if not plan.is_swept("dgn", name):
                statuses.append(written)
        return statuses

    def _write_run(self, layer: LayerCard, run: RunRecord, layer_group: str, run_group: str) -> np.ndarray:
        merge, plan = self.merge, self.merge.plan
        about = {"run": run.name, "cut": cut_sides(layer), "row": layer.centre[0], "column": layer.centre[1]}
        about |= {"place": plan.place("dgn", run.name), **sweep_attributes(plan, "dgn", run.name)}
        group = RUN.create(merge.file, about | _attributes(layer, run), layer=layer_group, run=run_group)
        rows = {unit: row for row, unit in enumerate(plan.layer_units(layer.name))}
        grid = (len(rows), plan.samples("dgn", layer.name, run.name))
        points, picture = run.settings.trace_points, (*layer.picture("window", plan.card.image), 3)
        code, trace_step = (run.prior.entries,), np.full(run.settings.trace_points, -1, np.int32)
        small = {name: np.full(grid, np.nan, np.float32) for name in _FLOATS} | {
            "best_step": np.full(grid, -1, np.int32),
            "stopped": np.full(grid, -1, np.int32),
            "trace": np.full((*grid, points), np.nan, np.float32),
            "attempt": np.zeros(grid, np.uint8),
        }
        chunked = {"pixels": picture, "best_pixels": picture, "code": code, "best_code": code}
        pictures = _SingleWriter(RUN, group, grid, chunked, small)
        for task in self._tasks[layer.name, run.name]:
            shard, reason = merge.shard(task)
            units = [members[0][0] for members in task.items]
            addresses = [f"{task.layer}:{unit}" for unit in units]
            pictures.add([rows[unit] for unit in units], task.sample, addresses, shard, reason, merge.report)
            if shard is not None:
                trace_step = shard.array("trace_step")
        RUN["trace_step"].write(group, trace_step)
        return pictures.close(merge.report)


class _SingleWriter(PictureWriter):
    """Writes items with one member each."""

    def read_small(self, values: np.ndarray, name: str, shard: Shard, rows: list[int], sample: int) -> None:
        array = shard.array(name)
        values[rows, sample] = array[:, 0] if name in _MEMBERS else array


class _CombinedWriter(PictureWriter):
    """Writes items with several members. The number of members may differ between tasks."""

    def read_small(self, values: np.ndarray, name: str, shard: Shard, rows: list[int], sample: int) -> None:
        if name == "member_activation":
            array = shard.array("activation")
            values[rows, sample, : array.shape[1]] = array
        else:
            super().read_small(values, name, shard, rows, sample)


class CombinationsWriter(Writer):
    """Writes every set of combinations; missing pictures are marked missing."""

    def write_rest(self) -> None:
        merge, plan = self.merge, self.merge.plan
        tasks, sets = merge.work.results.get("combinations", {}), plan.of("combinations")
        for name, set_group in format.group_names(sets).items():
            self._write_set(sets[name], set_group, tasks[name])

    def _write_set(self, asked: CombinationRecord, set_group: str, tasks: tuple[DgnTask, ...]) -> None:
        merge, plan = self.merge, self.merge.plan
        layer = plan.card.layer(asked.layer)
        about = {"name": asked.name, "layer": layer.name, "balance": asked.balance, **_attributes(layer, asked.run)}
        group = COMBINATION.create(merge.file, about, name=set_group)
        members = _write_members(group, plan, asked)
        grid = (len(asked.items), asked.samples)
        chunked = {"pixels": (*layer.picture("window", plan.card.image), 3), "code": (asked.run.prior.entries,)}
        small = {
            "member_activation": np.full((*grid, members), np.nan, np.float32),
            "stopped": np.full(grid, -1, np.int32),
        }
        writer = _CombinedWriter(COMBINATION, group, grid, chunked, small)
        rows = {items: row for row, items in enumerate(asked.items)}
        for task in tasks:
            shard, reason = merge.shard(task)
            addresses = [f"{asked.name}:{'+'.join(str(unit) for unit, _ in items)}" for items in task.items]
            writer.add([rows[items] for items in task.items], task.sample, addresses, shard, reason, merge.report)
        writer.close(merge.report)


def _write_members(group: h5py.Group, plan: Plan, asked: CombinationRecord) -> int:
    """Write the members of each item; return the largest number of members."""
    longest = max(len(members) for members in asked.items)
    grid = (len(asked.items), longest)
    units, weights = np.full(grid, -1, np.int32), np.zeros(grid, np.float32)
    labels = np.full(grid, "", object)
    for row, members in enumerate(asked.items):
        for place, (unit, weight) in enumerate(members):
            units[row, place], weights[row, place] = unit, weight
            labels[row, place] = plan.card.label(asked.layer, unit)
    for name, values in (("member_unit", units), ("member_weight", weights), ("member_label", labels)):
        COMBINATION[name].write(group, values)
    return longest


class PriorsWriter(Writer):
    """Writes every prior that has a shard."""

    def write_rest(self) -> None:
        tasks = self.merge.work.tasks.get("priors", ())
        names = format.group_names(task.prior.name for task in tasks)
        for task in tasks:
            (shard, _), card = self.merge.shard(task), task.prior
            if shard is None:
                continue
            about = {
                "prior": card.name,
                "digest": card.digest,
                "network": card.network,
                "network_digest": card.network_digest,
                "code_layer": card.code_layer,
                "code_shape": list(card.code_shape),
                "height": card.height,
                "width": card.width,
                "rectified": card.rectified,
                **{name: shard.facts[name] for name in ("trained_on", "licence")},
            }
            group = PRIOR.create(self.merge.file, about, name=names[card.name])
            PRIOR["card"].write(group, shard.facts["card"])
            for name in ("mean", "deviation"):
                PRIOR[name].write(group, shard.array(name))


def _attributes(layer: LayerCard, run: RunRecord) -> dict[str, object]:
    """The attributes of a run or of the run of a combination."""
    settings = stored_numbers(run.settings)
    if settings["sigmas"] is None:
        settings["sigmas"] = math.inf  # no bound
    return {
        "prior": run.prior.name,
        "prior_digest": run.prior.digest,
        "measure": layer.measure,
        "seed": run.seed,
        "device": run.device.kind,
        **({} if run.start_code is None else {"start_code": run.start_code}),
        **settings,
    }


WRITERS = {"dgn": RunsWriter, "combinations": CombinationsWriter, "priors": PriorsWriter}
