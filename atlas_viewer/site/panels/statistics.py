"""The activations of a unit over the whole dataset: a histogram, the most selective classes, and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from atlas_viewer.evidence.dataset import Dataset
from atlas_viewer.evidence.statistics import Statistics
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.site import captions, plots
from atlas_viewer.site.outline import Link, Outline
from atlas_viewer.site.packing import UnitSprite
from atlas_viewer.site.panels.connected import class_pages
from atlas_viewer.site.pieces import Panel, panels

CLASSES = 6  # most selective classes shown
BOX = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Bar:
    """One class: its share of the longest bar in percent, as CSS wants it. href : its page, or empty."""

    name: str
    href: str
    value: str
    images: str
    start: str
    width: str


@dataclass(frozen=True)
class Behaviour:
    """The statistics as they are shown.

    mean_at : where the mean over all images lies among the bars.
    """

    histogram: Markup
    facts: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]
    mean_at: str
    left_out: str
    nearest: Link | None
    nearest_text: str


class StatisticsPanel(Panel):
    """The statistics of a unit."""

    order = 20
    template = "panels/statistics.html"

    def contents(self, outline: Outline, shown: Behaviour) -> Sequence[tuple[str, str]]:
        """The statistics."""
        return [("statistics", "statistics")]

    def depends(self, outline: Outline, layer: Layer) -> object:
        """The pages of the classes."""
        return class_pages(outline)

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> Behaviour | None:
        """Histogram, numbers and most selective classes; None without statistics."""
        statistics, dataset, noun = unit.layer.statistics, unit.layer.atlas.dataset, outline.noun
        if statistics is None:
            return None
        reached: dict[str, float] = {}
        for panel in sorted(panels(), key=lambda panel: panel.lead_order):
            reached |= panel.reached(unit)
        bars, mean_at = _bars(outline, statistics, dataset, unit.row)
        nearest, text = _nearest(unit.layer, statistics, unit.row)
        return Behaviour(
            histogram=_histogram(statistics, unit.row, reached, noun),
            facts=_facts(statistics, unit.row, noun),
            bars=bars,
            mean_at=mean_at,
            left_out=_left_out(statistics, unit.row, noun),
            nearest=nearest,
            nearest_text=text,
        )


def _histogram(statistics: Statistics, row: int, reached: Mapping[str, float], noun: str) -> Markup:
    levels = statistics.quantile
    at = [int(np.abs(levels - level).argmin()) for level in BOX] if len(levels) else []
    box = tuple(float(statistics.quantiles[row, place]) for place in at) if len(set(at)) == len(BOX) else ()
    values = plots.Values(
        edges=statistics.edge,
        counts=statistics.histogram[row],
        least=float(statistics.least[row]),
        most=float(statistics.most[row]),
        box=box,
    )
    marks = [plots.Mark(values.most, f"best {noun}", "image")]
    marks += [plots.Mark(value, name, "picture") for name, value in reached.items() if np.isfinite(value)]
    return plots.histogram(values, marks, f"largest activation in each {noun}")


def _facts(statistics: Statistics, row: int, noun: str) -> tuple[tuple[str, str], ...]:
    facts = [
        (f"{noun.capitalize()}s", captions.thousands(int(statistics.count[row]))),
        ("Mean", captions.number(float(statistics.mean[row]))),
        ("Standard deviation", captions.number(float(statistics.deviation[row]))),
    ]
    middle = np.flatnonzero(statistics.quantile == np.float32(0.5))
    if middle.size:
        facts.append(("Median", captions.number(float(statistics.quantiles[row, middle[0]]))))
    ends = [captions.number(float(values[row])) for values in (statistics.least, statistics.most)]
    facts.append(("Range", " to ".join(ends)))
    facts.append((f"Active {noun}s", captions.percent(float(statistics.active_images[row]))))
    if np.isfinite(statistics.active_positions[row]):
        sample = statistics.position_sample
        where = (
            "Active positions" if sample is None else f"Active positions in a sample of {captions.count(sample, noun)}"
        )
        facts.append((where, captions.percent(float(statistics.active_positions[row]))))
    return tuple(facts)


def _left_out(statistics: Statistics, row: int, noun: str) -> str:
    left_out = statistics.get("not_a_number")
    if left_out is None or left_out[row] == 0:
        return ""
    said = "was left out because it gave NaN" if left_out[row] == 1 else "were left out because they gave NaN"
    return f"{captions.count(int(left_out[row]), noun)} {said}."


def _nearest(layer: Layer, statistics: Statistics, row: int) -> tuple[Link | None, str]:
    """The most correlated unit, if it has a page, and the correlation in words."""
    number, correlation = int(statistics.nearest[row]), float(statistics.redundant_correlation[row])
    if number < 0 or not np.isfinite(correlation):
        return None, ""
    link = Link(f"{number}.html", f"{layer.name}:{number}") if number in layer.units else None
    name = "" if link is not None else f"{layer.name}:{number}, "
    near = statistics.redundant_unit[row] >= 0
    return link, f"{name}{'redundant, ' if near else ''}correlation {captions.signed(correlation)}"


def _bars(outline: Outline, statistics: Statistics, dataset: Dataset | None, row: int) -> tuple[tuple[Bar, ...], str]:
    chosen = statistics.selective_classes(row, CLASSES)
    if not chosen or dataset is None:
        return (), ""
    mean = float(statistics.mean[row])
    low = min(mean, *(value for _, value in chosen))
    high = max(mean, *(value for _, value in chosen))
    span = (high - low) or 1.0
    counts = statistics.get("class_count")
    bars = []
    for number, value in chosen:
        start, end = sorted((mean, value))
        bars.append(
            Bar(
                name=captions.first_name(dataset.class_name(number)),
                href=class_pages(outline).get(number, ""),
                value=captions.number(value),
                images="" if counts is None else captions.count(int(counts[number]), "image"),
                start=f"{100 * (start - low) / span:.1f}%",
                width=f"{100 * (end - start) / span:.1f}%",
            )
        )
    return tuple(bars), f"{100 * (mean - low) / span:.1f}%"
