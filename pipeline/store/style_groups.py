"""The group of one style of one layer, filled shard by shard."""

from __future__ import annotations

import h5py
import numpy as np

from atlas_viewer import format
from pipeline.card import LayerCard
from pipeline.plan import Plan
from pipeline.records import StyleRecord
from pipeline.store.picture_groups import MergeReport, PictureWriter
from pipeline.store.shard import Shard
from pipeline.tasks import AscentTask


class StyleWriter:
    """The group of one style of one layer, filled shard by shard."""

    def __init__(
        self, file: h5py.File, plan: Plan, layer: LayerCard, record: StyleRecord, layer_group: str, style_group: str
    ) -> None:
        self.rows = {unit: row for row, unit in enumerate(plan.layer_units(layer.name))}
        self.group = format.STYLE.create(file, _attributes(plan, layer, record), layer=layer_group, style=style_group)
        height, width = layer.picture(record.ascent.canvas, plan.card.image)
        grid = (len(self.rows), plan.samples(layer.name, record.name))
        points = record.ascent.trace_points
        self.trace_step = np.full(points, -1, np.int32)
        small = {
            "activation": np.full(grid, np.nan, np.float32),
            "activation_float": np.full(grid, np.nan, np.float32),
            "best_step": np.full(grid, -1, np.int32),
            "trace": np.full((*grid, points), np.nan, np.float32),
            "attempt": np.zeros(grid, np.uint8),
        }
        self.pictures = PictureWriter(format.STYLE, self.group, grid, {"pixels": (height, width, 3)}, small)

    def add(self, task: AscentTask, shard: Shard | None, reason: str | None, report: MergeReport) -> None:
        """One task's pictures; without a shard its units stay missing, or failed with the reason."""
        addresses = [f"{task.layer}:{unit}" for unit in task.units]
        self.pictures.add([self.rows[unit] for unit in task.units], task.sample, addresses, shard, reason, report)
        if shard is not None:
            self.trace_step = shard.array("trace_step")

    def close(self, report: MergeReport) -> np.ndarray:
        """Write the small arrays; return the statuses (unit, sample) for the layer's units, as PictureWriter does."""
        format.STYLE["trace_step"].write(self.group, self.trace_step)
        return self.pictures.close(report)


def cut(layer: LayerCard) -> list[int]:
    """Pixels of a layer's window outside the image: top, left, bottom, right."""
    top, left, bottom, right = layer.window
    opened = layer.open_window
    return [top - opened[0], left - opened[1], opened[2] - bottom, opened[3] - right]


def _attributes(plan: Plan, layer: LayerCard, record: StyleRecord) -> dict[str, object]:
    style, ascent, device = record.style, record.ascent, record.device
    numbers = {name: value for name, value in vars(style).items() if name not in ("name", "direction")}
    shared = {name: value for name, value in vars(ascent).items() if name != "canvas"}
    place = plan.sweep.get(style.name)
    swept = {} if place is None else {"sweep": place.axis, "sweep_place": place.place, "sweep_base": place.base}
    return {
        "style": style.name,
        "measure": layer.measure,
        "canvas": ascent.canvas,
        "row": layer.centre[0],
        "column": layer.centre[1],
        "direction": style.direction,
        "cut": cut(layer) if ascent.canvas == "window" else [0, 0, 0, 0],
        "seed": record.seed,
        "device": device.kind,
        **numbers,
        **shared,
        **swept,
    }
