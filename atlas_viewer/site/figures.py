"""Small drawings as inline SVG: a trace, a window in the image, the network's graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

TRACE_WIDTH, TRACE_HEIGHT, TRACE_MARGIN = 336, 68, 6  # half pixels, so that whole numbers are fine enough
WINDOW_SIDE = 88
ROW, PILL, DOT = (
    30,
    22,
    5,
)  # pixels: between lanes of the graph, height of a node with a page, radius of one without
BOW = 8  # pixels: how far an edge that skips nodes passes above them
LETTER = 7.2  # width of a letter in a pill, at the graph's font size


def trace(steps: Sequence[int], values: Sequence[float], low: float, high: float, best: int) -> Markup:
    """Activation over steps as a line between the ends `low` and `high`; a dot marks the step `best`."""
    points = [(step, value) for step, value in zip(steps, values, strict=True) if np.isfinite(value)]
    if len(points) < 2:
        return Markup("")
    last, span = max(1, *steps), (high - low) or 1.0  # steps beyond the end are −1

    def place(step: float, value: float) -> str:
        x = TRACE_MARGIN + (TRACE_WIDTH - 2 * TRACE_MARGIN) * step / last
        y = TRACE_HEIGHT - TRACE_MARGIN - (TRACE_HEIGHT - 2 * TRACE_MARGIN) * (value - low) / span
        return f"{x:.0f},{y:.0f}"

    line = " ".join(place(*point) for point in points)
    zero = ""
    if low < 0 < high:
        left, y = place(0, 0).split(",")
        zero = f'<path d="M{left} {y}h{TRACE_WIDTH - 2 * TRACE_MARGIN}"/>'
    height = float(np.interp(best, *zip(*points, strict=True)))
    x, y = place(min(max(best, 0), last), height).split(",")
    return Markup(
        f'<svg class="trace" viewBox="0 0 {TRACE_WIDTH} {TRACE_HEIGHT}" aria-hidden="true">{zero}'
        f'<polyline points="{line}"/><circle cx="{x}" cy="{y}" r="5"/></svg>'
    )


def window(image: tuple[int, int], shown: Sequence[int], whole: Sequence[int]) -> Markup:
    """Where in the image (height, width) a window lies: the part shown, and dashed what sticks out."""
    top, left = min(0, whole[0]), min(0, whole[1])
    height, width = max(image[0], whole[2]) - top, max(image[1], whole[3]) - left
    stroke = max(height, width) / WINDOW_SIDE

    def box(kind: str, sides: Sequence[int]) -> str:
        y, x, bottom, right = sides
        return f'<rect class="{kind}" x="{x}" y="{y}" width="{right - x}" height="{bottom - y}"/>'

    inside = box("image", (0, 0, *image)) + box("shown", shown)
    outside = box("outside", whole) if tuple(whole) != tuple(shown) else ""
    size = f"{shown[2] - shown[0]} × {shown[3] - shown[1]} of {image[0]} × {image[1]} pixels"
    scale = WINDOW_SIDE / max(height, width)
    view = f"{left - stroke:g} {top - stroke:g} {width + 2 * stroke:g} {height + 2 * stroke:g}"
    return Markup(
        f'<svg class="window" viewBox="{view}" width="{width * scale:.0f}" height="{height * scale:.0f}" '
        f'role="img" style="--line:{stroke:.3g}"><title>{size}</title>{inside}{outside}</svg>'
    )


def graph(
    nodes: Sequence[str], edges: Iterable[tuple[str, str]], links: Mapping[str, str], notes: Mapping[str, str]
) -> Markup:
    """The network from left to right: nodes with a link as named pills, the others as dots with a tooltip.

    notes : of some nodes with a link, a few words that the pill has after the name.
    """
    edges, texts = list(edges), {node: f"{node}  {notes[node]}" if node in notes else node for node in nodes}
    column, lane = _places(nodes, edges)
    widths: dict[int, float] = {}
    for node in nodes:
        wide = _wide(texts[node]) if node in links else 2 * DOT
        widths[column[node]] = max(widths.get(column[node], 0.0), wide)
    centres, x = {}, 4.0
    for number in sorted(widths):
        centres[number] = x + widths[number] / 2
        x += widths[number] + 16
    height = ROW * (max(lane.values(), default=0) + 1) + BOW
    place = {node: (centres[column[node]], ROW * (lane[node] + 0.5) + BOW) for node in nodes}
    held = {(column[node], lane[node]) for node in nodes}
    drawn = []
    for a, b in edges:
        over = any((between, lane[a]) in held for between in range(column[a] + 1, column[b]))
        drawn.append(_edge(place[a], place[b], over))
    drawn += [_node(node, notes.get(node, ""), *place[node], links.get(node)) for node in nodes]
    return Markup(
        f'<svg class="graph" viewBox="0 0 {x:.0f} {height}" width="{x:.0f}" height="{height}" role="group" '
        f'aria-label="The network\'s graph, from input to output">{"".join(drawn)}</svg>'
    )


def _places(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[dict[str, int], dict[str, int]]:
    """A column for each node, one past its furthest parent, and a lane, that of a parent where it is free."""
    parents: dict[str, list[str]] = {node: [] for node in nodes}
    for a, b in edges:
        parents[b].append(a)
    column: dict[str, int] = {}
    lane: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for node in nodes:  # inputs first, so parents have their places
        column[node] = max((column[parent] + 1 for parent in parents[node] if parent in column), default=0)
        wish = min((lane[parent] for parent in parents[node] if parent in lane), default=0)
        while (column[node], wish) in taken:
            wish += 1
        lane[node] = wish
        taken.add((column[node], wish))
    return column, lane


def _edge(start: tuple[float, float], end: tuple[float, float], over: bool) -> str:
    """A line between two places; in one lane it bows over the nodes that lie between."""
    (x, y), (to_x, to_y) = start, end
    if y == to_y and over:
        top = y - PILL / 2 - BOW
        bow = f"C{x + 12:.0f},{top:.0f} {to_x - 12:.0f},{top:.0f} {to_x:.0f},{to_y:.0f}"
    elif y == to_y:
        bow = f"L{to_x:.0f},{to_y:.0f}"
    else:
        bow = f"C{(x + to_x) / 2:.0f},{y:.0f} {(x + to_x) / 2:.0f},{to_y:.0f} {to_x:.0f},{to_y:.0f}"
    return f'<path d="M{x:.0f},{y:.0f}{bow}"/>'


def _wide(text: str) -> float:
    """The width of a pill."""
    return len(text) * LETTER + 18


def _node(name: str, note: str, x: float, y: float, link: str | None) -> str:
    if link is None:
        return f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{DOT}"><title>{escape(name)}</title></circle>'
    wide = _wide(f"{name}  {note}" if note else name)
    left, top = x - wide / 2, y - PILL / 2
    box = f'<rect x="{left:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{PILL}" rx="{PILL // 2}"/>'
    more = f'<tspan class="note" dx="{LETTER * 2:.0f}">{escape(note)}</tspan>' if note else ""
    text = f'<text x="{x:.0f}" y="{y + 4:.0f}">{escape(name)}{more}</text>'
    return f'<a href="{escape(link)}">{box}{text}</a>'
