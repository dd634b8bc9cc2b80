"""Pictures of an atlas as equal cells, for montages: in true colours or stretched, reduced, with gaps filled."""

from __future__ import annotations

import numpy as np
from PIL import Image

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.tops import Tops
from atlas_viewer.layer import Layer
from atlas_viewer.montage import GREY, stretch


def cell_side(size: tuple[int, int], most: int) -> int:
    """The side of square cells for pictures of a size: their longest side, at most `most`."""
    return min(max(size), most)


def cells(pictures: np.ndarray, side: int) -> np.ndarray:
    """Pictures (picture, y, x, rgb) as square cells of a side, reduced if larger, on grey if not square."""
    height, width = pictures.shape[1:3]
    scale = min(1.0, side / max(height, width))
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    made = np.full((len(pictures), side, side, 3), GREY, np.uint8)
    top, left = (side - high) // 2, (side - wide) // 2
    for cell, picture in zip(made, pictures, strict=True):
        if (high, wide) != (height, width):
            picture = np.asarray(Image.fromarray(picture).resize((wide, high), Image.Resampling.BOX))
        cell[top : top + high, left : left + wide] = picture
    return made


def climb_cells(layer: Layer, climb: Climb, row: int, samples: slice, side: int) -> np.ndarray:
    """Pictures of a unit as cells, as pages show them; missing ones grey."""
    made = cells(layer.as_shown(climb, climb.pixels[row, samples]), side)
    made[~climb.there[row, samples]] = GREY
    return made


def patch_cells(tops: Tops, row: int, count: int, side: int) -> np.ndarray:
    """The first patches of a unit as cells in true colours, grey outside their image and where there is no hit."""
    ranks = range(min(count, tops.image.shape[1]))
    patches = [tops.patch(row, rank) for rank in ranks]
    drawn = [np.where(patch.inside[..., None], patch.pixels, np.uint8(GREY)) for patch in patches]
    return cells(np.stack(drawn) if drawn else np.zeros((0, 1, 1, 3), np.uint8), side)


def signal_cells(tops: Tops, rule: str, row: int, count: int, side: int) -> np.ndarray:
    """The first back-projections of a unit as cells, zero as mid-grey, each on its own scale."""
    signals = np.nan_to_num(tops.at(row).back_projection(rule)[:count])
    return cells(stretch(signals, np.zeros(3)), side)
