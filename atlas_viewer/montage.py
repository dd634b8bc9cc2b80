"""Grids of pictures, and the display stretch that makes faint pictures visible."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

GREY = 128  # fill colour between pictures and in empty cells: zero of the display stretch
PAPER = 222  # fill colour where there is no picture
QUAD_GAP = 2  # pixels between the four patches of a quad
WEBP_METHOD = 2  # effort of the WebP encoder, 0 to 6: 4 takes twice the time for 3 % fewer bytes


def stretch(pixels: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Pictures with the mean at mid-grey and their largest deviation at black or white, uint8.

    pixels : (..., y, x, rgb), pixel levels.
    mean : (y, x, rgb) or a part that broadcasts to it.
    Each picture has its own scale: x / max(2 max x, -2 min x) + 1/2, where x is pixels - mean.
    Source: Yosinski et al. 2015, published code, norm01c.
    """
    mean = np.asarray(mean, np.float32)
    if pixels.dtype == np.uint8 and is_colour(mean) and pixels.shape[-1] == 3:
        return stretch_by(pixels, mean, stretch_scale(pixels, mean))
    x = np.subtract(pixels, mean, dtype=np.float32)
    axes = (-3, -2, -1)
    scale = np.maximum(2 * x.max(axis=axes, keepdims=True), -2 * x.min(axis=axes, keepdims=True))
    return _levels(x, scale)


def is_colour(mean: np.ndarray) -> bool:
    """Whether a mean (y, x, rgb) is one colour, so that a stretched picture is a linear function of the true one."""
    return mean.size in (1, 3)


def stretch_scale(pixels: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The scale of `stretch` for each picture, float32 (...): stretched / 255 = (pixels - mean) / scale + 1/2.

    pixels : (..., y, x, rgb) uint8.
    mean : one colour.
    """
    flat = pixels.reshape(-1, *pixels.shape[-3:])
    ends = np.array([Image.fromarray(picture).getextrema() for picture in flat], np.float32)  # (picture, rgb, end)
    deviations = ends.reshape(-1, 3, 2) - np.asarray(mean, np.float32).reshape(-1, 1)
    scales = np.maximum(2 * deviations[..., 1].max(axis=-1), -2 * deviations[..., 0].min(axis=-1))
    return scales.reshape(pixels.shape[:-3])


def stretch_by(pixels: np.ndarray, mean: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """`stretch` with known scales, by a table of the 256 levels of each colour: the same numbers, ten times faster.

    pixels : (..., y, x, rgb) uint8.
    mean : one colour.
    scales : float32 (...).
    """
    flat = pixels.reshape(-1, *pixels.shape[-3:])
    levels = np.arange(256, dtype=np.float32) - np.broadcast_to(np.asarray(mean, np.float32).reshape(-1), 3)[:, None]
    shown = np.empty_like(flat)
    for picture, scale, drawn in zip(flat, scales.reshape(-1), shown, strict=True):
        drawn[...] = np.asarray(Image.fromarray(picture).point(_levels(levels, scale).reshape(-1).tolist()))
    return shown.reshape(pixels.shape)


def _levels(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Deviations from the mean as levels, on a scale."""
    shown = x / (scale + np.float32(1e-10))
    shown += np.float32(0.5)
    np.clip(shown, 0, 1, out=shown)
    shown *= 255
    return np.rint(shown, out=shown).astype(np.uint8)


def grid(
    pictures: np.ndarray, columns: int, rows: int | None = None, gap: int = 0, background: int = GREY
) -> np.ndarray:
    """One image (y, x, rgb) of pictures (picture, y, x, rgb) row by row, with `gap` pixels between them."""
    count, height, width = pictures.shape[:3]
    rows = math.ceil(count / columns) if rows is None else rows
    if count > rows * columns:
        raise ValueError(f"grid: {count} pictures do not fit into {rows} by {columns} cells")
    cells = np.full((rows * columns, height + gap, width + gap, 3), background, np.uint8)
    cells[:count, :height, :width] = pictures
    image = cells.reshape(rows, columns, height + gap, width + gap, 3).swapaxes(1, 2)
    image = image.reshape(rows * (height + gap), columns * (width + gap), 3)
    return image[: image.shape[0] - gap, : image.shape[1] - gap]


def whole_layer(pictures: np.ndarray) -> np.ndarray:
    """One picture per unit, (unit, y, x, rgb), in a square grid of side ceil(sqrt(units)) without gaps.

    Source: Yosinski et al. 2015, the toolbox's whole_layer.jpg.
    """
    side = max(1, math.ceil(math.sqrt(len(pictures))))
    return grid(pictures, columns=side, rows=side)


def class_montage(pictures: np.ndarray) -> np.ndarray:
    """Four styles of nine samples, (style, sample, s, s, rgb), as an image of side 6 s + 20.

    Two by two blocks in the order of the styles, each three by three: a tile has one pixel around it, a block
    two more.
    Source: Yosinski et al. 2015, figure 4 and the toolbox's <layer>_<unit>_montage.jpg.
    """
    if pictures.shape[:2] != (4, 9) or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"class_montage: got {pictures.shape}, expected (4 styles, 9 samples, s, s, rgb)")
    tiles = _padded(pictures.reshape(36, *pictures.shape[2:]), 1)
    blocks = np.stack([grid(block, columns=3) for block in tiles.reshape(4, 9, *tiles.shape[1:])])
    return grid(_padded(blocks, 2), columns=2)


def quad(patches: np.ndarray, inside: np.ndarray, side: int) -> np.ndarray:
    """Four patches, two by two, in a picture whose longest side is as close to `side` as possible without exceeding it.

    patches : (at most 4, y, x, rgb).
    inside : (at most 4, y, x) bool; pixels outside their image are hatched, as is a missing patch.
    Small patches are enlarged by a whole factor, large ones reduced.
    """
    size = _quarter(patches.shape[1:3], side)
    if size[0] >= patches.shape[1]:
        times = size[0] // patches.shape[1]
        drawn, shown = (part.repeat(times, axis=1).repeat(times, axis=2) for part in (patches, inside))
    else:
        drawn = np.stack([_resized(patch, size, Image.Resampling.LANCZOS) for patch in patches])
        whole, nearest = np.ones(size, bool), Image.Resampling.NEAREST
        shown = np.stack([whole if part.all() else _resized(part, size, nearest) for part in inside])
    cells = np.repeat(hatched(size)[None], 4, axis=0)
    np.copyto(cells[: len(drawn)], drawn, where=shown[..., None])
    return grid(cells, columns=2, gap=QUAD_GAP, background=PAPER)


def quad_size(patch: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width of the quad of patches of this size."""
    height, width = _quarter(patch, side)
    return 2 * height + QUAD_GAP, 2 * width + QUAD_GAP


def hatched(size: tuple[int, int]) -> np.ndarray:
    """A placeholder for a missing image, (y, x, rgb): thin diagonals on a light fill colour."""
    y, x = np.indices(size)
    lines = (y + x) % 7 == 0
    return np.repeat(np.where(lines, np.uint8(168), np.uint8(PAPER))[..., None], 3, axis=-1)


def save(path: Path | str, image: np.ndarray, quality: int = 92) -> None:
    """Write an image uint8, (y, x, rgb) or (y, x), in the format of the suffix; JPEG without chroma subsampling."""
    suffix = Path(path).suffix
    options: dict[str, int] = {}
    if suffix in (".jpg", ".jpeg"):
        options = {"quality": quality, "subsampling": 0}
    elif suffix == ".webp":
        options = {"quality": quality, "method": WEBP_METHOD}
    Image.fromarray(image).save(path, **options)


def _quarter(patch: tuple[int, int], side: int) -> tuple[int, int]:
    """The size of one patch in a quad."""
    room, longest = (side - QUAD_GAP) // 2, max(patch)
    if longest <= room:
        return patch[0] * (room // longest), patch[1] * (room // longest)
    return max(1, round(patch[0] * room / longest)), max(1, round(patch[1] * room / longest))


def _resized(picture: np.ndarray, size: tuple[int, int], filter: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size[::-1], filter))


def _padded(pictures: np.ndarray, width: int) -> np.ndarray:
    around = ((0, 0), (width, width), (width, width), (0, 0))
    return np.pad(pictures, around, constant_values=GREY)
