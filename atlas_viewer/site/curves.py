"""What was measured over the steps of a training run, as inline SVG: a few lines on one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from atlas_viewer.site import captions

WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BASE = 46, 118, 12, 196  # pixels: the plot's edges; names stand right of it
_APART = 13.0  # pixels between two names
_POINTS = 600  # of a line: more are thinned out
_LEAST = 1e-300  # what is nearer to 0 is 0: the least doubles have no quarter
_SHADES = 4  # classes l0 … l3 of the style sheet


@dataclass(frozen=True)
class Line:
    """A named line through (step, value) points."""

    name: str
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Plot:
    """The contents of one plot.

    log : whether the axis of values is logarithmic.
    level, level_name : a marked value and its name; None for none.
    bounds : of the axis of values; None for those of the values.
    """

    title: str
    lines: tuple[Line, ...]
    log: bool
    level: float | None = None
    level_name: str = ""
    bounds: tuple[float, float] | None = None


def draw(plot: Plot, steps: int, marked: int | None) -> Markup:
    """The plot over steps 0 … `steps`; empty without a value.

    marked : a step with a hairline.
    """
    lines = [_good(line, plot.log) for line in plot.lines]
    drawn = [line for line in lines if line.steps.size]
    if not drawn:
        return Markup("")
    low, high = plot.bounds if plot.bounds is not None else _ends(drawn, plot)

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, step / max(1, steps))

    def height(value: float) -> float:
        place, bottom, top = (math.log(v) if plot.log else v for v in (value, low, high))
        return BASE - (BASE - TOP) * (place - bottom) / (top - bottom)

    parts = [f"<title>{escape(plot.title)}</title>"]
    for tick in _ticks(low, high, plot.log):
        y = height(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 6, y + 4, captions.short(tick), "end"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = across(share * steps)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{BASE}" y2="{BASE + 4}"/>')
        parts.append(_text(x, BASE + 18, captions.thousands(round(share * steps)), "middle"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{BASE}" y2="{BASE}"/>')
    if marked is not None:
        x = across(marked)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BASE}"/>')
    names: list[tuple[float, str, str]] = []
    if plot.level is not None and low <= plot.level <= high:
        y = height(plot.level)
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        names.append((y, plot.level_name, "tick"))
    for place, line in enumerate(lines):
        if not line.steps.size:
            continue
        shade = f"l{place % _SHADES}"
        points = [(across(step), height(value)) for step, value in zip(line.steps, line.values, strict=True)]
        spoken = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        if len(points) == 1:
            parts.append(f'<circle class="{shade}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2.5"/>')
        parts.append(f'<polyline class="{shade}" points="{spoken}"/>')
        names.append((points[-1][1], f"{line.name} {captions.number(float(line.values[-1]))}", shade))
    parts += _names(names)
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return Markup(f'<svg class="curves" {view} role="img">{"".join(parts)}</svg>')


def _good(line: Line, log: bool) -> Line:
    """The points that can be drawn: numbers, above 0 on a logarithmic axis; thinned out, first and last kept."""
    values = np.where(np.abs(line.values) < _LEAST, 0.0, line.values)
    kept = np.flatnonzero(np.isfinite(values) & ((values > 0) | (not log)))
    if len(kept) > _POINTS:
        kept = kept[np.linspace(0, len(kept) - 1, _POINTS).round().astype(int)]
    return Line(line.name, line.steps[kept], values[kept])


def _ends(lines: Sequence[Line], plot: Plot) -> tuple[float, float]:
    """The values' axis: from the least to the most there is, with some air; a linear one begins at 0."""
    values = np.concatenate([line.values for line in lines])
    if plot.level is not None:
        values = np.append(values, plot.level)
    low, high = float(values.min()), float(values.max())
    if plot.log:
        return (low / 1.15, high * 1.15) if high / low > 1.5 else (low / 1.5, high * 1.5)
    low = min(0.0, low)
    return (low, high + 0.06 * (high - low)) if high > low else (low, low + 1)


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Some round numbers; on a logarithmic axis 1, 2 and 5 times powers of ten where those are three to eight."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for times in ((1, 2, 5), (1,)):
            ticks = [t * 10.0**p for p in powers for t in times if low <= t * 10.0**p <= high]
            if 3 <= len(ticks) <= 8:
                return ticks
        if len(ticks) > 8:
            return ticks[:: math.ceil(len(ticks) / 8)]
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1, 2, 5, 10), key=lambda times: abs(times * power - rough)) * power
    ticks = [float(f"{at * step:.12g}") for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [tick for tick in ticks if tick > 0 or not log]


def _names(names: Sequence[tuple[float, str, str]]) -> list[str]:
    """The lines' names at their right ends, moved apart where they would meet."""
    order = sorted(names)
    places = [place for place, _, _ in order]
    for at in range(1, len(places)):
        places[at] = max(places[at], places[at - 1] + _APART)
    places = [place - max(0.0, places[-1] - BASE) for place in places]
    for at in range(len(places) - 2, -1, -1):
        places[at] = min(places[at], places[at + 1] - _APART)
    return [
        _text(WIDTH - RIGHT + 8, y + 4, name, "start", kind) for y, (_, name, kind) in zip(places, order, strict=True)
    ]


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
