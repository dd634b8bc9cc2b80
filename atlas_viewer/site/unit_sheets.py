"""Sheets with one picture a unit: of a style or a run the one that went furthest, or the four best patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.layer import Layer
from atlas_viewer.montage import quad_size, stretch
from atlas_viewer.site.hits import quads
from atlas_viewer.site.outline import safe
from atlas_viewer.site.sheets import FORMS, PHOTO, Sheet, thumb_size, thumbs


def best_sheet(climb: Climb, count: int, stem: str, columns: int, side: int) -> Sheet:
    """The sheet for the best pictures of `count` units, each at most `side` pixels long; runs in true colours."""
    size, columns = thumb_size(climb.size, side), max(1, min(columns, count))
    if isinstance(climb, Run):
        return Sheet(f"{stem}-dgn.{safe(climb.name)}", size, count, columns, PHOTO)
    return Sheet(f"{stem}.{safe(climb.name)}", size, count, columns, FORMS)


def draw_best(layer: Layer, climb: Climb, rows: Sequence[int], sheet: Sheet, folder: Path) -> None:
    """Draw the best picture of each of these rows; no files are made where none of them has one."""
    draw_chosen(layer, climb, rows, climb.best_sample[list(rows)] if len(rows) else np.zeros(0, int), sheet, folder)


def draw_chosen(
    layer: Layer, climb: Climb, rows: Sequence[int], samples: np.ndarray, sheet: Sheet, folder: Path
) -> None:
    """Draw of each of these rows the sample that is named, none for -1; of a run the last iterate."""
    read = np.zeros((len(rows), *climb.size, 3), np.uint8)
    for cell, (row, sample) in enumerate(zip(rows, samples.tolist(), strict=True)):
        if sample >= 0:
            read[cell] = climb.pixels[row, sample]
    if not (samples >= 0).any():
        return
    drawn = {form: thumbs(read, sheet.size) for form in sheet.forms if form != "stretched"}
    if "stretched" in sheet.forms:
        shown = stretch(read, climb.mean_under(layer.atlas.mean, layer.window))
        drawn["stretched"] = thumbs(shown, sheet.size)
    sheet.draw_forms(folder, drawn, samples >= 0)


def draw_images(layer: Layer, rows: list[int], sheet: Sheet, folder: Path) -> np.ndarray:
    """Draw the best patches of these rows, no files if there are none; which rows have any is returned, bool (row,)."""
    pictures, there = quads(layer, rows, max(sheet.size))
    if there.any():
        sheet.draw_forms(folder, {PHOTO[0]: pictures}, there)
    return there


def images_sheet(layer: Layer, count: int, stem: str, columns: int, side: int) -> Sheet | None:
    """The sheet for the best patches of `count` units; None where the layer has no hits, or the atlas no pixels."""
    if "largest" not in layer.kinds or not layer.atlas.dataset.has_pixels or not count:
        return None
    size = quad_size(layer.tops("largest").frame_size, side)
    return Sheet(f"{stem}.images", size, count, min(columns, count), PHOTO)
