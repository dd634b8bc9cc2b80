"""Machine interpretability scores of all layers, by kind of pictures, and how judges' views follow activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.interpretability import BOTH, NATURAL
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, render
from atlas_viewer.site.panels.interpretability import picture_name
from atlas_viewer.site.pieces import Page

FILE = "interpretability.html"


@dataclass(frozen=True)
class Table:
    """The scores of one judge. rows : link, number of scored units and mean scores of a layer, "" for none."""

    judge: str
    about: str
    pictures: tuple[str, ...]
    rows: tuple[tuple[Link, str, tuple[str, ...]], ...]


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


def natural_score(layer: Layer) -> np.ndarray | None:
    """(unit,) the scores of the best images by the layer's first judge; None without scores."""
    scores = next(iter(layer.interpretability.values()), None)
    return None if scores is None else scores.of_pictures(NATURAL)


def told(layer: Layer) -> str:
    """The mean scores of a layer by its first judge in words: the best images, then each style and run; or empty."""
    scores = next(iter(layer.interpretability.values()), None)
    if scores is None:
        return ""
    names = (NATURAL, *(name for name in scores.pictures if name not in (NATURAL, BOTH)))
    words = [
        f"{'natural' if name == NATURAL else name.rpartition('/')[2]} {captions.number(scores.mean(name))}"
        for name in names
    ]
    return f"{', '.join(words)} (by {scores.judge}; 0.5 is chance)"


def _tables(outline: Outline) -> tuple[Table, ...]:
    layers = [layer for layer in outline.atlas if layer.interpretability]
    judges = dict.fromkeys(judge for layer in layers for judge in layer.interpretability)
    tables = []
    for judge in judges:
        scored = [(layer, layer.interpretability[judge]) for layer in layers if judge in layer.interpretability]
        kinds = dict.fromkeys(name for _, scores in scored for name in scores.pictures)
        first = scored[0][1]
        about = (
            f"{captions.count(first.trials, 'trial')} a unit, with at most {captions.count(first.shown, 'picture')}; "
            f"similarity by {first.embedding} of {judge}, temperature {first.temperature:g}; {outline.noun}s are "
            f"the extremes of {captions.thousands(first.images)}"
        )
        rows = []
        for layer, scores in scored:
            means = tuple(captions.number(scores.mean(name)) if name in scores.pictures else "" for name in kinds)
            units = captions.thousands(int(np.isfinite(scores.of_pictures(NATURAL)).sum()))
            rows.append((outline.layer_link(layer.name, root=""), units, means))
        names = tuple(picture_name(name, outline.noun) for name in kinds)
        tables.append(Table(judge, about, names, tuple(rows)))
    return tuple(tables)


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
