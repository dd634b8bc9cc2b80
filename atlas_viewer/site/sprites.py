"""Sprites: image files that hold many pictures on a raster, and the crops that show one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from atlas_viewer.montage import GREY, save

if TYPE_CHECKING:
    from atlas_viewer.site.packing import LateCrop

FORMS = ("stretched", "true")
PHOTO = ("photo",)  # images of a dataset have one form: their true colours
ITERATES = ("last", "best")  # of a run: true colours, the last picture and that with the largest activation
CLASSES = {"stretched": "s", "true": "t", "photo": ""}  # CSS
QUALITY = 72  # of WebP
EXACT = 64  # pixels: up to this side pictures are stored exactly (PNG), above it as WebP
BLOCK = 8  # pixels: encoders work in blocks, so no block may hold parts of two pictures


@dataclass(frozen=True)
class View:
    """One form of a picture: its file, the file's size, and the CSS that leaves just the picture.

    kind : CSS class of the form.
    width, height : 0 in a page that has all its pictures in one file, which is loaded at once in any case.
    """

    kind: str
    file: str
    css: str
    width: int
    height: int


@dataclass(frozen=True)
class Crop:
    """One picture of a sprite, in all its forms.

    clip : the CSS that leaves only the part inside the image, or empty.
    true : the filter of the page that turns the picture into true colours, or empty.
    """

    views: tuple[View, ...]
    ratio: str
    pixelated: bool
    clip: str
    true: str = ""


@dataclass(frozen=True)
class Tile:
    """A picture, or why there is none. mark : CSS of the region that is outlined in it, or empty."""

    crop: Crop | LateCrop | None
    alt: str
    why: str
    mark: str = ""


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
        return ".png" if max(self.size) <= EXACT else ".webp"

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
        css = placed((x, y), self.size, width)
        files = [(CLASSES[form], folder + quote(self.name(form))) for form in self.forms]
        return cropped(tuple(View(kind, file, css, width, height) for kind, file in files), self.size, inside)

    @property
    def background(self) -> dict[str, str]:
        """CSS variables that show a cell of a sprite of one row as the background of a tile of `.montage`."""
        (high, wide), (height, width) = self.pitch, self.size
        whole_height, whole_width = self.rows * high, self.columns * wide
        top, left = self._corner(0, 0)
        return {
            "--w": percent(whole_width / width),
            "--px": percent(wide / (whole_width - width)),
            "--qx": percent(left / (whole_width - width)),
            "--qy": percent(top / (whole_height - height)),
            "--ratio": f"{width}/{height}",
            "--render": "pixelated" if max(self.size) <= EXACT else "auto",
        }

    def draw(self, folder: Path, pictures: np.ndarray, stretched: np.ndarray, exists: np.ndarray) -> None:
        """Write the files of both forms; pictures (picture, y, x, rgb), grey where `exists` is false."""
        self.draw_forms(folder, {"stretched": stretched, "true": pictures}, exists)

    def draw_forms(self, folder: Path, drawn: Mapping[str, np.ndarray], exists: np.ndarray) -> None:
        """Write the file of each form: (picture, y, x, rgb) or (picture, y, x), grey where `exists` is false."""
        for form in self.forms:
            save(folder / self.name(form), self._raster(drawn[form], exists), QUALITY)

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


def tile(crop: Crop, alt: str, mark: str = "") -> Markup:
    """The HTML of a crop: a tile with an image for each form. mark : CSS of a region to outline."""
    said, images = escape(alt), []
    for view in crop.views:
        kind = f' class="{view.kind}"' if view.kind else ""
        size = f' width="{view.width}" height="{view.height}" loading="lazy" decoding="async"' if view.width else ""
        images.append(f'<img{kind} src="{escape(view.file)}" style="{view.css}"{size} alt="{said}">')
    inner = "".join(images)
    if crop.clip:
        inner = f'<span class="in" style="{crop.clip}">{inner}</span>'
    if mark:
        inner += f'<i style="{mark}"></i>'
    parts = (f"aspect-ratio:{crop.ratio}" if crop.ratio else "", f"--true:url(#{crop.true})" if crop.true else "")
    css = ";".join(filter(None, parts))
    style = f' style="{css}"' if css else ""
    kinds = f"tile{' px' if crop.pixelated else ''}{' cut' if crop.clip else ''}"
    return Markup(f'<span class="{kinds}"{style}>{inner}</span>')


def thumb_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size of a picture reduced until its longest side fits; smaller ones stay as they are."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbs(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pictures (picture, y, x, rgb) or (picture, y, x) at this size."""
    if tuple(pictures.shape[1:3]) == tuple(size) or not len(pictures):
        return pictures
    small = (Image.fromarray(p).resize(size[::-1], Image.Resampling.HAMMING) for p in pictures)
    return np.stack([np.asarray(image) for image in small])


def placed(corner: tuple[int, int], size: tuple[int, int], width: int) -> str:
    """The CSS that moves a picture of a sprite into its tile; the height follows from the file's.

    corner : column and row of the picture in the sprite.
    size : height and width of the picture.
    width : of the sprite.
    """
    left, top, wide = -corner[0] / size[1], -corner[1] / size[0], width / size[1]
    return f"left:{percent(left)};top:{percent(top)};width:{percent(wide)}"


def cropped(
    views: tuple[View, ...], size: tuple[int, int], inside: Sequence[float] = (0, 0, 1, 1), true: str = ""
) -> Crop:
    """The crop of a picture of this size. inside : as in `Sprite.crop`."""
    cut = (inside[0], 1 - inside[3], 1 - inside[2], inside[1])  # CSS goes round: top, right, bottom, left
    return Crop(
        views=views,
        ratio="" if size[0] == size[1] else f"{size[1]}/{size[0]}",
        pixelated=max(size) <= EXACT,
        clip=f"clip-path:inset({' '.join(map(percent, cut))})" if any(cut) else "",
        true=true,
    )


def percent(part: float) -> str:
    """A share as CSS has it."""
    text = f"{100 * part:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("0", "-0") else f"{text}%"
