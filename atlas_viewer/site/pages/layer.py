"""The pages of one layer: a montage of its units, pictures or images, at most 200 per page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.interpretability import NATURAL, NOISE
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions, figures
from atlas_viewer.site.montages import ANY, CELLS, THUMB, montage_images, montage_numbers, montage_sprite
from atlas_viewer.site.outline import (
    COMPARISON,
    PAGE_UNITS,
    Link,
    Outline,
    furthest,
    furthest_of_all,
    leading,
    page_name,
    pages,
    render,
    runs,
    styles,
    sweep_notes,
)
from atlas_viewer.site.pages.combinations import groups
from atlas_viewer.site.pages.find import names
from atlas_viewer.site.pages.interpretability import told, unit_scores
from atlas_viewer.site.pages.random_classes import random_link
from atlas_viewer.site.panels.interpretability import picture_name
from atlas_viewer.site.panels.runs import run_settings
from atlas_viewer.site.panels.styles import style_settings
from atlas_viewer.site.pieces import Page, Part
from atlas_viewer.site.settings import SettingsTable
from atlas_viewer.site.sprites import EXACT, Sprite
from atlas_viewer.site.unit_sprites import draw_best, draw_images
from atlas_viewer.unit_list import judged, ratios

RUNS = 4  # runs among the views of a montage: more make its page heavy
NEAR, SPREAD = 4, 12  # links to pages: that many around the page, and about so many over all
MARKED = ("dead", "redundant", "below")  # kinds of units that have a mark, in the order of the marks
UNITS = "units.js"  # all units of a layer, for order and filter


@dataclass(frozen=True)
class Marks:
    """The marks of a unit in the montage: words with their meaning, and kinds to filter by."""

    kinds: tuple[str, ...]
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Order:
    """A number that the units can be sorted by.

    key : in the address of a page.
    values : (unit,) of all units of the layer, NaN for none.
    """

    key: str
    name: str
    values: np.ndarray


@dataclass(frozen=True)
class View:
    """One view of the units: a style, a run, or the best images.

    css : variables that place a unit's picture in its tile.
    files : for each form, the number and the address of each file of the page's units.
    exists : for each unit, whether it has a picture.
    """

    id: str
    name: str
    about: str
    css: str
    pixelated: bool
    files: Mapping[str, list[tuple[int, str]]]
    exists: tuple[bool, ...]
    activations: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One unit in the montage: an activation per view, and its place in the sprites of all views.

    sprite : number of its sprites, among those of the layer.
    """

    unit: int
    label: str
    sprite: int
    place: str
    exists: tuple[bool, ...]
    activations: tuple[str, ...]
    why: str
    brief: str
    marks: Marks


class LayerPages(Page):
    """The montages of a layer."""

    order = 20

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the pages of the montage, counted from 1, and what the script reads of all units."""
        for page in range(1, pages(layer) + 1):
            yield Part("page", start=page)
        yield Part(UNITS)

    def rows(self, layer: Layer, part: Part) -> range:
        """The rows of a page."""
        return range(len(layer)) if part.what == UNITS else _page_rows(layer, part.start)

    def draw(self, outline: Outline, layer: Layer, part: Part, folder: Path) -> None:
        """Write one page of the layer, or what the script reads of all its units."""
        if part.what == UNITS:
            _write_units(outline, layer, folder)
        else:
            _write(outline, layer, part.start, folder)

    def draw_units(self, outline: Outline, layer: Layer, rows: range, folder: Path) -> None:
        """Draw the sprites of these units, one for each view."""
        for number in montage_numbers(rows):
            within = list(rows)[number * CELLS - rows.start : (number + 1) * CELLS - rows.start]
            for _, climb in _climbs(layer):
                draw_best(layer, climb, within, montage_sprite(layer, climb, number), folder)
            images = montage_images(layer, number)
            if images is not None:
                draw_images(layer, within, images, folder)

    def depends(self, outline: Outline, layer: Layer) -> object:
        """The page of the layer's combined units."""
        return [group.link() for group in groups(outline) if group.layer == layer.name]


def _page_rows(layer: Layer, page: int) -> range:
    return range((page - 1) * PAGE_UNITS, min(page * PAGE_UNITS, len(layer)))


def _climbs(layer: Layer) -> list[tuple[str, Climb]]:
    """The styles and runs that are views, each with its id."""
    shown = [(str(at), style) for at, style in enumerate(styles(layer))]
    return [*shown, *((f"dgn-{at}", run) for at, run in enumerate(runs(layer)[:RUNS]))]


def _write(outline: Outline, layer: Layer, page: int, folder: Path) -> None:
    rows, by_prior, climbs = _page_rows(layer, page), runs(layer), _climbs(layer)
    shown, views, first = tuple(climb for _, climb in climbs), _views(outline, layer, rows), leading(layer)
    last, before_after = pages(layer), outline.neighbours(layer.name)
    units = layer.units.tolist()
    links = [Link(page_name(n), f"{units[(n - 1) * PAGE_UNITS]}") for n in range(1, last + 1)] if units else []
    text = render(
        "layer.html",
        root="../",
        model=outline.atlas.model,
        title=layer.name,
        cited=outline.atlas.cited,
        citation=f"{outline.atlas.cited}:{layer.name}",
        layer=layer,
        plate=outline.plate(layer.name),
        facts=facts(layer, outline.noun),
        window=figures.window(outline.atlas.input_size, layer.window, layer.window_unclipped),
        views=views,
        first=next(id for id, climb in climbs if climb.path == first.path) if first is not None else "images",
        more=len(by_prior) - RUNS,
        compared=Link(f"../{COMPARISON}", "runs compared") if by_prior else None,
        random=random_link(layer),
        together=next((group.link("../") for group in groups(outline) if group.layer == layer.name), None),
        sweeps=sweep_notes(layer),
        cells=tuple(_cell(layer, shown, views, row, row - rows.start) for row in rows),
        noun=outline.noun,
        thumb=THUMB,
        orders=_orders(outline, layer, shown),
        kinds=_kinds(outline, layer, shown),
        units_file=UNITS,
        has_images=bool(layer.kinds),
        size=captions.pair(shown[0].size) if shown else "",
        patch=captions.pair(layer.tops("largest").frame_size) if "largest" in layer.kinds else "",
        span=f"{units[rows.start]} to {units[rows.stop - 1]}" if len(rows) else "none",
        page=page,
        links=[(n, links[n - 1]) for n in _near(page, last)] if last > 1 else [],
        page_before=links[page - 2] if page > 1 else None,
        page_after=links[page] if page < last else None,
        total=captions.thousands(len(units)),
        settings=_settings(outline, layer) if page == 1 else (),
        before=before_after[0],
        after=before_after[1],
    )
    (folder / page_name(page)).write_text(text, encoding="utf-8")


def _settings(outline: Outline, layer: Layer) -> tuple[SettingsTable, ...]:
    """All settings of the layer's styles and runs, to which the pages of its units link."""
    return tuple(table for table in (style_settings(outline, layer), run_settings(outline, layer)) if table.columns)


def _near(page: int, last: int) -> list[int]:
    """The pages that a page links to: its neighbours, the ends, and some between, so that many pages stay few links."""
    step = max(1, -(-last // SPREAD))
    return sorted({1, last, *range(1, last + 1, step), *range(max(1, page - NEAR), min(last, page + NEAR) + 1)})


def _write_units(outline: Outline, layer: Layer, folder: Path) -> None:
    """All that the script needs to draw any units of the layer in any order, as a script, which works from a disk too.

    A page loads it when its order or filter is first used. Lists have an entry for each unit in the order of the rows.
    """
    rows, climbs = range(len(layer)), _climbs(layer)
    shown, views = tuple(climb for _, climb in climbs), _views(outline, layer, rows)
    cells = [_cell(layer, shown, views, row, row) for row in rows]
    sprites = [montage_sprite(layer, climb, None) for climb in shown] + [montage_images(layer, None)]
    units, labels = names(layer)
    data = {
        "units": units,
        "labels": labels,
        "cells": CELLS,
        "views": [
            {
                "id": view.id,
                "files": [[form, quote(sprite.name(form), safe=ANY)] for form in sprite.forms],
                "values": [value if there else 0 for value, there in zip(view.activations, view.exists, strict=True)],
            }
            for view, sprite in zip(views, sprites, strict=False)
        ],
        "numbers": {order.key: _rounded(order.values) for order in _orders(outline, layer, shown)},
        "marks": {
            kind: [row for row in rows if kind in cells[row].marks.kinds] for kind, _ in _kinds(outline, layer, shown)
        },
        "words": _words(cells),
        "why": {row: [cells[row].brief, cells[row].why] for row in rows if cells[row].why},
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    (folder / UNITS).write_text(f"atlasUnits({text});\n", encoding="utf-8")


def _words(cells: Sequence[Cell]) -> list[tuple[str, str, list[int]]]:
    """The words of the units' marks with their meaning, each once, with the rows of its units; by kind of mark."""
    words: dict[str, dict[tuple[str, str], list[int]]] = {kind: {} for kind in MARKED}
    for row, cell in enumerate(cells):
        for kind, word in zip((kind for kind in cell.marks.kinds if kind in MARKED), cell.marks.words, strict=True):
            words[kind].setdefault(word, []).append(row)
    return [(*word, rows) for of_kind in words.values() for word, rows in of_kind.items()]


def _rounded(values: np.ndarray) -> list[float | None]:
    """The values with four digits, which is as many as pages show; None for NaN and infinity."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]


def _views(outline: Outline, layer: Layer, rows: range) -> list[View]:
    """The views of some units: those of the styles and runs, then the best images."""
    images = _images_view(outline, layer, rows)
    views = [_view(layer, climb, id, rows) for id, climb in _climbs(layer)]
    return [*views, images] if images is not None else views


def _view(layer: Layer, climb: Climb, id: str, rows: range) -> View:
    """The best picture of each unit in one style or of one run."""
    best = climb.best_sample[rows.start : rows.stop].tolist()
    values = [float(climb.activation[row, at]) if at >= 0 else np.nan for row, at in zip(rows, best, strict=True)]
    exists = tuple(at >= 0 for at in best)
    if isinstance(climb, Run):
        name = f"DGN-AM {climb.name}"
        about = f"Through the learned prior {climb.prior} (DGN-AM), last iterates. {captions.measured(climb)}"
    else:
        name, about = climb.name, captions.aim(climb)
    which = f"its best picture of {climb.samples}" if climb.samples > 1 else "one picture"
    about = f"{about} Each unit is shown by {which}; the number is the picture’s activation."
    sprites = {number: montage_sprite(layer, climb, number) for number in montage_numbers(rows)}
    return _shown(id, name, about, sprites, rows, exists, values)


def _images_view(outline: Outline, layer: Layer, rows: range) -> View | None:
    """The best patches of each unit; None without hits, or without stored pixels."""
    sprites = {number: montage_images(layer, number) for number in montage_numbers(rows)}
    if not sprites or None in sprites.values():
        return None
    tops, dataset = layer.tops("largest"), outline.atlas.dataset
    exists = tuple(tops.there[list(rows)].any(axis=1).tolist())
    values = [float(tops.activation[row, 0]) for row in rows]
    about = (
        f"The four patches of {dataset.name} that excite each unit most; hatched: outside the {outline.noun}, or "
        f"outside the receptive field. Measured: {tops.measure}. The number is the largest activation."
    )
    return _shown("images", f"best {outline.noun}s", about, sprites, rows, exists, values)


def _shown(
    id: str,
    name: str,
    about: str,
    sprites: Mapping[int, Sprite],
    rows: range,
    exists: tuple[bool, ...],
    values: Sequence[float],
) -> View:
    files: dict[str, list[tuple[int, str]]] = {}
    for number, sprite in sprites.items():
        within = exists[max(number * CELLS - rows.start, 0) : (number + 1) * CELLS - rows.start]
        for form in sprite.forms if any(within) else ():
            files.setdefault(form, []).append((number, quote(sprite.name(form))))
    one = next(iter(sprites.values()), None)
    css = ";".join(f"{name}:{value}" for name, value in one.background.items()) if one is not None else ""
    pixelated = one is not None and max(one.size) <= EXACT
    return View(id, name, about, css, pixelated, files, exists, tuple(map(captions.number, values)))


def facts(layer: Layer, noun: str) -> tuple[tuple[str, str], ...]:
    """The layer table's facts about a layer."""
    info = layer.info
    rows = [("Operation", info.kind), ("Channels", str(info.channels)), ("Map", captions.pair(info.size))]
    if info.measure:
        rows.insert(1, ("Measured", info.measure))
    rows.append(("Receptive field", captions.sees(info)))
    if told(layer, noun):
        rows.append(("Interpretability", told(layer, noun)))
    if len(layer) != info.channels:
        rows.append(("Shown", f"{len(layer)} of {info.channels}"))
    return tuple(rows)


def unit_why(layer: Layer, shown: tuple[Climb, ...], row: int) -> str:
    """Why pictures of a unit are missing, or empty; the reasons of styles and runs joined."""
    status = layer.status[row]
    if status is Status.ok:
        return ""
    return captions.why(status, "; ".join(dict.fromkeys(filter(None, (p.reason[row] for p in shown)))))


def _cell(layer: Layer, shown: tuple[Climb, ...], views: list[View], row: int, cell: int) -> Cell:
    return Cell(
        unit=int(layer.units[row]),
        label=layer.labels[row],
        sprite=row // CELLS,
        place=f"--x:{row % CELLS}",
        exists=tuple(view.exists[cell] for view in views),
        activations=tuple(view.activations[cell] for view in views),
        why=unit_why(layer, shown, row),
        brief=captions.BRIEF[layer.status[row]],
        marks=_marks(layer, shown, row),
    )


def _marks(layer: Layer, shown: tuple[Climb, ...], row: int) -> Marks:
    """The marks of a unit."""
    statistics = layer.statistics
    kinds, words = [], []
    if layer.status[row] is not Status.ok:
        kinds.append("missing")
    if statistics is None:
        return Marks(tuple(kinds), ())
    if statistics.dead[row]:
        kinds.append("dead")
        words.append(("dead", "never varies" if statistics.never_varies[row] else "no image activates it"))
    if statistics.redundant_unit[row] >= 0:
        correlation = captions.signed(float(statistics.redundant_correlation[row]))
        kinds.append("redundant")
        number = int(statistics.redundant_unit[row])
        words.append((f"≈ {number}", f"redundant with unit {number}: correlation {correlation}"))
    if furthest(shown, row) < float(statistics.most[row]):
        kinds.append("below")
        words.append(("all below the best", "every picture of it excites the unit less than the best image does"))
    return Marks(tuple(kinds), tuple(words))


def _kinds(outline: Outline, layer: Layer, shown: tuple[Climb, ...]) -> tuple[tuple[str, str], ...]:
    """The kinds of units that the montage can be reduced to, each with its name."""
    kinds = [("missing", "units that lack pictures")] if any(s is not Status.ok for s in layer.status) else []
    if layer.statistics is None:
        return tuple(kinds)
    below = [("below", f"pictures below the best {outline.noun}")] if shown else []
    return ("dead", "dead units"), ("redundant", "redundant units"), *below, *kinds


def _orders(outline: Outline, layer: Layer, shown: tuple[Climb, ...]) -> tuple[Order, ...]:
    """The numbers that the units can be sorted by, those that a unit at least has."""
    statistics, noun, first = layer.statistics, outline.noun, leading(layer)
    reached = furthest_of_all(shown, len(layer))
    orders = [Order("picture", "activation of the picture", reached)]
    if statistics is not None:
        orders += [
            Order("ratio", f"picture to best {noun}", ratios(reached, statistics.most)),
            Order("most", f"best {noun}", statistics.most),
            Order("mean", "mean", statistics.mean),
            Order("deviation", "standard deviation", statistics.deviation),
            Order("active", f"active {noun}s", statistics.active_images),
        ]
    for scores in layer.judged(first) if first is not None else ():
        probability = dict(judged(scores))["target_probability"]
        orders.append(Order(f"score-{scores.judge}", f"probability by {scores.judge}", probability))
    for name, values in unit_scores(layer):
        if name != NOISE:
            key = "interpretability" if name == NATURAL else f"interpretability-{name.replace('/', '-')}"
            orders.append(Order(key, f"interpretability: {picture_name(name, noun)}", values))
    return tuple(order for order in orders if np.isfinite(order.values).any())
