"""Montages of whole layers as PNG files: one picture of each unit (Yosinski et al. 2015, figure S1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.export.cells import cell_side, climb_cells, patch_cells
from atlas_viewer.layer import Layer
from atlas_viewer.montage import GREY, save, whole_layer


def write_montages(atlas: Atlas, folder: Path, side: int) -> int:
    """Write <layer>/ascent.<style>.png, dgn.<run>.png and images.png, of the best patches; return how many files.

    The units are in the order of their numbers, row by row, in a square grid without gaps; those that an atlas does
    not have are grey. Settings of a sweep are left out.
    side : largest side of a picture in pixels.
    """
    written = 0
    for layer in atlas:
        into = folder / layer.key
        into.mkdir()
        climbs = [climb for climb in (*layer.ascent.values(), *layer.dgn.values()) if climb.sweep is None]
        for climb in climbs:
            save(into / f"{climb.path.replace('/', '.')}.png", layer_montage(layer, climb, side))
            written += 1
        if "largest" in layer.kinds and atlas.dataset.has_pixels:
            save(into / "images.png", _patches(layer, side))
            written += 1
    return written


def layer_montage(layer: Layer, climb: Climb, side: int) -> np.ndarray:
    """The best picture of every unit of a layer by one setting, as one image (y, x, rgb)."""
    cell = cell_side(climb.size, side)
    pictures = np.full((layer.info.channels, cell, cell, 3), GREY, np.uint8)
    for row, (number, best) in enumerate(zip(layer.units.tolist(), climb.best_sample.tolist(), strict=True)):
        if best >= 0:
            pictures[number] = climb_cells(layer, climb, row, slice(best, best + 1), cell)[0]
    return whole_layer(pictures)


def _patches(layer: Layer, side: int) -> np.ndarray:
    tops = layer.tops("largest")
    cell = cell_side(tops.frame_size, side)
    pictures = np.full((layer.info.channels, cell, cell, 3), GREY, np.uint8)
    for row, number in enumerate(layer.units.tolist()):
        for drawn in patch_cells(tops, row, 1, cell):
            pictures[number] = drawn
    return whole_layer(pictures)
