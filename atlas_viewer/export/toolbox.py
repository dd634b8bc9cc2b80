"""The folders that the viewer of the Deep Visualization Toolbox loads as `caffevis_unit_jpg_dir`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.export.cells import cell_side, climb_cells, patch_cells, signal_cells
from atlas_viewer.export.montages import layer_montage
from atlas_viewer.layer import Layer
from atlas_viewer.montage import GREY, class_montage, grid, save

STYLES = ("sparse", "high_frequency", "low_frequency", "contribution")  # the viewer shows the third block
LEAD = "low_frequency"
SAMPLES = 9  # of a block, three by three


def write_toolbox(atlas: Atlas, folder: Path, side: int) -> int:
    """Write the pictures of every unit as the toolbox names them; return how many files.

    regularized_opt/<layer>/<layer>_0000_montage.jpg : four styles of nine samples; of other styles than the
        published ones the first four.
    regularized_opt/<layer>/whole_layer.jpg : the best picture of each unit by one style, side by side.
    max_im/<layer>/<layer>_0000.jpg : the nine best patches in true colours (the toolbox's own have their contrast
        enhanced, each by itself).
    max_deconv/<layer>/<layer>_0000.jpg : their back-projections by the deconvnet rule.
    side : largest side of a picture in pixels.
    Source: Yosinski et al. 2015, the toolbox's viewer.
    """
    return sum(_styles(layer, folder, side) + _hits(layer, folder, side) for layer in atlas)


def _styles(layer: Layer, folder: Path, side: int) -> int:
    asked = [name for name in layer.styles if name not in layer.swept]
    if not asked:
        return 0
    into = folder / "regularized_opt" / layer.key
    into.mkdir(parents=True)
    blocks = STYLES if set(asked) & set(STYLES) else tuple(asked[:4])
    shown = [layer.ascent.get(name) for name in (*blocks, *[""] * 4)[:4]]
    cell = max(cell_side(climb.size, side) for climb in shown if climb is not None)
    for row, number in enumerate(layer.units.tolist()):
        pictures = np.full((4, SAMPLES, cell, cell, 3), GREY, np.uint8)
        for block, climb in zip(pictures, shown, strict=True):
            if climb is not None:
                count = min(SAMPLES, climb.samples)
                block[:count] = climb_cells(layer, climb, row, slice(0, count), cell)
        save(into / f"{layer.key}_{number:04d}_montage.jpg", class_montage(pictures))
    lead = layer.ascent[LEAD if LEAD in asked else asked[0]]
    save(into / "whole_layer.jpg", layer_montage(layer, lead, side))
    return len(layer) + 1


def _hits(layer: Layer, folder: Path, side: int) -> int:
    if "largest" not in layer.kinds or not layer.atlas.dataset.has_pixels:
        return 0
    tops, written = layer.tops("largest"), 0
    cell = cell_side(tops.frame_size, side)
    made = {"max_im": lambda row: patch_cells(tops, row, SAMPLES, cell)}
    if "deconvnet" in tops.rules:
        made["max_deconv"] = lambda row: signal_cells(tops, "deconvnet", row, SAMPLES, cell)
    for name, drawn in made.items():
        into = folder / name / layer.key
        into.mkdir(parents=True)
        for row, number in enumerate(layer.units.tolist()):
            save(into / f"{layer.key}_{number:04d}.jpg", grid(drawn(row), columns=3, rows=3, gap=1))
            written += 1
    return written
