"""Machine interpretability scores of all layers, by kind of pictures, and how judges' views follow activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.interpretability import BOTH, NATURAL, reading_order
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, render
from atlas_viewer.site.panels.interpretability import extreme_images, picture_name
from atlas_viewer.site.pieces import Page

FILE = "interpretability.html"


Row = tuple[Link, str, tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """The scores of one judge. A row: link of a layer, its number of scored units, a number for each kind of pictures.

    scores : mean scores.
    right : mean shares of right answers.
    """

    judge: str
    about: str
    pictures: tuple[str, ...]
    scores: tuple[Row, ...]
    right: tuple[Row, ...]


class InterpretabilityPage(Page):
    """The scores of all layers."""

    order = 75
    top = (FILE,)

    def write(self, outline: Outline, site: Path) -> None:
        """Write the page, if there are scores."""
        tables = _tables(outline)
        if tables:
            text = render(
                "interpretability.html",
                root="",
                model=outline.atlas.model,
                title="Interpretability",
                cited=outline.atlas.cited,
                citation=outline.atlas.cited,
                noun=outline.noun,
                tables=tables,
                correlations=_correlations(outline),
            )
            (site / FILE).write_text(text, encoding="utf-8")

    def links(self, outline: Outline) -> Iterator[tuple[Link, str]]:
        """Yield a link on the first page, if there are scores."""
        if any(layer.interpretability for layer in outline.atlas):
            yield (
                Link(FILE, "Interpretability"),
                f"How well a judge chooses, by a unit’s pictures, between the {outline.noun}s that excite it most and "
                "least: mean scores by layer and kind of pictures.",
            )


def unit_scores(layer: Layer) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each kind of pictures, but for natural_both, and its scores (unit,), by the layer's first judge."""
    for scores in islice(layer.interpretability.values(), 1):
        for name in reading_order(scores.pictures):
            if name != BOTH:
                yield name, scores.of_pictures(name)


def told(layer: Layer, noun: str) -> str:
    """The mean scores of a layer by its first judge in words; empty without scores."""
    scores = next(iter(layer.interpretability.values()), None)
    if scores is None:
        return ""
    words = [f"{picture_name(name, noun)} {captions.number(scores.mean(name))}" for name, _ in unit_scores(layer)]
    return f"{', '.join(words)} (by {scores.judge}; 0.5 is chance)"


def _tables(outline: Outline) -> tuple[Table, ...]:
    layers = [layer for layer in outline.atlas if layer.interpretability]
    judges = dict.fromkeys(judge for layer in layers for judge in layer.interpretability)
    tables = []
    for judge in judges:
        scored = [(layer, layer.interpretability[judge]) for layer in layers if judge in layer.interpretability]
        kinds = reading_order(name for _, scores in scored for name in scores.pictures)
        first = scored[0][1]
        about = (
            f"{captions.count(first.trials, 'trial')} a unit, with at most {captions.count(first.shown, 'picture')}; "
            f"similarity by {first.embedding} of {judge}, temperature {first.temperature:g}; "
            f"{extreme_images(first, outline.noun)}"
        )
        means, shares = [], []
        for layer, scores in scored:
            link = outline.layer_link(layer.name, root="")
            units = captions.thousands(int(np.isfinite(scores.of_pictures(NATURAL)).sum()))
            means.append((link, units, tuple(captions.number(scores.mean(name)) for name in kinds)))
            shares.append((link, units, tuple(_share(scores.right(name)) for name in kinds)))
        names = tuple(picture_name(name, outline.noun) for name in kinds)
        tables.append(Table(judge, about, names, tuple(means), tuple(shares)))
    return tuple(tables)


def _share(value: float) -> str:
    return captions.percent(value) if np.isfinite(value) else captions.number(value)


def _correlations(outline: Outline) -> tuple[tuple[str, str, str, str, str], ...]:
    """Layer, pictures, judge, rank correlation of activation and probability, and number of pictures."""
    found = []
    for layer in outline.atlas:
        for climb in (*layer.ascent.values(), *layer.dgn.values()):
            for scores in layer.judged(climb) if climb.sweep is None else ():
                value, count = scores.correlation(climb.activation)
                if np.isfinite(value):
                    words = (layer.name, climb.name, scores.judge, captions.signed(value), captions.thousands(count))
                    found.append(words)
    return tuple(found)
