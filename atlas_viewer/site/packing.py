"""The sprite of a unit's page: pictures of several sizes, packed into one file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from atlas_viewer.montage import GREY, WEBP_METHOD, save
from atlas_viewer.site.sprites import EXACT, Crop, View, cropped, percent, placed

WIDTH, AREA = 1160, 12_000_000  # pixels: of a file at most; a side of a WebP file has at most 16,383
MARGIN = 2  # pixels around each picture, repeating its edge, so that scaling mixes in no neighbour
FULL_QUALITY = 90
SWITCHES = {"stretched": "colours", "last": "iterate", "raw": "form"}  # of the page, by the first of the forms
QUALITY = 70  # of WebP …
BYTES_PER_PIXEL = 0.066  # … unless the file would exceed this: then the quality of the share of bytes that is left
_BAND, _FEWEST = 16, 60_000  # rows of a band, as the encoder's blocks have; pixels that are worth a sample
LOWER = ((0.85, 56), (0.74, 44), (0.63, 34), (0.52, 24), (0.0, 16))


@dataclass(eq=False)
class _Cell:
    """One picture of a file, its forms below one another, and its corner there, once the file is packed."""

    forms: Sequence[np.ndarray]
    column: int = 0
    row: int = 0

    @property
    def pitch(self) -> tuple[int, int]:
        """Height and width with the margins, even ones, because colours are stored for two by two pixels."""
        high, wide = self.forms[0].shape[:2]
        return len(self.forms) * _pitch(high), _pitch(wide)

    def draw(self, canvas: np.ndarray) -> None:
        """Draw the forms into the canvas (y, x, rgb), each with its margin."""
        high, wide = self.forms[0].shape[:2]
        left, right = self.column, self.column + wide
        end = self.row - MARGIN + self.pitch[0] - high % 2
        for top, form in zip(range(self.row, end, _pitch(high)), self.forms, strict=True):
            drawn, bottom = form if form.ndim == 3 else form[..., None], top + high
            canvas[top - MARGIN : top, left:right] = drawn[:1]
            canvas[top:bottom, left:right] = drawn
            canvas[bottom : min(bottom + MARGIN + high % 2, end), left:right] = drawn[-1:]
        rows = canvas[self.row - MARGIN : end]
        rows[:, left - MARGIN : left] = rows[:, left : left + 1]
        rows[:, right : right + MARGIN] = rows[:, right - 1 : right]


@dataclass(eq=False)
class _Canvas:
    """One file under construction."""

    name: str
    cells: list[_Cell] = field(default_factory=list)
    area: int = 0

    def add(self, forms: Sequence[np.ndarray]) -> _Cell:
        """Add a picture in several forms of one size."""
        self.cells.append(_Cell(forms))
        high, wide = self.cells[-1].pitch
        self.area += high * wide
        return self.cells[-1]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width, once all pictures were added: in rows of equal height, the highest first."""
        x = y = height = width = 0
        for cell in sorted(self.cells, key=lambda cell: -cell.pitch[0]):
            high, wide = cell.pitch
            if x + wide > WIDTH or high < height - y:
                x, y = 0, height
            cell.column, cell.row = x + MARGIN, y + MARGIN
            x, height, width = x + wide, max(height, y + high), max(width, x + wide)
        return height, width

    def draw(self) -> np.ndarray:
        """The image (y, x, rgb)."""
        drawn = np.full((*self.size, 3), GREY, np.uint8)
        for cell in self.cells:
            cell.draw(drawn)
        return drawn


@dataclass(frozen=True, eq=False)
class Place:
    """A picture in a sprite; its crop can be used once all pictures have been added.

    size : height and width of the picture.
    forms : how many forms of it lie below one another.
    switch : the CSS variable with the number of the form that is shown, or empty.
    true : the filter of the page that turns it into true colours, or empty.
    """

    size: tuple[int, int]
    canvas: _Canvas
    cell: _Cell
    switch: str
    true: str

    def crop(self, inside: Sequence[float] = (0, 0, 1, 1)) -> LateCrop:
        """The crop. inside : which part is shown, top, left, bottom, right as shares of its sides."""
        return LateCrop(self, tuple(inside))


@dataclass(frozen=True)
class LateCrop:
    """A crop whose numbers are taken when a page is written."""

    place: Place
    inside: tuple[float, ...]

    @cached_property
    def _crop(self) -> Crop:
        place = self.place
        width = place.canvas.size[1]
        css = placed((place.cell.column, place.cell.row), place.size, width)
        if place.switch:
            step = percent(_pitch(place.size[0]) / place.size[0])
            css += f";top:calc({percent(-place.cell.row / place.size[0])} - var(--{place.switch},0)*{step})"
        return cropped((View("", place.canvas.name, css, 0, 0),), place.size, self.inside, place.true)

    def __getattr__(self, name: str) -> object:
        return getattr(self._crop, name)


class UnitSprite:
    """The pictures of one unit's page: panels add theirs, then the files are written.

    Pictures up to EXACT pixels go into a PNG file, larger ones into a WebP file; further files only where one would be
    too large.
    stem : the files' name.
    full : keep pictures at their stored size.
    """

    def __init__(self, stem: str, full: bool = False) -> None:
        self.stem, self.full = stem, full
        self.filters: dict[str, str] = {}  # of the page: name → values of an feColorMatrix
        self._canvases: dict[str, list[_Canvas]] = {".png": [], ".webp": []}

    def add(self, forms: Mapping[str, Sequence[np.ndarray]], true: Sequence[str] = ()) -> tuple[Place, ...]:
        """Add pictures, each in several forms: uint8 (picture, y, x, rgb) or (picture, y, x), by form.

        Several forms must be all those of one switch of the page, in its order.
        true : for each picture, the matrix that turns it into true colours, as an feColorMatrix has it.
        """
        switch = SWITCHES[next(iter(forms))] if len(forms) > 1 else ""
        places = []
        for at, drawn in enumerate(zip(*forms.values(), strict=True)):
            name = f"t{len(self.filters)}" if true else ""
            if true:
                self.filters[name] = true[at]
            canvas = self._canvas(max(drawn[0].shape[:2]))
            places.append(Place(drawn[0].shape[:2], canvas, canvas.add(drawn), switch, name))
        return tuple(places)

    def write(self, folder: Path) -> None:
        """Write the files."""
        for suffix, canvases in self._canvases.items():
            for canvas in canvases:
                if suffix == ".png":
                    save(folder / canvas.name, canvas.draw())
                else:
                    (folder / canvas.name).write_bytes(webp(canvas.draw(), self.full))

    def _canvas(self, side: int) -> _Canvas:
        """The file for a picture with this longest side."""
        suffix = ".png" if side <= EXACT else ".webp"
        canvases = self._canvases[suffix]
        if not canvases or canvases[-1].area > AREA:
            number = f"-{len(canvases) + 1}" if canvases else ""
            canvases.append(_Canvas(f"{self.stem}{number}{suffix}"))
        return canvases[-1]


def _pitch(side: int) -> int:
    """Pixels from a picture, or a form of it, to the next."""
    return side + 2 * MARGIN + side % 2


def webp(image: np.ndarray, full: bool = False) -> bytes:
    """A WebP file of QUALITY, or of less where it would exceed BYTES_PER_PIXEL; of FULL_QUALITY if `full`."""
    picture = Image.fromarray(image)
    if full:
        return _encoded(picture, FULL_QUALITY)
    share = _share_of_bands(image)
    if share >= LOWER[0][0]:
        data = _encoded(picture, QUALITY)
        share = BYTES_PER_PIXEL * image.shape[0] * image.shape[1] / len(data)
        if share >= 1 or len(data) < 4096:
            return data
    return _encoded(picture, next(quality for least, quality in LOWER if share >= least))


def _share_of_bands(image: np.ndarray) -> float:
    """The bytes that a large file may have, as a share of what it would take, from one band of rows in eight.

    It saves encoding noise twice. 1 for a small file.
    """
    bands = image[: len(image) // (8 * _BAND) * 8 * _BAND].reshape(-1, 8, _BAND, *image.shape[1:])[:, 4]
    if bands.size < 3 * _FEWEST:
        return 1.0
    sample = bands.reshape(-1, *image.shape[1:])
    return BYTES_PER_PIXEL * sample.shape[0] * sample.shape[1] / len(_encoded(Image.fromarray(sample), QUALITY))


def _encoded(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=WEBP_METHOD)
    return file.getvalue()
