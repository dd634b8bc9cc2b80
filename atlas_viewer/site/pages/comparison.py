"""Runs and styles compared: their activations, the judges' rates, and the same units in all of them.

The rows of Nguyen et al. 2016, figure S13, are priors for several code layers; here they are those of the atlas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.numbers import Number, Value, effective
from atlas_viewer.layer import Layer
from atlas_viewer.reach import Reach, reach
from atlas_viewer.site import captions
from atlas_viewer.site.outline import COMPARISON, Link, Outline, render, runs, styles
from atlas_viewer.site.pieces import Page, Part
from atlas_viewer.site.sprites import Tile
from atlas_viewer.site.unit_sprites import best_sprite, draw_best
from atlas_viewer.sweep import DGN

PICTURES = 240  # on the page, half of them of class layers: more make browsers slow
UNITS = 12  # at most, of the class layer; half as many of another layer
SIDE = 128  # pixels: longest side of a picture


@dataclass(frozen=True)
class Line:
    """One run or style over the whole atlas.

    rates : each judge's top-1 and top-5 rates, "" for not judged.
    """

    name: str
    prior: str
    card: Link | None
    code_layer: str
    differs: tuple[tuple[str, str], ...]
    rates: tuple[tuple[str, str], ...]
    reach: Reach
    share: str
    median: str
    own: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """One unit that is shown."""

    href: str
    name: str


@dataclass(frozen=True)
class Band:
    """One run or style of a layer: a tile and an activation per unit."""

    name: str
    prior: str
    cells: tuple[tuple[Tile, str], ...]


@dataclass(frozen=True)
class Board:
    """One layer: the same units in every run and style."""

    layer: str
    href: str
    columns: tuple[Column, ...]
    bands: tuple[Band, ...]


def compared(layer: Layer) -> tuple[Climb, ...]:
    """The runs, then the styles of a layer on the page; empty where there would be only one row.

    A layer whose units are not classes needs several runs.
    """
    by_prior = runs(layer)
    if len(by_prior) < (1 if layer.info.class_layer else 2):
        return ()
    shown = (*by_prior, *styles(layer))
    return shown if len(shown) > 1 else ()


def shown_rows(outline: Outline, layer: Layer) -> list[int]:
    """Rows of the units that are shown: evenly spaced over those with a picture of the leading run."""
    of_classes = layer.info.class_layer
    shown = sum(len(compared(each)) for each in outline.atlas if each.info.class_layer == of_classes)
    most = UNITS if of_classes else UNITS // 2
    wanted = max(2, min(most, PICTURES // 2 // shown)) if shown else 0
    rows = np.flatnonzero(compared(layer)[0].best_sample >= 0).tolist() if compared(layer) else []
    if len(rows) <= wanted:
        return rows
    return [rows[at] for at in np.linspace(0, len(rows) - 1, wanted).round().astype(int).tolist()]


class ComparisonPage(Page):
    """The runs and styles of the atlas, compared."""

    order = 60
    top = (COMPARISON,)

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the sprites of a layer that is compared."""
        if compared(layer):
            yield Part()

    def draw(self, outline: Outline, layer: Layer, part: Part, folder: Path) -> None:
        """Draw the sprites of a layer into its folder."""
        rows = shown_rows(outline, layer)
        for climb in compared(layer):
            draw_best(layer, climb, rows, best_sprite(climb, len(rows), "compared", UNITS, SIDE), folder)

    def write(self, outline: Outline, site: Path) -> None:
        """Write the page; the sprites lie in the layers' folders already."""
        if outline.shown_runs:
            _write(outline, site)

    def links(self, outline: Outline) -> Iterator[tuple[Link, str]]:
        """Yield the link to the page, where the atlas has runs."""
        if outline.shown_runs:
            styled = " and the styles" if any(styles(layer) for layer in outline.atlas) else ""
            judged = any(layer.judges for layer in outline.atlas)
            about = f"their activations, {'judges’ rates, ' if judged else ''}and the same units in all."
            yield (
                Link(COMPARISON, "Runs compared"),
                f"{captions.count(len(outline.shown_runs), 'run')}{styled}: {about}",
            )

    def depends(self, outline: Outline, layer: Layer) -> object:
        """The units that are shown, whose number follows from the whole atlas."""
        return shown_rows(outline, layer)


def _write(outline: Outline, folder: Path) -> None:
    atlas = outline.atlas
    layers = list(atlas)
    heads = [layer for layer in layers if layer.info.class_layer]
    judges = tuple(dict.fromkeys(judge for layer in heads for judge in layer.judges))
    names = tuple(dict.fromkeys(style.name for layer in layers for style in styles(layer)))
    boards = [_board(outline, layer) for layer in (*heads, *(each for each in layers if each not in heads))]
    lines = [_line(outline, layers, judges, shown[0]) for shown in outline.shown_runs.values()]
    lines += [_line(outline, layers, judges, _style(layers, name)) for name in names]
    text = render(
        "comparison.html",
        root="",
        model=atlas.model,
        title="Runs compared",
        cited=atlas.cited,
        citation=atlas.cited,
        lines=lines,
        judges=judges,
        layers=[layer.name for layer in layers],
        has_statistics=any(layer.statistics is not None for layer in layers),
        boards=tuple(board for board in boards if board is not None),
        shared=_shared(outline),
        runs=len(outline.shown_runs),
        stretched=bool(names),
        noun=outline.noun,
        side=SIDE,
    )
    (folder / COMPARISON).write_text(text, encoding="utf-8")


def _style(layers: list[Layer], name: str) -> Climb:
    return next(style for layer in layers for style in styles(layer) if style.name == name)


def _of(layer: Layer, like: Climb) -> Climb | None:
    """The pictures of a layer with the same kind of setting and its name."""
    kind = runs(layer) if isinstance(like, Run) else styles(layer)
    return next((climb for climb in kind if climb.name == like.name), None)


def _line(outline: Outline, layers: list[Layer], judges: tuple[str, ...], climb: Climb) -> Line:
    parts = [(layer, pictures) for layer in layers if (pictures := _of(layer, climb)) is not None]
    hidden = reach([part for part in parts if not part[0].info.class_layer])
    of_classes = reach([part for part in parts if part[0].info.class_layer])
    each = {layer.name: reach([(layer, pictures)]) for layer, pictures in parts}
    rates = {}
    for layer, pictures in parts:
        if layer.info.class_layer:
            rates |= {scores.judge: scores.rates for scores in layer.judged(pictures)}
    prior = climb.prior if isinstance(climb, Run) else ""
    card = outline.atlas.priors.get(prior)
    return Line(
        name=climb.name,
        prior=prior,
        card=outline.prior_link(prior, root="") if prior else None,
        code_layer=card.code_layer if card is not None else "",
        differs=_differs(outline, climb),
        rates=tuple(_rate(rates.get(judge, {})) for judge in judges),
        reach=hidden,
        share=_share(hidden),
        median=captions.number(hidden.median),
        own=captions.number(of_classes.median),
        layers=tuple(_share(each[layer.name]) if layer.name in each else "" for layer in layers),
    )


def _rate(rates: dict[str, object]) -> tuple[str, str]:
    shares = (rates.get("top1_rate"), rates.get("top5_rate"))
    return tuple(captions.percent(rate) if isinstance(rate, float) else "" for rate in shares)


def _share(reached: Reach) -> str:
    return captions.percent(reached.share) if reached.units else ""


def _differs(outline: Outline, climb: Climb) -> tuple[tuple[str, str], ...]:
    """The values of a run that are not the same in all runs."""
    if not isinstance(climb, Run):
        return ()
    shared = dict(_shared(outline))
    numbers = _effective(outline, climb)
    return tuple((n.name, captions.setting(value)) for n, value in numbers.items() if n.name not in shared)


def _shared(outline: Outline) -> tuple[tuple[str, str], ...]:
    """The values that all runs have in common."""
    first, *others = (_effective(outline, shown[0]) for shown in outline.shown_runs.values())
    same = {number: value for number, value in first.items() if all(each.get(number) == value for each in others)}
    return tuple((number.name, captions.setting(value)) for number, value in same.items())


def _effective(outline: Outline, run: Climb) -> dict[Number, Value]:
    return effective(Number.of(outline.atlas, DGN), run.numbers)


def _board(outline: Outline, layer: Layer) -> Board | None:
    rows, climbs = shown_rows(outline, layer), compared(layer)
    if not rows:
        return None
    folder = quote(outline.folders[layer.name]) + "/"
    columns = tuple(
        Column(
            f"{folder}{layer.units[row]}.html",
            captions.first_name(layer.labels[row]) or f"{layer.name}:{layer.units[row]}",
        )
        for row in rows
    )
    bands = tuple(_band(layer, climb, rows, folder) for climb in climbs)
    return Board(layer.name, outline.layer_link(layer.name, root="").href, columns, bands)


def _band(layer: Layer, climb: Climb, rows: list[int], folder: str) -> Band:
    sprite = best_sprite(climb, len(rows), "compared", UNITS, SIDE)
    cells = []
    for cell, row in enumerate(rows):
        best = int(climb.best_sample[row])
        alt = f"{layer.name}:{layer.units[row]}, {climb.path}"
        crop = sprite.crop(cell, folder) if best >= 0 else None
        value = captions.number(float(climb.activation[row, best])) if best >= 0 else ""
        cells.append((Tile(crop, alt, "none"), value))
    return Band(climb.name, climb.prior if isinstance(climb, Run) else "", tuple(cells))
