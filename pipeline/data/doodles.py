"""Drawings of everyday things, drawn by the project itself from a seed: a labelled dataset."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from pipeline.data import doodle_shapes as shapes
from pipeline.data.doodle_pen import COLOURS, Ink, Pen, Pose

Colour = tuple[int, int, int]

REVISION = 3  # of the drawings; raise it when any of their pixels changes
_OVERSAMPLING = 3  # factor by which drawings are drawn larger, before averaging
_EXCHANGED = 0.08  # share of drawings with exchanged colours; at 0.25, networks learned to ignore colour
_LEAST_CONTRAST = 95.0  # distance in RGB between the background and a thing's main colour
_TWO_TO_64 = 2**64

# Name of a class → its drawing function, and the colour that has to contrast with the background.
_SHAPES: dict[str, tuple[Callable[[Pen, np.random.Generator], None], str]] = {
    "anchor": (shapes.anchor, "blue"),
    "bird": (shapes.bird, "sky"),
    "boat": (shapes.boat, "red"),
    "butterfly": (shapes.butterfly, "purple"),
    "car": (shapes.car, "red"),
    "cat": (shapes.cat, "orange"),
    "cherries": (shapes.cherries, "red"),
    "clock": (shapes.clock, "red"),
    "cup": (shapes.cup, "blue"),
    "envelope": (shapes.envelope, "cream"),
    "face": (shapes.face, "yellow"),
    "fish": (shapes.fish, "orange"),
    "flower": (shapes.flower, "pink"),
    "glasses": (shapes.glasses, "black"),
    "heart": (shapes.heart, "red"),
    "house": (shapes.house, "cream"),
    "ice cream": (shapes.ice_cream, "pink"),
    "key": (shapes.key, "yellow"),
    "ladder": (shapes.ladder, "brown"),
    "lamp": (shapes.lamp, "yellow"),
    "leaf": (shapes.leaf, "green"),
    "mushroom": (shapes.mushroom, "red"),
    "rocket": (shapes.rocket, "white"),
    "snail": (shapes.snail, "orange"),
    "star": (shapes.star, "yellow"),
    "sun": (shapes.sun, "yellow"),
    "tree": (shapes.tree, "forest"),
    "umbrella": (shapes.umbrella, "red"),
}
CLASSES: tuple[str, ...] = tuple(_SHAPES)
_HSV = {name: colorsys.rgb_to_hsv(*(level / 255 for level in colour)) for name, colour in COLOURS.items()}


def draw(seed: int, index: int, size: int = 96) -> tuple[np.ndarray, int]:
    """Drawing `index` of a seed, (row, column, RGB) uint8, and its class number.

    Seed, index and size determine every pixel.
    """
    rng = _generator(seed, index)
    label = int(rng.integers(len(CLASSES)))
    pixels = render(label, rng, size)
    return pixels, label


def label_of(seed: int, index: int) -> int:
    """The class number of drawing `index` of a seed, without drawing it."""
    return int(_generator(seed, index).integers(len(CLASSES)))


@dataclass(frozen=True)
class Doodles:
    """The first `count` drawings of a seed, as a dataset."""

    seed: int
    count: int
    size: int = 96

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by class number."""
        return CLASSES

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Pixels and class number of one drawing; raises IndexError outside 0…count−1."""
        if not 0 <= index < self.count:
            raise IndexError(f"doodles: {index} is outside 0..{self.count - 1}")
        return draw(self.seed, index, self.size)

    def key(self, index: int) -> str:
        """The permanent name of a drawing, such as `doodles/0/000123`."""
        return f"doodles/{self.seed}/{index:06d}"


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed % _TWO_TO_64, index % _TWO_TO_64]))


def render(label: int, rng: np.random.Generator, size: int) -> np.ndarray:
    """One drawing of a class, (row, column, RGB) uint8.

    label : class number.
    rng : source of all random choices.
    size : rows and columns.
    """
    shape, main = _SHAPES[CLASSES[label]]
    ink = _ink(rng)
    background_colour = _background_colour(rng, away_from=ink.colours[main])
    large = size * _OVERSAMPLING
    canvas = _canvas(rng, background_colour, size, large)
    _clutter(canvas, rng, pieces=int(rng.integers(0, 7)), reach=0.13, anywhere=True)
    before = canvas.reduce(_OVERSAMPLING)
    shape(Pen(canvas, pose=_pose(rng, large), ink=ink), rng)
    small = canvas.reduce(_OVERSAMPLING)
    texture = _texture(rng, size)
    kind = np.float64 if texture is None else np.float32  # so that the drawings of before keep their last bits
    if texture is not None:
        texture *= _differ(np.asarray(before), np.asarray(small))
    if rng.random() < 0.35:  # occlude a part of the thing
        if texture is not None:
            small, texture = Image.fromarray(_added(small, kind, texture)), None
        canvas = small.resize((large, large), Image.Resampling.NEAREST)
        _clutter(canvas, rng, pieces=int(rng.integers(1, 3)), reach=0.1, anywhere=False)
        small, kind = canvas.reduce(_OVERSAMPLING), np.float32
    grain = rng.standard_normal((size, size), dtype=np.float32) * np.float32(rng.uniform(0, 7))
    return _added(small, kind, *(level for level in (texture, grain) if level is not None))


def _ink(rng: np.random.Generator) -> Ink:
    """Random colours near those of COLOURS; in a few drawings the colours are permuted."""
    kind = rng.random()
    shift = rng.uniform(-0.035, 0.035)
    names = list(COLOURS)
    colours: dict[str, Colour] = {}
    for name, jitter in zip(names, rng.uniform(-1, 1, (len(names), 3)).tolist(), strict=True):
        hue, saturation, value = _HSV[name]
        colours[name] = _rgb(
            hue + shift + 0.015 * jitter[0],
            saturation * (0.9 + 0.15 * jitter[1]),
            value * (0.94 + 0.1 * jitter[2]),
        )
    if kind < _EXCHANGED:
        exchanged = rng.permutation(len(names) - 2)  # grey and black stay
        colours |= {names[i]: colours[names[j]] for i, j in enumerate(exchanged)}
    dark = _rgb(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.08, 0.26))
    width = 0.0 if 0.4 <= kind < 0.55 else rng.uniform(0.035, 0.085)
    return Ink(colours=colours, line=dark, width=width)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def _background_colour(rng: np.random.Generator, *, away_from: Colour) -> Colour:
    for _ in range(8):
        colour = _rgb(rng.random(), rng.uniform(0.05, 0.7), rng.uniform(0.35, 1.0))
        if math.dist(colour, away_from) > _LEAST_CONTRAST:
            return colour
    light = sum(away_from) > 384
    return (70, 80, 110) if light else (235, 240, 240)


def _canvas(rng: np.random.Generator, colour: Colour, size: int, large: int) -> Image.Image:
    """A plain, shaded, striped or blotched background of `large` rows and columns, enlarged from `size`."""
    base = np.array(colour, dtype=np.float32)
    kind = int(rng.integers(5))
    if kind == 0:
        return Image.new("RGB", (large, large), colour)
    other = base + rng.uniform(-1, 1, 3).astype(np.float32) * np.float32(rng.uniform(25, 60))
    rows, columns = (grid / size - 0.5 for grid in _grid(size))
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * columns + math.sin(angle) * rows
    if kind in (1, 2):
        share = along + 0.5
    elif kind == 3:
        share = 0.5 + 0.5 * np.sin(along * rng.uniform(15, 70)) * 0.7
    else:
        coarse = int(rng.integers(4, 16))
        blotches = Image.fromarray(rng.integers(0, 256, (coarse, coarse), dtype=np.uint8))
        share = np.asarray(blotches.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    levels = np.empty((size, size, 3), np.uint8)
    for channel, (first, step) in enumerate(zip(base, other - base, strict=True)):
        levels[:, :, channel] = _to_bytes(first + step * share)
    return Image.fromarray(levels).resize((large, large), Image.Resampling.BILINEAR)


@lru_cache(maxsize=8)
def _grid(size: int) -> np.ndarray:
    """Numbers of row and of column, float32 (2, row, column)."""
    return np.mgrid[0:size, 0:size].astype(np.float32)


def _pose(rng: np.random.Generator, large: int) -> Pose:
    """A random position, size, rotation, shear and perspective that keep nearly all of the thing inside."""
    half = large / 2 * rng.uniform(0.68, 0.97)
    turn = math.radians(rng.normal(0, 9) if rng.random() < 0.85 else rng.uniform(-32, 32))
    cos, sin = math.cos(turn), math.sin(turn)
    lean = np.array([[1.0, rng.uniform(-0.15, 0.15)], [rng.uniform(-0.08, 0.08), 1.0]])
    stretch = rng.uniform(0.88, 1.0, 2) * np.array([(-1.0 if rng.random() < 0.1 else 1.0), 1.0])
    linear = half * np.array([[cos, -sin], [sin, cos]]) @ lean * stretch
    room = (large / 2 - half) + 0.04 * large
    return Pose(
        linear=linear,
        centre=large / 2 + rng.uniform(-room, room, 2),
        vanish=rng.uniform(-0.1, 0.1, 2),
        wave=np.stack([rng.uniform(1.0, 3.5, 2), rng.uniform(0, 2 * math.pi, 2)]),
        wave_size=rng.uniform(0.0, 0.05),
        measure=half,
    )


def _clutter(canvas: Image.Image, rng: np.random.Generator, *, pieces: int, reach: float, anywhere: bool) -> None:
    """Scatter strokes, ellipses, triangles and rectangles over the canvas.

    pieces : how many.
    reach : largest half size of a piece, as a share of the canvas.
    anywhere : up to the border, else only in the middle of the canvas.
    """
    pen = ImageDraw.Draw(canvas)
    large = canvas.width
    for _ in range(pieces):
        x, y = rng.uniform(0, large, 2) if anywhere else rng.uniform(0.15 * large, 0.85 * large, 2)
        half = rng.uniform(0.03, reach) * large
        colour = _rgb(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.3, 1.0))
        kind = int(rng.integers(4))
        if kind == 0:
            dx, dy = rng.uniform(-2, 2, 2) * half
            pen.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=int(rng.integers(3, 12)))
        elif kind == 1:
            flat = half * rng.uniform(0.5, 1)
            pen.ellipse((x - half, y - flat, x + half, y + flat), fill=colour)
        elif kind == 2:
            corners = np.array([x, y]) + rng.uniform(-half, half, (3, 2))
            pen.polygon(corners.ravel().tolist(), fill=colour)
        else:
            flat = half * rng.uniform(0.4, 1)
            pen.rectangle((x - half, y - flat, x + half, y + flat), fill=colour)


def _texture(rng: np.random.Generator, size: int) -> np.ndarray | None:
    """The texture to add to the thing, float32 (row, column): hatching or blotches; None for none."""
    kind = rng.random()
    strength = rng.uniform(6, 20)
    if kind < 0.5:
        return None
    if kind < 0.75:
        rows, columns = _grid(size)
        angle = rng.uniform(0, math.pi)
        wave = np.sin((math.cos(angle) * columns + math.sin(angle) * rows) * rng.uniform(0.5, 1.8))
        return (strength * wave).astype(np.float32)
    coarse = int(rng.integers(6, 24))
    blotches = Image.fromarray(rng.integers(0, 256, (coarse, coarse), dtype=np.uint8))
    smooth = np.asarray(blotches.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
    return (smooth - 127.5) * np.float32(strength / 64)


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two images (row, column, RGB) uint8 differ by more than 12 levels in a channel, bool (row, column)."""
    apart = np.maximum(a, b) - np.minimum(a, b) > 12
    return apart[:, :, 0] | apart[:, :, 1] | apart[:, :, 2]


def _added(image: Image.Image, kind: type, *levels: np.ndarray) -> np.ndarray:
    """An image with levels (row, column) added to each channel, one after the other, (row, column, RGB) uint8.

    kind : type of the sums.
    """
    pixels = np.asarray(image)
    total = np.empty_like(pixels)
    for channel in range(3):  # a channel at a time: long vectors in place of threes
        sums = pixels[:, :, channel].astype(kind)
        for one in levels:
            sums += one
        total[:, :, channel] = _to_bytes(sums)
    return total


def _to_bytes(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
