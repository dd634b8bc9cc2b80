"""A pen that draws coloured shapes in an object's own coordinates onto a canvas, in a random pose and ink."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

# The colours that shapes use by name. An Ink varies or permutes them.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 52, 48),
    "orange": (240, 140, 40),
    "yellow": (250, 208, 62),
    "green": (70, 164, 72),
    "forest": (32, 110, 62),
    "blue": (50, 96, 190),
    "sky": (136, 202, 240),
    "purple": (138, 80, 176),
    "pink": (244, 142, 172),
    "brown": (140, 90, 50),
    "tan": (214, 170, 112),
    "cream": (250, 236, 204),
    "white": (250, 250, 248),
    "grey": (150, 156, 164),
    "black": (36, 34, 40),
}


@dataclass(frozen=True)
class Pose:
    """The map from an object's coordinates to canvas pixels: a small wave, a linear map, a perspective and a shift.

    linear : (2, 2), the linear map.
    centre : (2,), the shift, in canvas pixels.
    vanish : (2,), the coefficients of the perspective's denominator.
    wave : (2, 2), frequency and phase of the wave, for x and for y.
    wave_size : amplitude of the wave, as a share of the object's half size.
    measure : canvas pixels of one unit of the object.
    """

    linear: np.ndarray
    centre: np.ndarray
    vanish: np.ndarray
    wave: np.ndarray
    wave_size: float
    measure: float

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points (point, xy) in canvas pixels, of points (point, xy) in [-1, 1]."""
        waved = points + self.wave_size * np.sin(points[:, ::-1] * self.wave[0] + self.wave[1])
        flat = waved @ self.linear.T
        return flat / (1 + waved @ self.vanish)[:, None] + self.centre


@dataclass(frozen=True)
class Ink:
    """The colours of one drawing, and the style of its lines.

    colours : name → RGB.
    line : colour of lines, RGB.
    width : of outlines, in the object's units; 0 for no outlines.
    """

    colours: dict[str, tuple[int, int, int]] = field(repr=False)
    line: tuple[int, int, int]
    width: float


class Pen:
    """Draws filled shapes, lines and tubes of an object onto a canvas."""

    def __init__(self, canvas: Image.Image, *, pose: Pose, ink: Ink) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self._pose = pose
        self._ink = ink

    def fill(self, points: np.ndarray | list[tuple[float, float]], colour: str, *, outline: bool = True) -> None:
        """Fill a closed shape, and draw its outline if the ink has outlines."""
        flat = self._pose.place(np.asarray(points, dtype=np.float64))
        self._draw.polygon(flat.ravel().tolist(), fill=self._ink.colours[colour])
        if outline and self._ink.width > 0:
            ring = np.concatenate([flat, flat[:2]])
            self._stroke(ring, self._ink.width, self._ink.line)

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        colour: str,
        *,
        high: float | None = None,
        outline: bool = True,
    ) -> None:
        """Fill an ellipse of half width `radius` and half height `high`; None for a circle."""
        self.fill(ellipse(x, y, radius, radius if high is None else high), colour, outline=outline)

    def line(self, points: np.ndarray | list[tuple[float, float]], width: float = 0.06, colour: str = "") -> None:
        """Draw an open line.

        points : (point, xy), in the object's units.
        width : in the object's units.
        colour : name; "" for the ink's line colour.
        """
        flat = self._pose.place(np.asarray(points, dtype=np.float64))
        paint = self._ink.colours[colour] if colour else self._ink.line
        self._stroke(flat, width, paint)
        self._caps(flat, width, paint)

    def tube(self, points: np.ndarray | list[tuple[float, float]], width: float, colour: str) -> None:
        """Draw a thick line with round ends, with an outline if the ink has outlines."""
        flat = self._pose.place(np.asarray(points, dtype=np.float64))
        if self._ink.width > 0:
            outer = width + 1.6 * self._ink.width  # half of a shape's outline lies inside the shape
            self._stroke(flat, outer, self._ink.line)
            self._caps(flat, outer, self._ink.line)
        self._stroke(flat, width, self._ink.colours[colour])
        self._caps(flat, width, self._ink.colours[colour])

    def _stroke(self, flat: np.ndarray, width: float, colour: tuple[int, int, int]) -> None:
        pixels = max(1, round(width * self._pose.measure))
        points = flat.tolist()
        self._draw.line([level for point in points for level in point], fill=colour, width=pixels)
        if pixels > 4:
            self._joints(points, pixels, colour)

    def _joints(self, points: list[list[float]], width: int, colour: tuple[int, int, int]) -> None:
        """Round the joints of a line, and fill the gaps of a wide one, as Pillow's joint="curve" does, but faster."""
        turns = [
            math.degrees(math.atan2(end[0] - start[0], start[1] - end[1])) % 360
            for start, end in zip(points, points[1:], strict=False)
        ]
        reach, draw = width / 2 - 1, self._draw
        for (x, y), before, after in zip(points[1:], turns, turns[1:], strict=False):
            if before == after:
                continue
            if after - 180 > before or (after < before and after + 180 > before):
                start, end, side = after + 90, before + 90, 90
            else:
                start, end, side = before - 90, after - 90, -90
            box = (x - width / 2 + 1, y - width / 2 + 1, x + width / 2 - 1, y + width / 2 - 1)
            draw.pieslice(box, start - 90, end - 90, fill=colour)
            if width > 8:
                gap = (*_away(x, y, reach, before + side), x, y, *_away(x, y, reach, after + side))
                draw.line(gap, fill=colour, width=3)

    def _caps(self, flat: np.ndarray, width: float, colour: tuple[int, int, int]) -> None:
        radius = width * self._pose.measure / 2
        if radius >= 1.5:
            for x, y in (flat[0].tolist(), flat[-1].tolist()):
                self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _away(x: float, y: float, distance: float, turn: float) -> tuple[float, float]:
    """The point at a distance in a direction in degrees from the top, each coordinate by whole pixels."""
    across, down = distance * math.cos(math.radians(turn - 90)), distance * math.sin(math.radians(turn - 90))
    return x + math.trunc(across), y + math.trunc(down)


@cache
def ellipse(x: float, y: float, wide: float, high: float, turn: float = 0.0, points: int = 36) -> np.ndarray:
    """The outline (point, xy) of an ellipse, rotated by `turn` degrees."""
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    flat = np.stack([wide * np.cos(angles), high * np.sin(angles)], axis=1)
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return flat @ np.array([[cos, sin], [-sin, cos]]) + np.array([x, y])


@cache
def arc(x: float, y: float, wide: float, high: float, start: float, stop: float, points: int = 24) -> np.ndarray:
    """The points (point, xy) of an arc of an ellipse from `start` to `stop` degrees, clockwise on the canvas."""
    angles = np.radians(np.linspace(start, stop, points))
    return np.stack([x + wide * np.cos(angles), y + high * np.sin(angles)], axis=1)


@cache
def smooth(*corners: tuple[float, float], closed: bool = True, between: int = 6) -> np.ndarray:
    """A smooth curve (point, xy) through the corners. Source: Catmull and Rom 1974, uniform spline."""
    knots = np.array(corners, dtype=np.float64)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, between, endpoint=False)[None, :, None]
    a, b, c, d = (knots[i : len(knots) - 3 + i, None, :] for i in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-2:-1]])


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """The four corners of an upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
