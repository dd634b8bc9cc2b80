"""Arrays of pictures, filled shard by shard: a row for each unit (or combination), a column for each sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import h5py
import numpy as np

from atlas_viewer.format import Group, Status
from pipeline.card import LayerCard
from pipeline.plan import PartKey, Plan
from pipeline.store.held import UNFINISHED, HeldPictures, same_attributes
from pipeline.store.merging import Merge, MergeReport
from pipeline.store.parts import Part
from pipeline.store.shard import Shard
from pipeline.task import Task

Places = Sequence[tuple[int, int]]  # (row, sample) of each picture of a task


class PictureWriter:
    """Writes one group of pictures: those that the atlas holds, then those of shards. Chunks stay as they are."""

    def __init__(
        self,
        part: Part,
        kind: Group,
        group: h5py.Group,
        keys: Sequence[int],
        asked: np.ndarray,
        chunked: Mapping[str, tuple[int, ...]],
        small: Mapping[str, np.ndarray],
        held: HeldPictures | None,
    ) -> None:
        """
        part : the part of the group.
        kind : the group in the schema.
        group : the group in the file.
        keys : what each row belongs to, ascending: the number of a unit, or of a combination.
        asked : bool (row, sample), the pictures that the plan asks for.
        chunked : field → shape of one picture's chunk.
        small : field → array (row, sample, …), filled with the values of a missing picture.
        held : what the atlas holds of the group.
        """
        grid = asked.shape
        self.kind, self.group, self.small, self.asked = kind, group, dict(small), asked
        self.chunked = {
            name: part.chunks(kind[name], group, dict(zip(kind[name].axes, (*grid, *shape), strict=True)))
            for name, shape in chunked.items()
        }
        if "unit" in kind.axes:
            kind["unit"].write(group, keys)
        self.small["status"] = np.full(grid, Status.missing, np.uint8)
        self.unrecorded: set[str] = set()
        self.reasons = np.full(grid[0], "", object)
        if held is not None:
            self._take(held, *held.rows(keys))

    def _take(self, held: HeldPictures, rows: np.ndarray, held_rows: np.ndarray) -> None:
        for name, values in self.small.items():
            before = held.small(name)
            if before is None:
                self.unrecorded.add(name)
            else:  # combinations of more members may have joined: the last axis may have grown
                ends = tuple(slice(0, length) for length in before.shape[1:])
                values[(rows, *ends)] = before[held_rows]
        for name, array in self.chunked.items():
            array.take(rows, held.table(self.kind[name]), held_rows)
        before = held.group["reason"].asstr()[...] if "reason" in held.group else None
        if before is not None:
            self.reasons[rows] = before[held_rows]

    def add(
        self,
        places: Places,
        addresses: Sequence[str],
        shard: Shard | None,
        reason: str | None,
        report: MergeReport,
    ) -> None:
        """Add one task's pictures. Without a shard, its places stay as they are, or are failed if there is a reason.

        places, addresses : of the task's pictures, in their order.
        """
        if shard is None:
            if reason is not None:
                for address, place in zip(addresses, places, strict=True):
                    if self.small["status"][place] in UNFINISHED:
                        self.small["status"][place] = Status.failed
                        self.reasons[place[0]] = report.reasons[address] = reason
            return
        for name, values in self.small.items():
            if name in shard.names or self.kind[name].required:
                self.read_small(values, name, shard, places)
            else:
                self.unrecorded.add(name)
        for name, array in self.chunked.items():
            for index, place in enumerate(places):
                chunk = shard.chunk(name, index)
                if chunk is not None:
                    array.write(place, chunk)

    def read_small(self, values: np.ndarray, name: str, shard: Shard, places: Places) -> None:
        """Copy a shard's array into its places in the whole array, `values`."""
        values[index_of(places)] = shard.array(name)

    def close(self, report: MergeReport) -> np.ndarray:
        """Write the small arrays; return the statuses (row, sample).

        An optional array that one of the shards lacks is left out: absent means not recorded.
        """
        for name, values in self.small.items():
            if name not in self.unrecorded:
                self.kind[name].write(self.group, values)
        failed = (self.small["status"] == Status.failed).any(axis=1)
        self.kind["reason"].write(self.group, np.where(failed, self.reasons, ""))
        return counted(self.small["status"], self.asked, report)


def index_of(places: Places) -> tuple[list[int], list[int]]:
    """The places as an index into an array (row, sample, …)."""
    return [row for row, _ in places], [sample for _, sample in places]


def write_setting(
    merge: Merge,
    kind: Group,
    names: Mapping[str, str],
    about: Mapping[str, object],
    method: str,
    layer: LayerCard,
    setting: str,
    tasks: Mapping[Task, Places],
    chunked: Mapping[str, tuple[int, ...]],
    arrays: Mapping[str, tuple[object, str]],
    points: int,
    held: HeldPictures | None,
    writer: type[PictureWriter] = PictureWriter,
) -> np.ndarray:
    """Write the pictures that a layer has in one setting, or leave the group where it is if nothing is new.

    names : the varying parts of the group's path.
    about : attributes of the group.
    tasks : task → the unit and sample of each of its pictures; those of the setting in the layer.
    chunked : field → shape of one picture's chunk.
    arrays : field (unit, sample) → (value of a missing picture, type).
    points : points of a trace.
    held : what the atlas holds of the group.
    Returns the statuses (unit, sample) that decide the status of the units.
    """
    plan, root = merge.plan, kind.at(**names)
    units, asked = plan.layer_units(layer.name), asked_pictures(plan, method, layer.name, setting)
    rows, grid = {unit: row for row, unit in enumerate(units)}, asked.shape
    failed = merge.failures(tasks).items()
    places = {task: [(rows[unit], sample) for unit, sample in named] for task, named in tasks.items()}
    failures = [(places[task], reason) for task, reason in failed]
    if unchanged(held, about, units, grid[1]) and not merge.news(tasks) and held.shows(failures):
        merge.keep(root, held.group)
        return counted(held.status, asked, merge.report)
    small = {name: np.full(grid, value, dtype) for name, (value, dtype) in arrays.items()}
    small["trace"] = np.full((*grid, points), np.nan, np.float32)
    trace_step = np.full(points, -1, np.int32) if held is None else held.small("trace_step")
    with merge.parts.part(root) as part:
        group = kind.create(part.file, about, **names)
        pictures = writer(part, kind, group, units, asked, chunked, small, held)
        for task, named in tasks.items():
            shard, reason = merge.shard(task)
            addresses = [f"{layer.name}:{unit}" for unit, _ in named]
            pictures.add(places[task], addresses, shard, reason, merge.report)
            if shard is not None:
                trace_step = shard.array("trace_step")
        kind["trace_step"].write(group, trace_step)
        return pictures.close(merge.report)


def held_parts(
    plan: Plan, method: str, held: Callable[[str, str], HeldPictures | None]
) -> dict[PartKey, frozenset[int]]:
    """The units that an atlas holds, for each part of a method's plan.

    held : called with a layer and a setting, returns what the atlas holds of it.
    """
    parts = plan.method_parts(method)
    pictures = {names: held(*names) for names in {key[1:3] for key in parts}}
    return {key: pictures[key[1:3]].finished(key[3]) for key in parts if pictures[key[1:3]] is not None}


def counted(statuses: np.ndarray, asked: np.ndarray, report: MergeReport) -> np.ndarray:
    """Count the pictures that were asked for; return the statuses that decide the status of their units.

    A picture that was not requested (its unit belongs to another style, say) is missing in the file but ok here.
    """
    report.pictures += int(asked.sum())
    for status in Status:
        count = int((statuses[asked] == status).sum())
        if count:
            report.statuses[status.name] = report.statuses.get(status.name, 0) + count
    report.missing += int((statuses[asked] == Status.missing).sum())
    report.failed += int((statuses[asked] == Status.failed).sum())
    return np.where(asked, statuses, np.uint8(Status.ok))


def asked_pictures(plan: Plan, method: str, layer: str, name: str) -> np.ndarray:
    """Which pictures of a setting the plan asks for, bool (unit, sample), rows as the units of the layer."""
    rows = {unit: row for row, unit in enumerate(plan.layer_units(layer))}
    asked = np.zeros((len(rows), plan.samples(method, layer, name)), bool)
    for sample in range(asked.shape[1]):
        asked[[rows[unit] for unit in plan.parts.get((method, layer, name, sample), ())], sample] = True
    return asked


def unchanged(held: HeldPictures | None, attributes: Mapping[str, object], keys: Sequence[int], samples: int) -> bool:
    """Whether an atlas holds a group with these attributes, rows and samples, so that without news it may stay."""
    return (
        held is not None
        and held.samples == samples
        and np.array_equal(held.keys, keys)
        and same_attributes(held.group, attributes)
    )


def cut_sides(layer: LayerCard) -> list[int]:
    """Pixels by which a layer's window extends beyond the image: top, left, bottom, right."""
    top, left, bottom, right = layer.window
    opened = layer.open_window
    return [top - opened[0], left - opened[1], opened[2] - bottom, opened[3] - right]


def stated_precision(precision: str) -> dict[str, object]:
    """The attribute of pictures that did not climb in float32."""
    return {} if precision == "float32" else {"precision": precision}


def sweep_attributes(plan: Plan, method: str, name: str) -> dict[str, object]:
    """The position of a setting in a sweep, as attributes; empty if it belongs to none."""
    place = plan.sweep.get(method, {}).get(name)
    return {} if place is None else {"sweep": place.axis, "sweep_place": place.place, "sweep_base": place.base}


def pictures_digest(pixels: h5py.Dataset | np.ndarray) -> str:
    """SHA-256 of the pictures of a setting, row by row. Scores and memorisation tests name their pictures by it."""
    total = hashlib.sha256(repr(pixels.shape).encode())
    for row in range(pixels.shape[0]):
        total.update(pixels[row].tobytes())
    return total.hexdigest()
