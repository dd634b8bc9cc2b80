"""The histogram of a unit's per-image maxima as inline SVG, with the pictures' activations marked on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from atlas_viewer.site import captions

WIDTH, HEIGHT = 560, 190
TOP, LEFT, RIGHT, BASE = 44, 8, 8, 150  # pixels: the plot's edges; marks have their names above, ticks below
NARROWEST = 6.0  # pixels: bins narrower than that are taken together
REACH = 2.5  # the axis ends at most that many times the data's own range from its least; marks beyond get an arrow
LETTER = 6.4  # width of a letter at the plot's font size


@dataclass(frozen=True)
class Mark:
    """A marked value: its name, and its CSS class."""

    value: float
    name: str
    kind: str


@dataclass(frozen=True)
class Values:
    """The histogram's data: counts between edges, clipped to least … most; the box's quantiles 5, 25, 50, 75, 95 %."""

    edges: np.ndarray
    counts: np.ndarray
    least: float
    most: float
    box: tuple[float, ...]


def histogram(values: Values, marks: Sequence[Mark], title: str) -> Markup:
    """The distribution on a linear axis, area for number; empty where there is no spread to draw."""
    if not (math.isfinite(values.least) and math.isfinite(values.most) and values.least < values.most):
        return Markup("")
    low, high = _ends(values, marks)
    scale = (WIDTH - LEFT - RIGHT) / (high - low)

    def place(value: float) -> float:  # pixels
        return LEFT + (min(max(value, low), high) - low) * scale

    parts = [f"<title>{escape(title)}</title>", *_bars(values, place, NARROWEST / scale)]
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{BASE}" y2="{BASE}"/>')
    for tick in _ticks(low, high):
        x, text = place(tick), captions.short(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{BASE}" y2="{BASE + 4}"/>')
        anchor = _anchor(x, len(text) * LETTER / 2)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{BASE + 30}" text-anchor="{anchor}">{text}</text>')
    parts += _box(values.box, place)
    for row, mark in enumerate(sorted(marks, key=lambda mark: mark.value)):
        parts += _mark(mark, row, place(mark.value), beyond=mark.value > high)
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return Markup(f'<svg class="histogram" {view} role="img">{"".join(parts)}</svg>')


def _ends(values: Values, marks: Sequence[Mark]) -> tuple[float, float]:
    """The axis: data and marks, but never so long that the data shrinks to a line; with zero where it is near."""
    span = values.most - values.least
    high = min(max([values.most, *(mark.value for mark in marks)]), values.least + REACH * span)
    low = max(min([values.least, *(mark.value for mark in marks)]), values.most - REACH * span)
    if 0 < low < 0.4 * high:
        low = 0.0
    return low, high + 0.02 * (high - low)


def _bars(values: Values, place: Callable[[float], float], narrowest: float) -> list[str]:
    """Neighbouring bins taken together until wide enough; height is count over width, the highest reaches the top.

    The bin of zero is a bar of its own, cut at the top: where units switch off it holds more than all others.
    """
    zero = int(np.searchsorted(values.edges, 0.0)) - 1  # the bin that holds zero, as no edge is zero
    bars: list[tuple[float, float, float]] = []
    low, held = values.least, 0.0
    occupied = np.flatnonzero(values.counts)
    for at in range(occupied[0], occupied[-1] + 1) if occupied.size else ():
        high = min(float(values.edges[at + 1]), values.most)
        held += 0.0 if at == zero else float(values.counts[at])
        if high - low >= narrowest or at == occupied[-1]:
            bars.append((low, max(high, low + narrowest / 2), held))
            low, held = high, 0.0
    tallest = max((count / (high - low) for low, high, count in bars), default=0.0)
    drawn = []
    for low, high, count in bars:
        tall = (BASE - TOP) * count / (high - low) / tallest if tallest else 0.0
        if count:
            left, right = place(low), place(high)
            drawn.append(f'<rect x="{left:.1f}" y="{BASE - tall:.1f}" width="{right - left:.1f}" height="{tall:.1f}"/>')
    if 0 <= zero < len(values.counts) and values.counts[zero]:
        share = min(1.0, float(values.counts[zero]) / (narrowest * tallest)) if tallest else 1.0
        tall, x = (BASE - TOP) * share, place(0.0)
        drawn.append(f'<rect class="off" x="{x - 2:.1f}" y="{BASE - tall:.1f}" width="4" height="{tall:.1f}"/>')
    return drawn


def _box(box: Sequence[float], place: Callable[[float], float]) -> list[str]:
    """5 to 95 percent as a line, 25 to 75 as a thick one, the median as a dot; below the axis."""
    if len(box) != 5 or not np.isfinite(box).all():
        return []
    far_low, low, middle, high, far_high = (f"{place(value):.1f}" for value in box)
    y = BASE + 11
    return [
        f'<line class="whisker" x1="{far_low}" x2="{far_high}" y1="{y}" y2="{y}"/>',
        f'<line class="box" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>',
        f'<circle class="median" cx="{middle}" cy="{y}" r="3.2"/>',
    ]


def _mark(mark: Mark, row: int, x: float, beyond: bool) -> list[str]:
    """A line down to the axis with its name; one per row, so that names of near marks do not overlap."""
    y = 12 + 15 * row
    text = f"{mark.name} {captions.number(mark.value)}" + (" →" if beyond else "")
    left = x + len(text) * LETTER + 5 > WIDTH
    at, anchor = (x - 5, "end") if left else (x + 5, "start")
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{BASE}"/>'
    return [
        f'<g class="mark {mark.kind}">{line}<text x="{at:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text></g>'
    ]


def _anchor(x: float, half: float) -> str:
    return "start" if x - half < 0 else "end" if x + half > WIDTH else "middle"


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda times: abs(times * power - rough)) * power
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(at * step, 12) for at in range(first, last + 1)]
