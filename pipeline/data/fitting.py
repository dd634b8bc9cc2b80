"""Resizing of images to the network's input size, with the position of the input in the original."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.data.decoding import Decoded

REFERENCE_EDGE = 256  # as in Caffe: networks that read 224…227 pixels get the centre of 256
_MARGIN = 8 / 7  # 256 / 224, for other sizes
_NO_MARGIN_BELOW = 128  # networks with smaller inputs get the whole image


@dataclass(frozen=True)
class Box:
    """Rows top … bottom and columns left … right, in pixels; coordinates refer to the edges of pixels."""

    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True)
class Placement:
    """The position of a network's input in the original image, in original pixels.

    first_row, row_scale : row r of the input begins at row first_row + r·row_scale.
    first_column, column_scale : the same for columns.
    rows, columns : of the upright original.
    """

    first_row: float
    first_column: float
    row_scale: float
    column_scale: float
    rows: int
    columns: int

    def original(self, box: Box) -> Box:
        """A box of the input in the coordinates of the original; may stick out, for padding."""
        return Box(
            self.first_row + box.top * self.row_scale,
            self.first_column + box.left * self.column_scale,
            self.first_row + box.bottom * self.row_scale,
            self.first_column + box.right * self.column_scale,
        )


@dataclass(frozen=True)
class Fitted:
    """Pixels (row, column, rgb) uint8 in the network's input size, with their position in the original."""

    pixels: np.ndarray
    placement: Placement


def fit(
    decoded: Decoded,
    preprocess: str,
    height: int,
    width: int,
    fill: tuple[int, int, int],
    interpolation: str = "bilinear",
) -> Fitted:
    """An image in the network's input size.

    Pillow's filters widen when they scale down (antialiasing). Resizing and cropping are one operation on the part that
    remains.

    decoded : the image.
    preprocess : "squash" resizes to `edge` × `edge` regardless of the aspect ratio and crops the centre; "short_side"
        resizes to the smallest size that covers `edge` × `edge`, keeping the aspect ratio, and crops the centre;
        "resize" resizes to the input's size; "pad" keeps the aspect ratio and pads.
    height, width : of the input, in pixels.
    fill : padding colour, RGB; the mean colour of the network.
    interpolation : Pillow's filter, as in `Preprocessing`.
    Departure: Caffe's Python reader samples without antialiasing.
    Source: Yosinski et al. 2015; their toolbox and Caffe's Python classifier squash to 256 × 256 and crop at 14.
    """
    rows, columns = decoded.rows, decoded.columns
    if preprocess == "pad":
        return _pad(decoded, height, width, fill, interpolation)
    if preprocess == "resize":
        shown_height, shown_width = height, width
    elif preprocess == "squash":
        shown_height, shown_width = edge(height), edge(width)
    elif preprocess == "short_side":
        scale = max(edge(height) / rows, edge(width) / columns)
        shown_height = max(edge(height), round(rows * scale))
        shown_width = max(edge(width), round(columns * scale))
    else:
        raise ValueError(f"fit: no preprocessing {preprocess!r}")
    row_scale, column_scale = rows / shown_height, columns / shown_width
    placement = Placement(
        first_row=(shown_height - height) // 2 * row_scale,
        first_column=(shown_width - width) // 2 * column_scale,
        row_scale=row_scale,
        column_scale=column_scale,
        rows=rows,
        columns=columns,
    )
    part = placement.original(Box(0, 0, height, width))
    return Fitted(_resized(decoded, part, height, width, interpolation), placement)


def edge(side: int) -> int:
    """The side to which an image is resized before its central `side` pixels are cropped.

    256 for 224…227, as published; the same ratio for other sizes of at least 128; `side` itself for smaller ones.
    """
    if 224 <= side <= 227:
        return REFERENCE_EDGE
    return side if side < _NO_MARGIN_BELOW else round(side * _MARGIN)


def least_size(preprocess: str, height: int, width: int) -> tuple[int, int]:
    """The (rows, columns) below which scaling down in the decoder would lose detail."""
    return (height, width) if preprocess in ("resize", "pad") else (edge(height), edge(width))


def _pad(decoded: Decoded, height: int, width: int, fill: tuple[int, int, int], interpolation: str) -> Fitted:
    rows, columns = decoded.rows, decoded.columns
    scale = min(height / rows, width / columns)
    shown_height = min(height, max(1, round(rows * scale)))
    shown_width = min(width, max(1, round(columns * scale)))
    top, left = (height - shown_height) // 2, (width - shown_width) // 2
    row_scale, column_scale = rows / shown_height, columns / shown_width
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = fill
    pixels[top : top + shown_height, left : left + shown_width] = _resized(
        decoded, Box(0, 0, rows, columns), shown_height, shown_width, interpolation
    )
    return Fitted(pixels, Placement(-top * row_scale, -left * column_scale, row_scale, column_scale, rows, columns))


def _resized(decoded: Decoded, box: Box, height: int, width: int, interpolation: str) -> np.ndarray:
    """The part of the image under a box of the original, resized."""
    reduction = decoded.reduction
    limits = decoded.pixels.shape
    if reduction == 1 and limits[:2] == (height, width) and box == Box(0, 0, height, width):
        return decoded.pixels
    part = (
        box.left / reduction,
        box.top / reduction,
        min(limits[1], box.right / reduction),  # rounding of floats may put the edge outside
        min(limits[0], box.bottom / reduction),
    )
    image = Image.fromarray(decoded.pixels)
    return np.asarray(image.resize((width, height), Image.Resampling[interpolation.upper()], box=part))
