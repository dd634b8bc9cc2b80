"""Write the groups of the dataset side: best images, back-projections, statistics, and the images themselves."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from atlas_viewer.evidence.dataset import DATASET, IMAGES
from atlas_viewer.evidence.statistics import STATISTICS
from atlas_viewer.evidence.tops import TOPS
from pipeline.card import LayerCard
from pipeline.methods.tops.settings import REDUNDANT
from pipeline.methods.tops.task import BackprojectTask, mining_of, top_units
from pipeline.store.merging import Merge, Writer


class HitsWriter(Writer):
    """Writes hits of every kind, back-projections of the largest hits, and statistics, layer by layer."""

    def __init__(self, merge: Merge) -> None:
        super().__init__(merge)
        self._result = merge.work.results.get("tops")
        self._row = {number: row for row, number in enumerate(sorted(merge.work.images))}
        self._tasks: dict[str, list[BackprojectTask]] = {}
        for task in merge.work.tasks.get("backproject", ()):
            self._tasks.setdefault(task.layer, []).append(task)
        if self._result is not None:
            merge.packages.update(self._result.packages)

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        plan = self.merge.plan
        asked = set(top_units(plan, layer.name))
        if self._result is None or not asked:
            return []
        arrays, units = self._result.layers[layer.name], plan.layer_units(layer.name)
        rows, absent = np.array(units), np.array([unit not in asked for unit in units])
        (height, width), tops = arrays.frame, mining_of(plan).tops
        about = {"measure": layer.measure, "height": height, "width": width, "lrn": tops.lrn}
        for kind, fields in arrays.hits.items():
            stored = TOPS.create(self.merge.file, {"kind": kind, **about}, layer=group, kind=kind)
            image = np.vectorize(lambda number: self._row.get(number, -1), otypes=[np.int32])(fields["image"][rows])
            image[absent] = -1
            TOPS["image"].write(stored, image)
            for name in ("activation", "position", "window", "frame"):
                values = fields[name][rows]
                values[absent] = np.nan if name == "activation" else -1
                TOPS[name].write(stored, values)
            if kind == "quantile":
                TOPS["quantile"].write(stored, np.linspace(1, 0, image.shape[1]).astype(np.float32))
            if kind == "largest":
                self._write_backprojections(stored, layer, units, image.shape[1])
        about = {"measure": layer.measure, "redundancy_threshold": REDUNDANT, "sample": tops.sample}
        stored = STATISTICS.create(self.merge.file, about, layer=group)
        for name, values in arrays.statistics.items():
            per_unit = "unit" in STATISTICS[name].axes
            STATISTICS[name].write(stored, values[rows] if per_unit else values)
        return []

    def _write_backprojections(self, stored: h5py.Group, layer: LayerCard, units: Sequence[int], ranks: int) -> None:
        place = {unit: row for row, unit in enumerate(units)}
        datasets: dict[str, h5py.Dataset] = {}
        scales: dict[str, np.ndarray] = {}
        reasons = [""] * len(units)
        for task in self._tasks.get(layer.name, ()):
            shard, reason = self.merge.shard(task)
            if shard is None:
                self._note_missing(task, reason, place, reasons)
                continue
            for rule in task.rules:
                if rule not in datasets:
                    height, width = shard.shape(rule)[1:3]
                    sizes = {"unit": len(units), "rank": ranks, "y": height, "x": width}
                    datasets[rule] = TOPS[rule].create(stored, sizes)
                    scales[rule] = np.full((len(units), ranks), np.nan, np.float32)
                scale, rank, before = shard.array(f"{rule}_scale"), 0, None
                for index, hit in enumerate(task.hits):
                    rank = rank + 1 if hit[0] == before else 0
                    before, row = hit[0], place[hit[0]]
                    datasets[rule].id.write_direct_chunk((row, rank, 0, 0, 0), shard.chunk(rule, index))
                    scales[rule][row, rank] = scale[index]
        for rule, values in scales.items():
            TOPS[f"{rule}_scale"].write(stored, values)
        TOPS["reason"].write(stored, reasons)

    def _note_missing(
        self, task: BackprojectTask, reason: str | None, place: dict[int, int], reasons: list[str]
    ) -> None:
        report = self.merge.report
        if reason is None:
            report.missing += len(task.hits)
            return
        report.failed += len(task.hits)
        for unit in task.units:
            reasons[place[unit]] = reason
            report.reasons[f"{task.layer}:{unit}"] = reason


class ImagesWriter(Writer):
    """Writes the description of the dataset, the images that were left out, and the images that results refer to."""

    def write_rest(self) -> None:
        merge, result = self.merge, self.merge.work.results.get("tops")
        if result is None:
            return
        mining = mining_of(merge.plan)
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
        group = DATASET.create(merge.file, about)
        DATASET["skipped_key"].write(group, [key for key, _ in result.skipped])
        DATASET["skipped_reason"].write(group, [reason for _, reason in result.skipped])
        DATASET["classes"].write(group, list(dataset.classes))
        images, referred = IMAGES.create(merge.file, {}), dict(sorted(merge.work.images.items()))
        IMAGES["number"].write(images, np.array(list(referred), np.int32))
        IMAGES["key"].write(images, [image.key for image in referred.values()])
        hashes = np.frombuffer(b"".join(image.hash for image in referred.values()), np.uint8)
        IMAGES["hash"].write(images, hashes.reshape(len(referred), -1) if referred else result.hashes)
        IMAGES["label"].write(images, np.array([image.label for image in referred.values()], np.int32))
        self._write_pixels(images, {number: row for row, number in enumerate(referred)})

    def _write_pixels(self, images: h5py.Group, row: dict[int, int]) -> None:
        count, pixels = len(row), None
        placement, size = np.full((count, 4), np.nan, np.float32), np.full((count, 2), -1, np.int32)
        for task in self.merge.work.tasks.get("images", ()):
            shard, _ = self.merge.shard(task)
            if shard is None:
                self.merge.report.missing += len(task.numbers)
                continue
            if pixels is None:
                sizes = {"image": count, "y": task.image[0], "x": task.image[1]}
                pixels = IMAGES["pixels"].create(images, sizes)
            rows = [row[number] for number in task.numbers]
            placement[rows], size[rows] = shard.array("placement"), shard.array("size")
            for index, at in enumerate(rows):
                pixels.id.write_direct_chunk((at, 0, 0, 0), shard.chunk("pixels", index))
        IMAGES["placement"].write(images, placement)
        IMAGES["size"].write(images, size)


WRITERS = {"tops": HitsWriter, "images": ImagesWriter}
