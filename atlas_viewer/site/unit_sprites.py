"""Sprites with one picture for each unit: the best of a style or run, or the four best patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.layer import Layer
from atlas_viewer.montage import quad, quad_size, stretch
from atlas_viewer.site.outline import safe
from atlas_viewer.site.sprites import FORMS, PHOTO, Sprite, thumb_size, thumbs


def best_sprite(climb: Climb, count: int, stem: str, columns: int, side: int) -> Sprite:
    """The sprite for the best pictures of `count` units, each at most `side` pixels long; runs in true colours."""
    size, columns = thumb_size(climb.size, side), max(1, min(columns, count))
    if isinstance(climb, Run):
        return Sprite(f"{stem}-dgn.{safe(climb.name)}", size, count, columns, PHOTO)
    return Sprite(f"{stem}.{safe(climb.name)}", size, count, columns, FORMS)


def draw_best(layer: Layer, climb: Climb, rows: Sequence[int], sprite: Sprite, folder: Path) -> None:
    """Draw the best picture of each of these rows; no files are made if none has one."""
    draw_chosen(layer, climb, rows, climb.best_sample[list(rows)] if len(rows) else np.zeros(0, int), sprite, folder)


def draw_chosen(
    layer: Layer, climb: Climb, rows: Sequence[int], samples: np.ndarray, sprite: Sprite, folder: Path
) -> None:
    """Draw the given sample of each of these rows, none for -1; for a run, its last iterate."""
    read = np.zeros((len(rows), *climb.size, 3), np.uint8)
    for cell, (row, sample) in enumerate(zip(rows, samples.tolist(), strict=True)):
        if sample >= 0:
            read[cell] = climb.pixels[row, sample]
    if not (samples >= 0).any():
        return
    drawn = {form: thumbs(read, sprite.size) for form in sprite.forms if form != "stretched"}
    if "stretched" in sprite.forms:
        shown = stretch(read, climb.mean_under(layer.atlas.mean, layer.window))
        drawn["stretched"] = thumbs(shown, sprite.size)
    sprite.draw_forms(folder, drawn, samples >= 0)


def draw_images(layer: Layer, rows: list[int], sprite: Sprite, folder: Path) -> np.ndarray:
    """Draw the best patches of these rows; return which rows have any, bool (row,). If none has, no file is written."""
    pictures, exists = quads(layer, rows, max(sprite.size))
    if exists.any():
        sprite.draw_forms(folder, {PHOTO[0]: pictures}, exists)
    return exists


def images_sprite(layer: Layer, count: int, stem: str, columns: int, side: int) -> Sprite | None:
    """The sprite for the best patches of `count` units; None without hits, or without stored pixels."""
    if "largest" not in layer.kinds or not layer.atlas.dataset.has_pixels or not count:
        return None
    size = quad_size(layer.tops("largest").frame_size, side)
    return Sprite(f"{stem}.images", size, count, min(columns, count), PHOTO)


def quads(layer: Layer, rows: Sequence[int], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The four best patches of each of these units in one picture, and which units have any.

    The pictures are (unit, y, x, rgb), at most `side` pixels long.
    """
    tops = layer.tops("largest")
    ranks = range(min(4, tops.image.shape[1]))
    drawn = []
    for row in rows:
        patches = [tops.patch(row, rank) for rank in ranks]
        pixels, inside = np.stack([p.pixels for p in patches]), np.stack([p.inside for p in patches])
        drawn.append(quad(pixels, inside, side))
    return np.stack(drawn), tops.there[list(rows)].any(axis=1)
