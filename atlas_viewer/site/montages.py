"""The sprites of a layer's montage, and the picture in them of any unit, for the pages of other units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer
from atlas_viewer.site.outline import Outline, leading
from atlas_viewer.site.sprites import Crop, Sprite
from atlas_viewer.site.unit_sprites import best_sprite, images_sprite

THUMB = 104  # pixels: longest side of a picture in a montage
CELLS = 5  # units in a file, a divisor of BLOCK: pages show units of all blocks, and load four pictures with each
ANY = "*"  # in the name of a sprite's file, for its number


def montage_sprite(layer: Layer, climb: Climb, number: int | None) -> Sprite:
    """One of the sprites of a layer's units, counted from 0; all of them have the same cells. None for any of them."""
    return best_sprite(climb, min(CELLS, len(layer)), _stem(number), CELLS, THUMB)


def montage_images(layer: Layer, number: int | None) -> Sprite | None:
    """One of the sprites of the best patches; None without hits, or without stored pixels."""
    return images_sprite(layer, min(CELLS, len(layer)), _stem(number), CELLS, THUMB)


def montage_numbers(rows: range) -> range:
    """The numbers of the sprites that these rows lie in."""
    return range(rows.start // CELLS, -(-rows.stop // CELLS))


def _stem(number: int | None) -> str:
    return f"montage-{ANY if number is None else number + 1}"


@dataclass(frozen=True)
class Thumbs:
    """What the pages of other units show of the units of a layer. Its `repr` has all that decides it.

    folder : of the layer, as an address.
    rows : number of a unit → its row.
    labels : of each row.
    sprites : each with the pictures of CELLS units, in the layer's folder; None for one without pictures.
    """

    layer: str
    folder: str
    rows: dict[int, int]
    labels: tuple[str, ...]
    sprites: tuple[Sprite | None, ...]

    def crop(self, number: int, root: str) -> Crop | None:
        """The first form of a unit's picture, from a page that has all folders in `root`; None without a picture."""
        at, cell = divmod(self.rows[number], CELLS)
        if self.sprites[at] is None:
            return None
        crop = self.sprites[at].crop(cell, f"{root}{self.folder}/")
        return replace(crop, views=(replace(crop.views[0], kind=""),))


def thumbs(outline: Outline, name: str) -> Thumbs:
    """The pictures of a layer's units by the style or run that leads, else by their best patches."""
    key = f"thumbs {name}"
    if key not in outline.kept:
        outline.kept[key] = _thumbs(outline.atlas[name], quote(outline.folders[name]))
    return outline.kept[key]


def _thumbs(layer: Layer, folder: str) -> Thumbs:
    first, numbers = leading(layer), montage_numbers(range(len(layer)))
    if first is not None:
        there = first.best_sample >= 0
        sprites = [montage_sprite(layer, first, number) for number in numbers]
    elif "largest" in layer.kinds and layer.atlas.dataset.has_pixels:
        there = layer.tops("largest").there.any(axis=1)
        sprites = [montage_images(layer, number) for number in numbers]
    else:
        there, sprites = np.zeros(len(layer), bool), [None for _ in numbers]
    return Thumbs(
        layer=layer.name,
        folder=folder,
        rows={number: row for row, number in enumerate(layer.units.tolist())},
        labels=layer.labels,
        sprites=tuple(
            sprite if there[number * CELLS : (number + 1) * CELLS].any() else None
            for number, sprite in zip(numbers, sprites, strict=True)
        ),
    )
