"""Sprites: image files that hold many pictures on a raster, and the crops that show one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from atlas_viewer.montage import GREY, save

FORMS = ("stretched", "true")
PHOTO = ("photo",)  # images of a dataset have one form: their true colours
ITERATES = ("last", "best")  # of a run: true colours, the last picture and that with the largest activation
CLASSES = {  # CSS
    **{"stretched": "s", "true": "t", "photo": "", "raw": "f raw", "norm": "f norm", "blurred": "f blurred"},
    **{"last": "i last", "best": "i best"},
}
QUALITY = {"raw": 84, "norm": 84, "blurred": 84}  # of JPEG: back-projections are noisy and many
EXACT = 64  # pixels: up to this side pictures are stored exactly (PNG), above it as JPEG with whole colours
BLOCK = 8  # pixels: JPEG works in blocks, so no block may hold parts of two pictures


@dataclass(frozen=True)
class Crop:
    """One picture of a sprite: one file per form, the sprite's size, and the CSS that leaves just the picture.

    images : (CSS class, file) pairs, one per form.
    clip : the CSS that leaves only the part inside the image, or empty.
    """

    images: tuple[tuple[str, str], ...]
    width: int
    height: int
    css: str
    ratio: str
    pixelated: bool
    clip: str


@dataclass(frozen=True)
class Tile:
    """A picture, or why there is none."""

    crop: Crop | None
    alt: str
    why: str


@dataclass(frozen=True)
class Sprite:
    """A raster of pictures of one size; `stem` is the files' name up to the form, relative to the page."""

    stem: str
    size: tuple[int, int]
    count: int
    columns: int
    forms: tuple[str, ...] = FORMS

    @property
    def pitch(self) -> tuple[int, int]:
        """Height and width of a cell: the picture with at least a pixel around it."""
        return tuple(math.ceil((side + 2) / BLOCK) * BLOCK for side in self.size)

    @property
    def suffix(self) -> str:
        """The kind of the files."""
        return ".png" if max(self.size) <= EXACT else ".jpg"

    @property
    def rows(self) -> int:
        """How many rows of cells there are."""
        return max(1, math.ceil(self.count / self.columns))

    def name(self, form: str) -> str:
        """The file of one form."""
        return f"{self.stem}.{form}{self.suffix}"

    def crop(self, cell: int, folder: str = "", inside: Sequence[float] = (0, 0, 1, 1)) -> Crop:
        """The picture in a cell, seen from a page that has the sprite in `folder`.

        inside : which part of it is shown, top, left, bottom, right as shares of its sides.
        """
        row, column = divmod(cell, self.columns)
        height, width = self.pitch[0] * self.rows, self.pitch[1] * self.columns
        y, x = self._corner(row, column)
        parts = (-x / self.size[1], -y / self.size[0], width / self.size[1], height / self.size[0])
        left, top, wide, high = (_percent(part) for part in parts)
        cut = (inside[0], 1 - inside[3], 1 - inside[2], inside[1])  # CSS goes round: top, right, bottom, left
        return Crop(
            images=tuple((CLASSES[form], folder + quote(self.name(form))) for form in self.forms),
            width=width,
            height=height,
            css=f"left:{left};top:{top};width:{wide};height:{high}",
            ratio="" if self.size[0] == self.size[1] else f"{self.size[1]}/{self.size[0]}",
            pixelated=max(self.size) <= EXACT,
            clip=f"clip-path:inset({' '.join(map(_percent, cut))})" if any(cut) else "",
        )

    def draw(self, folder: Path, pictures: np.ndarray, stretched: np.ndarray, exists: np.ndarray) -> None:
        """Write the files of both forms; pictures (picture, y, x, rgb), grey where `exists` is false."""
        self.draw_forms(folder, {"stretched": stretched, "true": pictures}, exists)

    def draw_forms(self, folder: Path, drawn: Mapping[str, np.ndarray], exists: np.ndarray) -> None:
        """Write the file of each form: (picture, y, x, rgb) or (picture, y, x), grey where `exists` is false."""
        for form in self.forms:
            save(folder / self.name(form), self._raster(drawn[form], exists), QUALITY.get(form, 92))

    def _corner(self, row: int, column: int) -> tuple[int, int]:
        (high, wide), (height, width) = self.pitch, self.size
        return row * high + (high - height) // 2, column * wide + (wide - width) // 2

    def _raster(self, pictures: np.ndarray, exists: np.ndarray) -> np.ndarray:
        """Each cell is filled up with its picture's edge, so that scaling mixes in no neighbour."""
        (high, wide), (height, width) = self.pitch, self.size
        before, left = (high - height) // 2, (wide - width) // 2
        colours = pictures.shape[3:]
        around = ((0, 0), (before, high - height - before), (left, wide - width - left), *[(0, 0)] * len(colours))
        cells = np.full((self.rows * self.columns, high, wide, *colours), GREY, np.uint8)
        cells[: len(pictures)][exists] = np.pad(pictures[exists], around, mode="edge")
        lines = cells.reshape(self.rows, self.columns, high, wide, *colours).swapaxes(1, 2)
        return lines.reshape(self.rows * high, self.columns * wide, *colours)


def thumb_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size of a picture reduced until its longest side fits; smaller ones stay as they are."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbs(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pictures (picture, y, x, rgb) or (picture, y, x) at this size."""
    if tuple(pictures.shape[1:3]) == tuple(size) or not len(pictures):
        return pictures
    small = (Image.fromarray(p).resize(size[::-1], Image.Resampling.LANCZOS) for p in pictures)
    return np.stack([np.asarray(image) for image in small])


def _percent(part: float) -> str:
    text = f"{100 * part:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("0", "-0") else f"{text}%"
