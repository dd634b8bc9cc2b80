"""The sprites of a layer's montage, and the picture in them of any unit, for the pages of other units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer
from atlas_viewer.site.outline import Outline, leading
from atlas_viewer.site.pieces import BLOCK
from atlas_viewer.site.sprites import Crop, Sprite
from atlas_viewer.site.unit_sprites import best_sprite, images_sprite

THUMB = 104  # pixels: longest side of a picture in a montage
COLUMNS = 10  # cells in a row of a sprite; the page flows its pictures as it likes
ANY = "*"  # in the name of a sprite's file, for the number of its block


def montage_sprite(layer: Layer, climb: Climb, block: int | None) -> Sprite:
    """The sprite of one block of a layer's units; those of all its blocks have the same cells. None for any block."""
    return best_sprite(climb, min(BLOCK, len(layer)), _stem(block), COLUMNS, THUMB)


def montage_images(layer: Layer, block: int | None) -> Sprite | None:
    """The sprite of the best patches of one block; None without hits, or without stored pixels."""
    return images_sprite(layer, min(BLOCK, len(layer)), _stem(block), COLUMNS, THUMB)


def _stem(block: int | None) -> str:
    return f"montage-{ANY if block is None else block + 1}"


@dataclass(frozen=True)
class Thumbs:
    """What the pages of other units show of the units of a layer. Its `repr` has all that decides it.

    folder : of the layer, as an address.
    rows : number of a unit → its row.
    labels : of each row.
    sprites : of each block, in the layer's folder; None for a block without pictures.
    """

    layer: str
    folder: str
    rows: dict[int, int]
    labels: tuple[str, ...]
    sprites: tuple[Sprite | None, ...]

    def crop(self, number: int, root: str) -> Crop | None:
        """The first form of a unit's picture, from a page that has all folders in `root`; None without a picture."""
        block, cell = divmod(self.rows[number], BLOCK)
        if self.sprites[block] is None:
            return None
        crop = self.sprites[block].crop(cell, f"{root}{self.folder}/")
        return replace(crop, views=(replace(crop.views[0], kind=""),))


def thumbs(outline: Outline, name: str) -> Thumbs:
    """The pictures of a layer's units by the style or run that leads, else by their best patches."""
    key = f"thumbs {name}"
    if key not in outline.kept:
        outline.kept[key] = _thumbs(outline.atlas[name], quote(outline.folders[name]))
    return outline.kept[key]


def _thumbs(layer: Layer, folder: str) -> Thumbs:
    first, blocks = leading(layer), range(-(-len(layer) // BLOCK))
    if first is not None:
        there = first.best_sample >= 0
        sprites = [montage_sprite(layer, first, block) for block in blocks]
    elif "largest" in layer.kinds and layer.atlas.dataset.has_pixels:
        there = layer.tops("largest").there.any(axis=1)
        sprites = [montage_images(layer, block) for block in blocks]
    else:
        there, sprites = np.zeros(len(layer), bool), [None for _ in blocks]
    return Thumbs(
        layer=layer.name,
        folder=folder,
        rows={number: row for row, number in enumerate(layer.units.tolist())},
        labels=layer.labels,
        sprites=tuple(
            sprite if there[block * BLOCK : (block + 1) * BLOCK].any() else None
            for block, sprite in zip(blocks, sprites, strict=True)
        ),
    )
