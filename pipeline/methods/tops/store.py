"""Write the groups of the dataset side: best images, back-projections, statistics, and the images themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from atlas_viewer.chunks import chunk_table
from atlas_viewer.evidence.dataset import DATASET, IMAGES
from atlas_viewer.evidence.statistics import STATISTICS
from atlas_viewer.evidence.tops import BACKPROJECTED, TOPS
from pipeline.card import LayerCard
from pipeline.methods.tops.held import held_backprojections, held_hits, hit_numbers, result_of
from pipeline.methods.tops.result import DatasetResult, LayerArrays, settled
from pipeline.methods.tops.settings import REDUNDANT
from pipeline.methods.tops.task import (
    BACKPROJECT_REVISION,
    MINE_REVISION,
    BackprojectTask,
    ImagesTask,
    layer_rules,
    mine_tasks,
    mining_of,
    top_units,
)
from pipeline.store.held import HeldAtlas, same_attributes
from pipeline.store.merging import Merge, Writer
from pipeline.store.parts import ChunkArray, Part


class HitsWriter(Writer):
    """Writes hits of every kind, back-projections of the largest hits, and statistics, layer by layer."""

    def __init__(self, merge: Merge) -> None:
        super().__init__(merge)
        self._result = _result(merge)
        self._row = {number: row for row, number in enumerate(sorted(merge.images))}
        self._tasks: dict[str, list[BackprojectTask]] = {}
        for task in merge.work.tasks.get("backproject", ()):
            self._tasks.setdefault(task.layer, []).append(task)
        if self._result is not None:
            merge.packages.update(self._result.packages)

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        merge, plan = self.merge, self.merge.plan
        asked = set(top_units(plan, layer.name))
        if self._result is None or not asked or layer.name not in self._result.layers:
            return []
        arrays, units = self._result.layers[layer.name], plan.layer_units(layer.name)
        rows, absent = np.array(units), np.array([unit not in asked for unit in units])
        (height, width), tops = arrays.frame, mining_of(plan).tops
        about = {"measure": layer.measure, "height": height, "width": width, "lrn": tops.lrn, "revision": MINE_REVISION}
        for kind, fields in arrays.hits.items():
            image = np.vectorize(lambda number: self._row.get(number, -1), otypes=[np.int32])(fields["image"][rows])
            image[absent] = -1
            root, given = TOPS.at(layer=group, kind=kind), {"kind": kind, **about}
            held, news, reasons = held_hits(merge.held, layer.name, kind), False, {}
            if kind == "largest":
                tasks, given = self._tasks.get(layer.name, ()), given | self._revision(layer)
                reasons = self._without_result(layer, tasks)
                news = bool(merge.news(tasks)) or not _states(held, units, reasons)
            values = {"image": image, "activation": np.where(absent[:, None], np.nan, fields["activation"][rows])}
            if not news and _same(merge.held, held, given, layer.name, units, values):
                merge.keep(root, held)
                continue
            with merge.parts.part(root) as part:
                stored = TOPS.create(part.file, given, layer=group, kind=kind)
                TOPS["unit"].write(stored, units)
                TOPS["image"].write(stored, image)
                for name in ("activation", "position", "window", "frame"):
                    values = fields[name][rows]
                    values[absent] = np.nan if name == "activation" else -1
                    TOPS[name].write(stored, values)
                if kind == "quantile":
                    TOPS["quantile"].write(stored, np.linspace(1, 0, image.shape[1]).astype(np.float32))
                if kind == "largest":
                    self._write_backprojections(part, stored, held, layer, units, image.shape[1], reasons)
        self._write_statistics(layer, group, arrays, units)
        return []

    def _write_statistics(self, layer: LayerCard, group: str, arrays: LayerArrays, units: Sequence[int]) -> None:
        merge, tops = self.merge, mining_of(self.merge.plan).tops
        about = {"measure": layer.measure, "redundancy_threshold": REDUNDANT, "sample": tops.sample}
        images = mining_of(merge.plan).dataset.images
        if tops.positions:
            one = layer.height * layer.width == 1
            about["position_sample"] = images if one else tops.position_images(images)
        about["revision"] = MINE_REVISION
        root, path = STATISTICS.at(layer=group), merge.held.layer_groups.get(layer.name)
        held = None if path is None else merge.held.group(f"{path}/statistics")
        values = {
            name: array[np.array(units)] if "unit" in STATISTICS[name].axes else array
            for name, array in arrays.statistics.items()
        }
        if _same(merge.held, held, about, layer.name, units, values):
            merge.keep(root, held)
            return
        with merge.parts.part(root) as part:
            stored = STATISTICS.create(part.file, about, layer=group)
            STATISTICS["unit"].write(stored, units)
            for name, array in values.items():
                STATISTICS[name].write(stored, array)

    def _write_backprojections(
        self,
        part: Part,
        stored: h5py.Group,
        held: h5py.Group | None,
        layer: LayerCard,
        units: Sequence[int],
        ranks: int,
        reasons: Mapping[int, str],
    ) -> None:
        place = {unit: row for row, unit in enumerate(units)}
        arrays: dict[str, ChunkArray] = {}
        scales: dict[str, np.ndarray] = {}
        (height, width), rules = self._result.layers[layer.name].frame, layer_rules(self.merge.plan, layer)
        for rule in rules:
            sizes = {"unit": len(units), "rank": ranks, "y": height, "x": width}
            arrays[rule] = part.chunks(TOPS[rule], stored, sizes)
            scales[rule] = np.full((len(units), ranks), np.nan, np.float32)
            if held is not None and rule in held and held[rule].shape[1:] == (ranks, height, width, 3):
                _, rows, held_rows = np.intersect1d(units, self.merge.held.units(layer.name), return_indices=True)
                found = self._result.layers[layer.name].hits["largest"]["image"][np.array(units)[rows]]
                same = (hit_numbers(self.merge.held, held)[held_rows] == found).all(axis=1)
                rows, held_rows = rows[same], held_rows[same]
                arrays[rule].take(rows, chunk_table(held[rule], TOPS[rule].picture_axes), held_rows)
                scales[rule][rows] = held[f"{rule}_scale"][...][held_rows]
        for task in self._tasks.get(layer.name, ()):
            shard, _ = self.merge.shard(task)
            if shard is None:
                if task.id in self.merge.present:  # it is damaged
                    self.merge.report.missing += len(task.hits)
                continue
            for rule in task.rules:
                scale, rank, before = shard.array(f"{rule}_scale"), 0, None
                for index, hit in enumerate(task.hits):
                    rank = rank + 1 if hit[0] == before else 0
                    before, row = hit[0], place[hit[0]]
                    arrays[rule].write((row, rank), shard.chunk(rule, index))
                    scales[rule][row, rank] = scale[index]
        for rule, values in scales.items():
            TOPS[f"{rule}_scale"].write(stored, values)
        TOPS["reason"].write(stored, [reasons.get(unit, "") for unit in units])

    def _revision(self, layer: LayerCard) -> dict[str, int]:
        """The attribute that states the revision of the back-projections; none for revision 1, or without any."""
        if BACKPROJECT_REVISION == 1 or not layer_rules(self.merge.plan, layer):
            return {}
        return {BACKPROJECTED: BACKPROJECT_REVISION}

    def _without_result(self, layer: LayerCard, tasks: Sequence[BackprojectTask]) -> dict[int, str]:
        """Count the back-projections that are missing or failed; return unit → reason of those that failed."""
        merge, path = self.merge, self.merge.held.layer_groups.get(layer.name)
        held = None if path is None else merge.held.group(f"{path}/tops/largest")
        failed, reasons = merge.failures(tasks), {}
        for task in tasks:
            if task.id in merge.present:
                continue
            if {*task.units} <= held_backprojections(held, task.rules, merge.held.units(layer.name)):
                continue  # merged before
            if task not in failed:
                merge.report.missing += len(task.hits)
                continue
            merge.report.failed += len(task.hits)
            for unit in task.units:
                reasons[unit] = merge.report.reasons[f"{layer.name}:{unit}"] = failed[task]
        return reasons


def _states(held: h5py.Group | None, units: Sequence[int], reasons: Mapping[int, str]) -> bool:
    """Whether the hits that an atlas holds state these reasons. units : of its rows."""
    if not reasons:
        return True
    if held is None or "reason" not in held or len(held["reason"]) != len(units):
        return False
    stated = dict(zip(units, held["reason"].asstr()[...], strict=True))
    return all(stated[unit] == reason for unit, reason in reasons.items())


def _result(merge: Merge) -> DatasetResult | None:
    """The dataset side: assembled in this run, or, while mining goes on, what the atlas has of it."""
    result = merge.work.results.get("tops")
    if result is None:
        result = result_of(merge.plan, merge.held, partial=True)
    return result


def _same(
    held: HeldAtlas,
    group: h5py.Group | None,
    about: Mapping[str, object],
    layer: str,
    units: Sequence[int],
    values: Mapping[str, np.ndarray],
) -> bool:
    """Whether an atlas holds a group of a layer with these attributes, units and arrays."""
    if group is None or not np.array_equal(held.units(layer), units) or not same_attributes(group, about):
        return False
    return all(
        name in group and np.array_equal(group[name][...], array, equal_nan=array.dtype.kind == "f")
        for name, array in values.items()
    )


class ImagesWriter(Writer):
    """Writes the description of the dataset, the images that were left out, and the images that results refer to."""

    def write_rest(self) -> None:
        merge, result = self.merge, _result(self.merge)
        if result is None:
            return
        mining = mining_of(merge.plan)
        merge.merged += settled(merge.plan, mine_tasks(merge.plan), merge.work.shards)
        dataset = mining.dataset
        about = {
            "name": dataset.name,
            "kind": dataset.kind,
            "digest": dataset.digest,
            "preprocess": dataset.preprocess,
            "reduced_decoding": dataset.reduced_decoding,
            "images": dataset.images - len(result.skipped),
            "skipped": len(result.skipped),
            "pixels": mining.tops.pixels,
        }
        root, referred = DATASET.at(), dict(sorted(merge.images.items()))
        held, tasks = merge.held.group(root), merge.work.tasks.get("images", ())
        if (
            held is not None
            and same_attributes(held, about)
            and np.array_equal(held["images/number"], list(referred))
            and not merge.news(tasks)
        ):
            merge.keep(root, held)
            at = {number: row for row, number in enumerate(referred)}
            self._count_missing(
                held["images/placement"][...], [at[number] for task in tasks for number in task.numbers]
            )
            return
        with merge.parts.part(root) as part:
            group = DATASET.create(part.file, about)
            DATASET["skipped_key"].write(group, [key for key, _ in result.skipped])
            DATASET["skipped_reason"].write(group, [reason for _, reason in result.skipped])
            DATASET["classes"].write(group, list(dataset.classes))
            images = IMAGES.create(part.file, {})
            IMAGES["number"].write(images, np.array(list(referred), np.int32))
            IMAGES["key"].write(images, [image.key for image in referred.values()])
            hashes = np.frombuffer(b"".join(image.hash for image in referred.values()), np.uint8)
            IMAGES["hash"].write(images, hashes.reshape(len(referred), -1) if referred else result.hashes)
            IMAGES["label"].write(images, np.array([image.label for image in referred.values()], np.int32))
            self._write_pixels(part, images, list(referred), tasks)

    def _write_pixels(
        self, part: Part, images: h5py.Group, numbers: Sequence[int], tasks: Sequence[ImagesTask]
    ) -> None:
        row, plan = {number: at for at, number in enumerate(numbers)}, self.merge.plan
        placement, size = np.full((len(row), 4), np.nan, np.float32), np.full((len(row), 2), -1, np.int32)
        pixels, held = None, self.merge.held.group(IMAGES.at())
        if mining_of(plan).tops.pixels == "stored" and numbers:
            height, width = plan.card.image
            pixels = part.chunks(IMAGES["pixels"], images, {"image": len(row), "y": height, "x": width})
        if held is not None and pixels is not None and "pixels" in held:
            _, rows, held_rows = np.intersect1d(numbers, held["number"], return_indices=True)
            pixels.take(rows, chunk_table(held["pixels"], IMAGES["pixels"].picture_axes), held_rows)
            placement[rows], size[rows] = held["placement"][...][held_rows], held["size"][...][held_rows]
        for task in tasks:
            shard, _ = self.merge.shard(task)
            rows = [row[number] for number in task.numbers]
            if shard is None:
                self._count_missing(placement, rows)
                continue
            placement[rows], size[rows] = shard.array("placement"), shard.array("size")
            for index, at in enumerate(rows):
                pixels.write((at,), shard.chunk("pixels", index))
        IMAGES["placement"].write(images, placement)
        IMAGES["size"].write(images, size)

    def _count_missing(self, placement: np.ndarray, rows: Sequence[int]) -> None:
        """Count the images in these rows that have no pixels. placement : of all rows."""
        self.merge.report.missing += int(np.isnan(placement[rows, 0]).sum())


WRITERS = {"tops": HitsWriter, "images": ImagesWriter}
