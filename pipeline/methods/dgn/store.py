"""Write the groups of runs, of combinations and of the priors themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.combinations import COMBINATION
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.priors import PRIOR
from pipeline.card import LayerCard, PriorCard
from pipeline.methods.dgn.settings import CombinationRecord, RunRecord
from pipeline.methods.dgn.task import DGN_REVISION, DgnTask, prior_tasks
from pipeline.plan import PartKey, Plan
from pipeline.records import stored_numbers
from pipeline.store.held import HeldAtlas, HeldPictures, check_revision
from pipeline.store.merging import Merge, Writer
from pipeline.store.pictures import (
    PictureWriter,
    Places,
    counted,
    cut_sides,
    held_parts,
    index_of,
    stated_precision,
    sweep_attributes,
    unchanged,
    write_setting,
)
from pipeline.store.shard import Shard

_ARRAYS = {
    **dict.fromkeys(
        ("activation", "activation_float", "best_activation", "best_activation_float", "code_norm"), (np.nan, "f4")
    ),
    "best_step": (-1, "i4"),
    "stopped": (-1, "i4"),
    "attempt": (0, "u1"),
}
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
        plan, tasks = self.merge.plan, self._tasks.get((layer.name, run.name), ())
        about = {"run": run.name, "cut": cut_sides(layer), "row": layer.centre[0], "column": layer.centre[1]}
        about |= {"place": plan.place("dgn", run.name), **sweep_attributes(plan, "dgn", run.name)}
        picture, code = (*layer.picture("window", plan.card.image), 3), (run.prior.entries,)
        return write_setting(
            self.merge,
            RUN,
            {"layer": layer_group, "run": run_group},
            about | _attributes(layer, run),
            "dgn",
            layer,
            run.name,
            {task: [(members[0][0], sample) for members, sample in task.pictures] for task in tasks},
            {"pixels": picture, "best_pixels": picture, "code": code, "best_code": code},
            _ARRAYS,
            run.settings.trace_points,
            held_run(self.merge.held, layer.name, run.name),
            _SingleWriter,
        )


def held_run(held: HeldAtlas, layer: str, run: str) -> HeldPictures | None:
    """What an atlas holds of a run in a layer."""
    return held.pictures(layer, RUN, "run", run, DGN_REVISION)


def held_units(plan: Plan, held: HeldAtlas) -> dict[PartKey, frozenset[int]]:
    """The units that an atlas holds, for each part of the plan."""
    return held_parts(plan, "dgn", partial(held_run, held))


def held_combinations(asked: CombinationRecord, held: HeldAtlas) -> HeldPictures | None:
    """What an atlas holds of a set of combinations; its keys are indices into the items of the set."""
    group = held.named("/combinations", "name", asked.name)
    if group is None:
        return None
    check_revision(group, DGN_REVISION)
    numbers = {tuple((unit, float(np.float32(weight))) for unit, weight in items): row
               for row, items in enumerate(asked.items)}  # fmt: skip
    members = zip(group["member_unit"][...].tolist(), group["member_weight"][...].tolist(), strict=True)
    items = [tuple((u, w) for u, w in zip(units, weights, strict=True) if u >= 0) for units, weights in members]
    return HeldPictures(COMBINATION, group, np.array([numbers.get(one, -1 - row) for row, one in enumerate(items)]))


def held_items(plan: Plan, atlas: Path) -> dict[tuple[str, int], frozenset[int]]:
    """(set of combinations, sample) → the items whose pictures an atlas holds."""
    finished = {}
    with HeldAtlas.open(atlas) as held:
        for name, asked in plan.of("combinations").items():
            pictures = held_combinations(asked, held)
            if pictures is not None:
                finished |= {(name, sample): pictures.finished(sample) for sample in range(asked.samples)}
    return finished


class _SingleWriter(PictureWriter):
    """Writes items with one member each."""

    def read_small(self, values: np.ndarray, name: str, shard: Shard, places: Places) -> None:
        array = shard.array(name)
        values[index_of(places)] = array[:, 0] if name in _MEMBERS else array


class _CombinedWriter(PictureWriter):
    """Writes items with several members. The number of members may differ between tasks."""

    def read_small(self, values: np.ndarray, name: str, shard: Shard, places: Places) -> None:
        if name == "member_activation":
            array = shard.array("activation")
            values[(*index_of(places), slice(array.shape[1]))] = array
        else:
            super().read_small(values, name, shard, places)


class CombinationsWriter(Writer):
    """Writes every set of combinations; missing pictures are marked missing."""

    def write_rest(self) -> None:
        merge, plan = self.merge, self.merge.plan
        tasks, sets = merge.work.results.get("combinations", {}), plan.of("combinations")
        for name, set_group in format.group_names(sets).items():
            self._write_set(sets[name], set_group, tasks.get(name, ()))

    def _write_set(self, asked: CombinationRecord, set_group: str, tasks: Sequence[DgnTask]) -> None:
        merge, plan = self.merge, self.merge.plan
        root, layer = COMBINATION.at(name=set_group), plan.card.layer(asked.layer)
        about = {"name": asked.name, "layer": layer.name, "balance": asked.balance, **_attributes(layer, asked.run)}
        keys, held = range(len(asked.items)), held_combinations(asked, merge.held)
        grid = np.ones((len(keys), asked.samples), bool)
        rows = {items: row for row, items in enumerate(asked.items)}
        failed = merge.failures(tasks).items()
        places = {task: [(rows[items], sample) for items, sample in task.pictures] for task in tasks}
        failures = [(places[task], reason) for task, reason in failed]
        if unchanged(held, about, keys, asked.samples) and not merge.news(tasks) and held.shows(failures):
            merge.keep(root, held.group)
            counted(held.status, grid, merge.report)
            return
        with merge.parts.part(root) as part:
            group = COMBINATION.create(part.file, about, name=set_group)
            members = _write_members(group, plan, asked)
            chunked = {"pixels": (*layer.picture("window", plan.card.image), 3), "code": (asked.run.prior.entries,)}
            small = {
                "member_activation": np.full((*grid.shape, members), np.nan, np.float32),
                "stopped": np.full(grid.shape, -1, np.int32),
            }
            writer = _CombinedWriter(part, COMBINATION, group, keys, grid, chunked, small, held)
            for task in tasks:
                shard, reason = merge.shard(task)
                addresses = [f"{asked.name}:{'+'.join(str(unit) for unit, _ in items)}" for items, _ in task.pictures]
                writer.add(places[task], addresses, shard, reason, merge.report)
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
    """Writes every prior that has a shard; those of the atlas stay."""

    def write_rest(self) -> None:
        merge = self.merge
        tasks = merge.work.tasks.get("priors", ())
        names = format.group_names(task.prior.name for task in prior_tasks(merge.plan))
        for task in prior_tasks(merge.plan):
            card, held = task.prior, held_prior(merge.held, task.prior)
            root = PRIOR.at(name=names[card.name])
            if held is not None:
                merge.keep(root, held)
                continue
            shard = merge.shard(task)[0] if task in tasks else None
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
            with merge.parts.part(root) as part:
                group = PRIOR.create(part.file, about, name=names[card.name])
                PRIOR["card"].write(group, shard.facts["card"])
                for name in ("mean", "deviation"):
                    PRIOR[name].write(group, shard.array(name))


def held_prior(held: HeldAtlas, card: PriorCard) -> h5py.Group | None:
    """The group of a prior in an atlas."""
    group = held.named("/priors", "prior", card.name)
    return group if group is not None and group.attrs["digest"] == card.digest else None


def held_priors(plan: Plan, atlas: Path) -> list[PriorCard]:
    """The priors of a plan that an atlas holds."""
    with HeldAtlas.open(atlas) as held:
        return [task.prior for task in prior_tasks(plan) if held_prior(held, task.prior) is not None]


def _attributes(layer: LayerCard, run: RunRecord) -> dict[str, object]:
    """The attributes of a run or of the run of a combination."""
    settings = stored_numbers(run.settings)
    if settings["sigmas"] is None:
        settings["sigmas"] = math.inf  # no bound
    return {
        "prior": run.prior.name,
        "prior_digest": run.prior.digest,
        "revision": DGN_REVISION,
        "measure": layer.measure,
        "seed": run.seed,
        "device": run.device.kind,
        **stated_precision(run.climbs(layer)),
        **({} if run.start_code is None else {"start_code": run.start_code}),
        **settings,
    }


WRITERS = {"dgn": RunsWriter, "combinations": CombinationsWriter, "priors": PriorsWriter}
