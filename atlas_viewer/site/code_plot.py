"""The distribution of a code's entries over real images, as inline SVG: mean and bound of each, rising."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from atlas_viewer.site import captions

WIDTH, HEIGHT = 560, 190
LEFT, RIGHT, TOP, BASE = 40, 8, 14, 160  # pixels: the plot's edges; numbers stand left of it, names below
POINTS = 256  # of each line: more entries are thinned out


def spread(mean: np.ndarray, deviation: np.ndarray, times: float) -> Markup:
    """Entries from the lowest bound to the highest: a line for the means, a band to mean + times * deviation.

    mean, deviation : (entry,). Empty where there is nothing to draw.
    """
    if not mean.size or not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        return Markup("")
    mean, bound = mean.astype(np.float64), mean.astype(np.float64) + times * deviation.astype(np.float64)
    order = np.lexsort((mean, bound))
    kept = order[np.linspace(0, len(order) - 1, min(len(order), POINTS)).round().astype(int)]
    low, high = min(0.0, float(mean.min())), float(bound.max())
    if not low < high:
        return Markup("")
    across = np.linspace(LEFT, WIDTH - RIGHT, len(kept)) if len(kept) > 1 else np.array([(LEFT + WIDTH - RIGHT) / 2])

    def height(value: float) -> float:
        return BASE - (BASE - TOP) * (value - low) / (high - low)

    def line(values: np.ndarray) -> list[str]:
        return [f"{x:.1f},{height(value):.1f}" for x, value in zip(across, values[kept].tolist(), strict=True)]

    upper, middle = line(bound), line(mean)
    ticks = "".join(_text(LEFT - 6, height(value) + 4, captions.number(value)) for value in sorted({low, 0.0, high}))
    count = _text(WIDTH - RIGHT, BASE + 20, captions.thousands(mean.size))
    return Markup(
        f'<svg class="histogram codes" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        f"<title>mean and bound of {mean.size} entries, by bound</title>"
        f'<polygon points="{" ".join(upper + middle[::-1])}"/><polyline points="{" ".join(upper)}"/>'
        f'<polyline class="mean" points="{" ".join(middle)}"/>'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height(0):.1f}" y2="{height(0):.1f}"/>{ticks}'
        f'<text class="tick" x="{LEFT}" y="{BASE + 20}">entries, by bound</text>'
        f"{count}</svg>"
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text class="tick" x="{x}" y="{y:.1f}" text-anchor="end">{text}</text>'
