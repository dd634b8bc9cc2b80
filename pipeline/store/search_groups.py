"""The groups that learned priors fill: searches of single units, combinations, and the priors themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.format import COMBINATION, DGN, PRIOR
from pipeline.card import LayerCard
from pipeline.plan import Plan
from pipeline.search_cuts import combination_tasks, prior_tasks
from pipeline.search_records import CombinationRecord, SearchRecord
from pipeline.search_tasks import DgnTask
from pipeline.store.picture_groups import MergeReport, PictureWriter
from pipeline.store.shard import Shard, ShardFolder
from pipeline.store.style_groups import cut

_FLOATS = ("activation", "activation_float", "best_activation", "best_activation_float", "code_norm")
_MEMBERS = {"activation", "activation_float", "best_activation", "best_activation_float"}  # (item, member) in a shard


class SearchWriter:
    """The group of one search of one layer, filled shard by shard."""

    def __init__(
        self, file: h5py.File, plan: Plan, layer: LayerCard, record: SearchRecord, layer_group: str, search_group: str
    ) -> None:
        self.rows = {unit: row for row, unit in enumerate(plan.layer_units(layer.name))}
        attributes = {"search": record.name, "cut": cut(layer), "row": layer.centre[0], "column": layer.centre[1]}
        attributes |= _attributes(layer, record)
        self.group = DGN.create(file, attributes, layer=layer_group, search=search_group)
        grid = (len(self.rows), plan.search_samples(layer.name, record.name))
        points, picture = record.settings.trace_points, (*layer.picture("window", plan.card.image), 3)
        code = (record.prior.entries,)
        self.trace_step = np.full(points, -1, np.int32)
        small = {name: np.full(grid, np.nan, np.float32) for name in _FLOATS} | {
            "best_step": np.full(grid, -1, np.int32),
            "trace": np.full((*grid, points), np.nan, np.float32),
            "attempt": np.zeros(grid, np.uint8),
        }
        chunked = {"pixels": picture, "best_pixels": picture, "code": code, "best_code": code}
        self.pictures = _SingleWriter(DGN, self.group, grid, chunked, small)

    def add(self, task: DgnTask, shard: Shard | None, reason: str | None, report: MergeReport) -> None:
        """One task's pictures; without a shard its units stay missing, or failed with the reason."""
        units = [members[0][0] for members in task.items]
        addresses = [f"{task.layer}:{unit}" for unit in units]
        self.pictures.add([self.rows[unit] for unit in units], task.sample, addresses, shard, reason, report)
        if shard is not None:
            self.trace_step = shard.array("trace_step")

    def close(self, report: MergeReport) -> np.ndarray:
        """Write the small arrays; return the statuses (unit, sample) for the layer's units, as PictureWriter does."""
        DGN["trace_step"].write(self.group, self.trace_step)
        return self.pictures.close(report)


class _SingleWriter(PictureWriter):
    """Of items with one member each."""

    def read_small(self, values: np.ndarray, name: str, shard: Shard, rows: list[int], sample: int) -> None:
        array = shard.array(name)
        values[rows, sample] = array[:, 0] if name in _MEMBERS else array


class _CombinedWriter(PictureWriter):
    """Of items with several members, fewer in some tasks than in others."""

    def read_small(self, values: np.ndarray, name: str, shard: Shard, rows: list[int], sample: int) -> None:
        if name == "member_activation":
            array = shard.array("activation")
            values[rows, sample, : array.shape[1]] = array
        else:
            super().read_small(values, name, shard, rows, sample)


def write_combinations(
    file: h5py.File,
    plan: Plan,
    shards: ShardFolder,
    report: MergeReport,
    packages: set[str],
    progress: Callable[[int], None],
) -> None:
    """Write every set of combinations that is asked for; what is missing is marked missing."""
    tasks, names = combination_tasks(plan), format.group_names(sorted(plan.combinations))
    for name, asked in sorted(plan.combinations.items()):
        layer = plan.card.layer(asked.layer)
        attributes = {"name": name, "layer": layer.name, "balance": asked.balance, **_attributes(layer, asked.search)}
        group = COMBINATION.create(file, attributes, name=names[name])
        members = _write_members(group, plan, asked)
        grid = (len(asked.items), asked.samples)
        chunked = {"pixels": (*layer.picture("window", plan.card.image), 3), "code": (asked.search.prior.entries,)}
        small = {"member_activation": np.full((*grid, members), np.nan, np.float32)}
        writer = _CombinedWriter(COMBINATION, group, grid, chunked, small)
        rows = {items: row for row, items in enumerate(asked.items)}
        for task in tasks[name]:
            shard = shards.take(task.id, task.record(), report.set_aside)
            reason = shards.reason(task.id) if shard is None else None
            addresses = [f"{name}:{'+'.join(str(unit) for unit, _ in members)}" for members in task.items]
            writer.add([rows[members] for members in task.items], task.sample, addresses, shard, reason, report)
            if shard is not None:
                packages.update(shard.facts["packages"])
            progress(1)
        writer.close(report)


def _write_members(group: h5py.Group, plan: Plan, asked: CombinationRecord) -> int:
    """Write what is combined; return the most members of an item."""
    most = max(len(members) for members in asked.items)
    grid = (len(asked.items), most)
    units, weights = np.full(grid, -1, np.int32), np.zeros(grid, np.float32)
    labels = np.full(grid, "", object)
    for row, members in enumerate(asked.items):
        for place, (unit, weight) in enumerate(members):
            units[row, place], weights[row, place] = unit, weight
            labels[row, place] = plan.card.label(asked.layer, unit)
    for name, values in (("member_unit", units), ("member_weight", weights), ("member_label", labels)):
        COMBINATION[name].write(group, values)
    return most


def write_priors(file: h5py.File, plan: Plan, shards: ShardFolder, problems: list[str]) -> None:
    """Write what is known of every prior whose shard is there. problems : gets a line for every bad shard."""
    tasks = prior_tasks(plan)
    names = format.group_names(task.prior.name for task in tasks)
    for task in tasks:
        shard, card = shards.take(task.id, task.record(), problems), task.prior
        if shard is None:
            continue
        facts = {name: shard.facts[name] for name in ("trained_on", "licence")}
        attributes = {
            "prior": card.name,
            "digest": card.digest,
            "network": card.network,
            "network_digest": card.network_digest,
            "code_layer": card.code_layer,
            "code_shape": list(card.code_shape),
            "height": card.height,
            "width": card.width,
            "rectified": card.rectified,
        }
        group = PRIOR.create(file, attributes | facts, name=names[card.name])
        PRIOR["card"].write(group, shard.facts["card"])
        for name in ("mean", "deviation"):
            PRIOR[name].write(group, shard.array(name))


def _attributes(layer: LayerCard, record: SearchRecord) -> dict[str, object]:
    """What searches and combinations say of their setting."""
    settings = {name: value for name, value in vars(record.settings).items() if name != "image"}
    if settings["sigmas"] is None:
        settings["sigmas"] = math.inf  # no bound
    return {
        "prior": record.prior.name,
        "prior_digest": record.prior.digest,
        "measure": layer.measure,
        "seed": record.seed,
        "device": record.device.kind,
        **({} if record.start_code is None else {"start_code": record.start_code}),
        **settings,
    }
