"""Write the groups of a layer's styles, shard by shard."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.ascent import STYLE
from pipeline.card import LayerCard
from pipeline.methods.ascent.settings import StyleRecord
from pipeline.methods.ascent.task import ASCENT_REVISION, AscentTask
from pipeline.plan import PartKey, Plan
from pipeline.records import stored_numbers
from pipeline.store.held import HeldAtlas, HeldPictures
from pipeline.store.merging import Merge, Writer
from pipeline.store.pictures import (
    PictureWriter,
    asked_pictures,
    counted,
    cut_sides,
    sweep_attributes,
    unchanged,
)


class StylesWriter(Writer):
    """Writes the pictures of all styles."""

    def __init__(self, merge: Merge) -> None:
        super().__init__(merge)
        self._tasks: dict[tuple[str, str], list[AscentTask]] = {}
        for task in merge.work.tasks.get("ascent", ()):
            self._tasks.setdefault((task.layer, task.style.name), []).append(task)

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        plan, statuses = self.merge.plan, []
        for name, style_group in format.group_names(plan.layer_names("ascent", layer.name)).items():
            written = self._write_style(layer, plan.settings["ascent"][name], group, style_group)
            if not plan.is_swept("ascent", name):  # a regularizer that is too strong does not count against the unit
                statuses.append(written)
        return statuses

    def _write_style(self, layer: LayerCard, record: StyleRecord, layer_group: str, style_group: str) -> np.ndarray:
        merge, plan = self.merge, self.merge.plan
        root, about = STYLE.at(layer=layer_group, style=style_group), _attributes(plan, layer, record)
        units, asked = plan.layer_units(layer.name), asked_pictures(plan, "ascent", layer.name, record.name)
        held = held_style(merge.held, layer.name, record.name)
        tasks = self._tasks.get((layer.name, record.name), [])
        if unchanged(held, about, units, asked.shape[1]) and not merge.news(tasks):
            merge.keep(root, held.group)
            return counted(held.status, asked, merge.report)
        points, grid = record.ascent.trace_points, asked.shape
        small = {
            "activation": np.full(grid, np.nan, np.float32),
            "activation_float": np.full(grid, np.nan, np.float32),
            "best_step": np.full(grid, -1, np.int32),
            "stopped": np.full(grid, -1, np.int32),
            "trace": np.full((*grid, points), np.nan, np.float32),
            "attempt": np.zeros(grid, np.uint8),
        }
        size, rows = layer.picture(record.ascent.canvas, plan.card.image), {unit: row for row, unit in enumerate(units)}
        trace_step = np.full(points, -1, np.int32) if held is None else held.small("trace_step")
        with merge.parts.part(root) as part:
            group = STYLE.create(part.file, about, layer=layer_group, style=style_group)
            pictures = PictureWriter(part, STYLE, group, units, asked, {"pixels": (*size, 3)}, small, held)
            for task in tasks:
                shard, reason = merge.shard(task)
                addresses = [f"{task.layer}:{unit}" for unit in task.units]
                pictures.add([rows[unit] for unit in task.units], task.sample, addresses, shard, reason, merge.report)
                if shard is not None:
                    trace_step = shard.array("trace_step")
            STYLE["trace_step"].write(group, trace_step)
            return pictures.close(merge.report)


def held_style(held: HeldAtlas, layer: str, style: str) -> HeldPictures | None:
    """What an atlas holds of a style in a layer."""
    return held.pictures(layer, STYLE, "style", style, ASCENT_REVISION)


def held_units(plan: Plan, held: HeldAtlas) -> dict[PartKey, frozenset[int]]:
    """The units that an atlas holds, for each part of the plan."""
    pictures = {
        (layer, style): held_style(held, layer, style)
        for layer, style in {key[1:3] for key in plan.method_parts("ascent")}
    }
    return {
        key: pictures[key[1:3]].finished(key[3])
        for key in plan.method_parts("ascent")
        if pictures[key[1:3]] is not None
    }


def _attributes(plan: Plan, layer: LayerCard, record: StyleRecord) -> dict[str, object]:
    style, ascent = record.style, record.ascent
    numbers = {name: value for name, value in stored_numbers(style).items() if name not in ("name", "direction")}
    shared = {name: value for name, value in vars(ascent).items() if name != "canvas"}
    return {
        "style": style.name,
        "revision": ASCENT_REVISION,
        "measure": layer.measure,
        "canvas": ascent.canvas,
        "row": layer.centre[0],
        "column": layer.centre[1],
        "direction": style.direction,
        "cut": cut_sides(layer) if ascent.canvas == "window" else [0, 0, 0, 0],
        "seed": record.seed,
        "device": record.device.kind,
        **numbers,
        **shared,
        **sweep_attributes(plan, "ascent", style.name),
    }


WRITERS = {"ascent": StylesWriter}
