"""Write the groups of a layer's styles, shard by shard."""

from __future__ import annotations

from functools import partial

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
    cut_sides,
    held_parts,
    stated_precision,
    sweep_attributes,
    write_setting,
)

_ARRAYS = {
    "activation": (np.nan, "f4"),
    "activation_float": (np.nan, "f4"),
    "best_step": (-1, "i4"),
    "stopped": (-1, "i4"),
    "attempt": (0, "u1"),
}


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
        plan, tasks = self.merge.plan, self._tasks.get((layer.name, record.name), ())
        return write_setting(
            self.merge,
            STYLE,
            {"layer": layer_group, "style": style_group},
            _attributes(plan, layer, record),
            "ascent",
            layer,
            record.name,
            {task: task.pictures for task in tasks},
            {"pixels": (*layer.picture(record.ascent.canvas, plan.card.image), 3)},
            _ARRAYS,
            record.ascent.trace_points,
            held_style(self.merge.held, layer.name, record.name),
        )


def held_style(held: HeldAtlas, layer: str, style: str) -> HeldPictures | None:
    """What an atlas holds of a style in a layer."""
    return held.pictures(layer, STYLE, "style", style, ASCENT_REVISION)


def held_units(plan: Plan, held: HeldAtlas) -> dict[PartKey, frozenset[int]]:
    """The units that an atlas holds, for each part of the plan."""
    return held_parts(plan, "ascent", partial(held_style, held))


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
        **stated_precision(record.climbs(layer)),
        **numbers,
        **shared,
        **sweep_attributes(plan, "ascent", style.name),
    }


WRITERS = {"ascent": StylesWriter}
