"""The group of one style of one layer, filled shard by shard."""

from __future__ import annotations

from dataclasses import dataclass, field

import h5py
import numpy as np

from atlas_viewer import format
from pipeline.card import LayerCard
from pipeline.plan import Plan
from pipeline.records import StyleRecord
from pipeline.store.shard import Shard
from pipeline.tasks import AscentTask


@dataclass
class MergeReport:
    """What a merge found: pictures by status, shards that were set aside, reasons of failed tasks."""

    pictures: int = 0
    missing: int = 0
    failed: int = 0
    set_aside: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # address → reason
    statuses: dict[str, int] = field(default_factory=dict)


class StyleWriter:
    """The group of one style of one layer, filled shard by shard."""

    def __init__(
        self, file: h5py.File, plan: Plan, layer: LayerCard, record: StyleRecord, layer_group: str, style_group: str
    ) -> None:
        self.layer, self.record, self.plan = layer, record, plan
        self.rows = {unit: row for row, unit in enumerate(plan.layer_units(layer.name))}
        self.samples = plan.samples(layer.name, record.name)
        self.group = format.STYLE.create(file, self._attributes(), layer=layer_group, style=style_group)
        height, width = layer.picture(record.ascent.canvas, plan.card.image)
        sizes = {"unit": len(self.rows), "sample": self.samples, "y": height, "x": width}
        self.pixels = format.STYLE["pixels"].create(self.group, sizes)
        grid = (len(self.rows), self.samples)
        points = record.ascent.trace_points
        self.trace_step = np.full(points, -1, np.int32)
        self.arrays = {
            "activation": np.full(grid, np.nan, np.float32),
            "activation_float": np.full(grid, np.nan, np.float32),
            "best_step": np.full(grid, -1, np.int32),
            "status": np.full(grid, format.Status.missing, np.uint8),
            "trace": np.full((*grid, points), np.nan, np.float32),
            "attempt": np.zeros(grid, np.uint8),
        }
        self.asked = np.zeros(grid, bool)
        self.reasons = [""] * len(self.rows)

    def add(self, task: AscentTask, shard: Shard | None, reason: str | None, report: MergeReport) -> None:
        """One task's pictures; without a shard its units stay missing, or failed with the reason."""
        rows = [self.rows[unit] for unit in task.units]
        self.asked[rows, task.sample] = True
        report.pictures += len(rows)
        if shard is None:
            status = format.Status.missing if reason is None else format.Status.failed
            self.arrays["status"][rows, task.sample] = status
            if reason is not None:
                for unit, row in zip(task.units, rows, strict=True):
                    self.reasons[row] = reason
                    report.reasons[f"{task.layer}:{unit}"] = reason
            return
        for name, values in self.arrays.items():
            values[rows, task.sample] = shard.array(name)
        self.trace_step = shard.array("trace_step")
        for index, row in enumerate(rows):
            chunk = shard.chunk("pixels", index)
            if chunk is not None:
                self.pixels.id.write_direct_chunk((row, task.sample, 0, 0, 0), chunk)

    def close(self, report: MergeReport) -> np.ndarray:
        """Write the small arrays; return the statuses (unit, sample) for the layer's units.

        What nobody asked for (a unit of another style, say) is missing in the file, but it is no gap.
        """
        for name, values in self.arrays.items():
            format.STYLE[name].write(self.group, values)
        format.STYLE["trace_step"].write(self.group, self.trace_step)
        format.STYLE["reason"].write(self.group, self.reasons)
        statuses = self.arrays["status"]
        for status in format.Status:
            count = int((statuses[self.asked] == status).sum())
            if count:
                report.statuses[status.name] = report.statuses.get(status.name, 0) + count
        report.missing += int((statuses[self.asked] == format.Status.missing).sum())
        report.failed += int((statuses[self.asked] == format.Status.failed).sum())
        return np.where(self.asked, statuses, np.uint8(format.Status.ok))

    def _attributes(self) -> dict[str, object]:
        style, ascent, device = self.record.style, self.record.ascent, self.record.device
        top, left, bottom, right = self.layer.window
        opened = self.layer.open_window
        cut = [top - opened[0], left - opened[1], opened[2] - bottom, opened[3] - right]
        numbers = {name: value for name, value in vars(style).items() if name not in ("name", "direction")}
        shared = {name: value for name, value in vars(ascent).items() if name != "canvas"}
        place = self.plan.sweep.get(style.name)
        swept = {} if place is None else {"sweep": place.axis, "sweep_place": place.place, "sweep_base": place.base}
        return {
            "style": style.name,
            "measure": self.layer.measure,
            "canvas": ascent.canvas,
            "row": self.layer.centre[0],
            "column": self.layer.centre[1],
            "direction": style.direction,
            "cut": cut if ascent.canvas == "window" else [0, 0, 0, 0],
            "seed": self.record.seed,
            "device": device.kind,
            **numbers,
            **shared,
            **swept,
        }
