"""The groups of an atlas that say what excites the units in a dataset: best images, back-projections, statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from atlas_viewer import format
from pipeline.card import LayerCard
from pipeline.cuts import backproject_tasks
from pipeline.dataset_settings import TWIN
from pipeline.plan import Plan
from pipeline.store.picture_groups import MergeReport
from pipeline.store.shard import ShardFolder
from pipeline.store.tops import KnownImage, Tops, all_image_tasks, best_hits
from pipeline.tasks import BackprojectTask


class TopWriter:
    """Writes the dataset side of an atlas, layer by layer, and then what the dataset is.

    further : number → images that are no hits and are shown all the same. row : number → where an image stands in
    /dataset/images.
    """

    def __init__(
        self,
        file: h5py.File,
        plan: Plan,
        tops: Tops,
        further: Mapping[int, KnownImage],
        shards: ShardFolder,
        report: MergeReport,
    ) -> None:
        self.file, self.plan, self.tops, self.shards, self.report = file, plan, tops, shards, report
        self._further = further
        self._images = dict(sorted({**further, **tops.images()}.items()))
        self.row = {number: row for row, number in enumerate(self._images)}
        self._tasks: dict[str, list[BackprojectTask]] = {}
        for task in backproject_tasks(plan, best_hits(plan, tops.layers)):
            self._tasks.setdefault(task.layer, []).append(task)

    def write_layer(self, layer: LayerCard, group: str) -> None:
        """Hits of every kind, the best ones' back-projections, and the statistics of a layer."""
        arrays, units = self.tops.layers[layer.name], self.plan.layer_units(layer.name)
        asked = set(self.plan.tops[layer.name])
        rows, absent = np.array(units), np.array([unit not in asked for unit in units])
        height, width = arrays.frame
        about = {"measure": layer.measure, "height": height, "width": width, "lrn": self.plan.mining.top.lrn}
        for kind, fields in arrays.hits.items():
            stored = format.TOPS.create(self.file, {"kind": kind, **about}, layer=group, kind=kind)
            image = np.vectorize(lambda number: self.row.get(number, -1), otypes=[np.int32])(fields["image"][rows])
            image[absent] = -1
            format.TOPS["image"].write(stored, image)
            for name in ("activation", "position", "window", "frame"):
                values = fields[name][rows]
                values[absent] = np.nan if name == "activation" else -1
                format.TOPS[name].write(stored, values)
            if kind == "quantile":
                format.TOPS["quantile"].write(stored, np.linspace(1, 0, image.shape[1]).astype(np.float32))
            if kind == "largest":
                self._write_backprojections(stored, layer, units, image.shape[1])
        about = {"measure": layer.measure, "twin_threshold": TWIN, "sample": self.plan.mining.top.sample}
        stored = format.STATISTICS.create(self.file, about, layer=group)
        for name, values in arrays.statistics.items():
            per_unit = "unit" in format.STATISTICS[name].axes
            format.STATISTICS[name].write(stored, values[rows] if per_unit else values)

    def _write_backprojections(self, stored: h5py.Group, layer: LayerCard, units: Sequence[int], ranks: int) -> None:
        place = {unit: row for row, unit in enumerate(units)}
        datasets: dict[str, h5py.Dataset] = {}
        scales: dict[str, np.ndarray] = {}
        reasons = [""] * len(units)
        for task in self._tasks.get(layer.name, ()):
            shard = self.shards.take(task.id, task.record(), self.report.set_aside)
            if shard is None:
                self._note_missing(task, place, reasons)
                continue
            for rule in task.rules:
                if rule not in datasets:
                    height, width = shard.shape(rule)[1:3]
                    sizes = {"unit": len(units), "rank": ranks, "y": height, "x": width}
                    datasets[rule] = format.TOPS[rule].create(stored, sizes)
                    scales[rule] = np.full((len(units), ranks), np.nan, np.float32)
                scale, rank, before = shard.array(f"{rule}_scale"), 0, None
                for index, hit in enumerate(task.hits):
                    rank = rank + 1 if hit[0] == before else 0
                    before, row = hit[0], place[hit[0]]
                    datasets[rule].id.write_direct_chunk((row, rank, 0, 0, 0), shard.chunk(rule, index))
                    scales[rule][row, rank] = scale[index]
        for rule, values in scales.items():
            format.TOPS[f"{rule}_scale"].write(stored, values)
        format.TOPS["reason"].write(stored, reasons)

    def _note_missing(self, task: BackprojectTask, place: dict[int, int], reasons: list[str]) -> None:
        reason = self.shards.reason(task.id)
        if reason is None:
            self.report.missing += len(task.hits)
            return
        self.report.failed += len(task.hits)
        for unit in task.units:
            reasons[place[unit]] = reason
            self.report.reasons[f"{task.layer}:{unit}"] = reason

    def write_dataset(self) -> None:
        """What the dataset is, which images were left out, and the images that are hits."""
        dataset, tops = self.plan.mining.dataset, self.tops
        about = {
            "name": dataset.name,
            "kind": dataset.kind,
            "digest": dataset.digest,
            "preprocess": dataset.preprocess,
            "reduced_decoding": dataset.reduced_decoding,
            "images": dataset.images - len(tops.skipped),
            "skipped": len(tops.skipped),
            "pixels": self.plan.mining.top.pixels,
        }
        group = format.DATASET.create(self.file, about)
        format.DATASET["skipped_key"].write(group, [key for key, _ in tops.skipped])
        format.DATASET["skipped_reason"].write(group, [reason for _, reason in tops.skipped])
        format.DATASET["classes"].write(group, list(dataset.classes))
        images = format.IMAGES.create(self.file, {})
        known = self._images.values()
        format.IMAGES["number"].write(images, np.array(list(self._images), np.int32))
        format.IMAGES["key"].write(images, [image.key for image in known])
        hashes = np.frombuffer(b"".join(image.hash for image in known), np.uint8)
        format.IMAGES["hash"].write(images, hashes.reshape(len(known), -1) if known else self.tops.hashes)
        format.IMAGES["label"].write(images, np.array([image.label for image in known], np.int32))
        self._write_pixels(images)

    def _write_pixels(self, images: h5py.Group) -> None:
        count, pixels = len(self._images), None
        placement, size = np.full((count, 4), np.nan, np.float32), np.full((count, 2), -1, np.int32)
        for task in all_image_tasks(self.plan, self.tops, self._further):
            shard = self.shards.take(task.id, task.record(), self.report.set_aside)
            if shard is None:
                self.report.missing += len(task.numbers)
                continue
            if pixels is None:
                sizes = {"image": count, "y": task.image[0], "x": task.image[1]}
                pixels = format.IMAGES["pixels"].create(images, sizes)
            rows = [self.row[number] for number in task.numbers]
            placement[rows], size[rows] = shard.array("placement"), shard.array("size")
            for index, row in enumerate(rows):
                pixels.id.write_direct_chunk((row, 0, 0, 0), shard.chunk("pixels", index))
        format.IMAGES["placement"].write(images, placement)
        format.IMAGES["size"].write(images, size)
