"""The first page: what this is, a plate for each layer, the classes, the network, the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions, figures
from atlas_viewer.site.combination_page import groups
from atlas_viewer.site.layer_page import facts, unit_why
from atlas_viewer.site.outline import COMPARISON, Link, Outline, SweepNote, leading, render, runs, styles, sweep_notes
from atlas_viewer.site.random_page import random_link
from atlas_viewer.site.sheets import Crop, Sheet
from atlas_viewer.site.unit_sheets import best_sheet, draw_best, draw_images, images_sheet

STRIP, FRIEZE = 12, 24  # pictures of a layer on the first page; of the class layer
PAIRS = 6  # units of a layer on the first page where each has a picture and, under it, its best images
STRIP_SIDE = 160  # pixels: longest side of a picture there
FAILURES = 200  # units, or skipped images, that are listed before the list is cut
PREPROCESSES = {
    "squash": "resized to a square whatever the aspect, then the centre cut out",
    "short_side": "resized by the short side, then the centre cut out",
    "resize": "resized to the input’s size whatever the aspect",
    "pad": "resized by the long side, then padded with the mean colour",
}


@dataclass(frozen=True)
class Shown:
    """One picture of a strip."""

    href: str
    name: str
    crop: Crop


@dataclass(frozen=True)
class LayerPlate:
    """One layer on the first page."""

    name: str
    plate: str
    href: str
    units: str
    picture: str
    patch: str
    facts: tuple[tuple[str, str], ...]
    window: Markup
    strip: tuple[tuple[Shown, ...], ...]


@dataclass(frozen=True)
class Failure:
    """A unit without all of its pictures."""

    href: str
    address: str
    label: str
    why: str


def write_strip(layer: Layer, folder: Path) -> int:
    """Write the layer's strip for the first page; returns 0, for it is no page."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, sheets = _strip_rows(layer), _strip_sheets(layer)
    for climb, sheet in sheets.climbs:
        draw_best(layer, climb, rows, sheet, folder)
    if sheets.images is not None:
        draw_images(layer, rows, sheets.images, folder)
    return 0


def write_index(outline: Outline, folder: Path) -> int:
    """Write the first page; the layers' strips lie in their folders already. Returns 1, the pages written."""
    atlas = outline.atlas
    layers = list(atlas)
    plates = tuple(_layer_plate(outline, layer) for layer in layers)
    failures = _failures(outline, layers)
    links = {layer: outline.layer_link(layer, root="").href for layer in atlas.layers}
    frieze = _frieze(outline, layers)
    dataset = atlas.dataset
    height = max((pictures.samples for layer in layers for pictures in styles(layer)), default=0)
    text = render(
        "index.html",
        root="",
        model=atlas.model,
        title=atlas.model,
        cited=atlas.cited,
        citation=atlas.cited,
        atlas=atlas,
        plates=plates,
        frieze=frieze,
        frieze_columns=len(frieze) if len(frieze) <= STRIP else len(frieze) // 2,
        classes=_classes(outline, layers),
        input_size=captions.pair(atlas.input_size),
        totals=_totals(layers),
        samples=height,
        dataset=dataset,
        noun=outline.noun,
        seen=captions.count(dataset.images, outline.noun) if dataset is not None else "",
        counted=captions.count,
        about_images=_about_images(outline),
        skipped=dataset.skipped[:FAILURES] if dataset is not None else (),
        has_images=any(layer.kinds for layer in layers),
        sweeps=_sweeps(outline, layers),
        style_names=_style_names(layers),
        run_names=tuple(atlas.runs),
        beyond=_beyond(outline, layers),
        links=links,
        table=atlas.table,
        pair=captions.pair,
        sees=captions.sees,
        shown={layer.name: len(layer) for layer in layers},
        failures=failures[:FAILURES],
        failed=sum(status is not Status.ok for layer in layers for status in layer.status),
        graph=figures.graph(atlas.nodes, atlas.edges, links),
        settings=atlas.settings.strip(),
        packages=atlas.packages.strip(),
    )
    (folder / "index.html").write_text(text, encoding="utf-8")
    return 1


def _layer_plate(outline: Outline, layer: Layer) -> LayerPlate:
    first = leading(layer)
    return LayerPlate(
        name=layer.name,
        plate=outline.plate(layer.name),
        href=outline.layer_link(layer.name, root="").href,
        units=captions.count(len(layer), "class" if layer.info.class_layer else "unit"),
        picture=captions.pair(first.size) if first is not None else "",
        patch=captions.pair(layer.tops("largest").frame_size) if "largest" in layer.kinds else "",
        facts=facts(layer),
        window=figures.window(outline.atlas.input_size, layer.window, layer.window_unclipped),
        strip=_strip(outline, layer),
    )


@dataclass(frozen=True)
class _Sheets:
    """The sheets of a layer's strip: of the leading style and run, those that there are, and of the best images."""

    climbs: tuple[tuple[Climb, Sheet], ...]
    images: Sheet | None

    @property
    def all(self) -> tuple[Sheet, ...]:
        """The sheets in the order in which they are shown."""
        return (*(sheet for _, sheet in self.climbs), *([self.images] if self.images is not None else []))


def _strip_rows(layer: Layer) -> list[int]:
    """Rows of the units in a layer's strip: evenly spaced over those with a picture of the leading kind, or hits."""
    first = leading(layer)
    if first is not None:
        there = np.flatnonzero(first.best_sample >= 0)
    elif "largest" in layer.kinds:
        there = np.flatnonzero(layer.tops("largest").there.any(axis=1))
    else:
        return []
    return _spaced(there.tolist(), FRIEZE if layer.info.class_layer else STRIP)


def _strip_sheets(layer: Layer) -> _Sheets:
    rows = _strip_rows(layer)
    count, leads = len(rows), (*styles(layer)[:1], *runs(layer)[:1])
    climbs = [climb for climb in leads if count and (climb.best_sample[rows] >= 0).any()]
    sheets = tuple((climb, best_sheet(climb, count, "strip", STRIP, STRIP_SIDE)) for climb in climbs)
    return _Sheets(sheets, images_sheet(layer, count, "strip", STRIP, STRIP_SIDE))


def _frieze(outline: Outline, layers: list[Layer]) -> tuple[Shown, ...]:
    """The band under the title, one row or two full ones: classes if there are any, else the last layer."""
    heads = [layer for layer in layers if layer.info.class_layer] or layers[-1:]
    found: list[Shown] = []
    for layer in heads:
        sheets, first = _strip_sheets(layer), leading(layer)
        chosen = [sheet for climb, sheet in sheets.climbs if climb.path == first.path]
        sheet = chosen[0] if chosen else sheets.images
        found += _crops(outline, layer, sheet, range(len(_strip_rows(layer)))) if sheet is not None else ()
    shown = tuple(found[:FRIEZE])
    return shown if len(shown) <= STRIP else shown[: len(shown) // 2 * 2]


def _strip(outline: Outline, layer: Layer) -> tuple[tuple[Shown, ...], ...]:
    """A layer's pictures for the first page, by kind; of several kinds a row each, with fewer units."""
    sheets, cells = _strip_sheets(layer).all, list(range(len(_strip_rows(layer))))
    chosen = _spaced(cells, PAIRS if len(sheets) > 1 else STRIP)
    return tuple(_crops(outline, layer, sheet, chosen) for sheet in sheets)


def _crops(outline: Outline, layer: Layer, sheet: Sheet, cells: Sequence[int]) -> tuple[Shown, ...]:
    rows, units, folder = _strip_rows(layer), layer.units.tolist(), quote(outline.folders[layer.name]) + "/"
    return tuple(
        Shown(
            f"{folder}{units[rows[cell]]}.html",
            layer.labels[rows[cell]] or str(units[rows[cell]]),
            sheet.crop(cell, folder),
        )
        for cell in cells
    )


def _spaced(values: list[int], wanted: int) -> list[int]:
    """At most so many of the values, evenly spaced, the ends among them."""
    if len(values) <= wanted:
        return values
    return [values[at] for at in np.linspace(0, len(values) - 1, wanted).round().astype(int).tolist()]


def _about_images(outline: Outline) -> tuple[tuple[str, str], ...]:
    """What stands on the card of the dataset."""
    dataset = outline.atlas.dataset
    if dataset is None:
        return ()
    found = [("Dataset", dataset.name), ("Layout", dataset.kind)]
    found.append(("Looked at", captions.count(dataset.images, outline.noun)))
    if dataset.waiting:
        found.append(("Not looked at yet", captions.count(dataset.waiting, outline.noun)))
    found.append(("Skipped", captions.count(len(dataset.skipped), outline.noun)))
    if dataset.classes:
        found.append(("Classes", captions.thousands(len(dataset.classes))))
    found.append(("As input", PREPROCESSES.get(dataset.preprocess, dataset.preprocess)))
    decoding = "the decoder’s own down-scaling was used" if dataset.reduced_decoding else "at full size"
    found += [("Decoding", decoding)] if dataset.kind != "doodles" else []
    pixels = "in the atlas file" if dataset.has_pixels else "not in the atlas file: keys, hashes and windows alone"
    found.append(("Pixels of hits", pixels))
    return tuple(found)


def _classes(outline: Outline, layers: list[Layer]) -> list[tuple[str, str, int]]:
    """Every class: its page, its name, its number."""
    return [
        (f"{quote(outline.folders[layer.name])}/{unit}.html", label, unit)
        for layer in layers
        if layer.info.class_layer
        for unit, label in zip(layer.units.tolist(), layer.labels, strict=True)
    ]


def _failures(outline: Outline, layers: list[Layer]) -> list[Failure]:
    found = []
    for layer in layers:
        shown = (*styles(layer), *runs(layer))
        for row, status in enumerate(layer.status):
            if status is not Status.ok and len(found) < FAILURES:
                unit = int(layer.units[row])
                href = f"{quote(outline.folders[layer.name])}/{unit}.html"
                found.append(Failure(href, f"{layer.name}:{unit}", layer.labels[row], unit_why(layer, shown, row)))
    return found


def _sweeps(outline: Outline, layers: list[Layer]) -> tuple[tuple[str, SweepNote], ...]:
    """The sweeps, each with its layer's name."""
    return tuple(
        (layer.name, note) for layer in layers for note in sweep_notes(layer, f"{quote(outline.folders[layer.name])}/")
    )


def _beyond(outline: Outline, layers: list[Layer]) -> tuple[tuple[Link, str], ...]:
    """The pages that belong to no single layer or unit, each with what it shows."""
    atlas, found = outline.atlas, []
    for layer in layers:
        link = random_link(layer, f"{quote(outline.folders[layer.name])}/")
        if link is not None:
            found.append((link, "One picture each through the learned prior, drawn by lot, none chosen."))
    if atlas.runs:
        counted = captions.count(len(atlas.runs), "run")
        link = Link(COMPARISON, "Runs compared")
        styled = " and the styles" if _style_names(layers) else ""
        found.append((link, f"{counted}{styled}: what each reaches, what judges see, the same units in all."))
    for group in groups(outline):
        link = Link(group.link().href, f"Units of {group.layer} together")
        found.append((link, f"{captions.count(len(group.items), 'combination')}, each between its units alone."))
    for prior, card in atlas.priors.items():
        about = f"The learned prior’s card. It draws images from values of {card.network}’s layer {card.code_layer}."
        found.append((Link(outline.prior_link(prior, root="").href, f"Prior {prior}"), about))
    return tuple(found)


def _totals(layers: list[Layer]) -> tuple[str, ...]:
    """The sizes of the atlas in words."""
    pictures = sum(int(p.there.sum()) for layer in layers for p in (*styles(layer), *runs(layer)))
    found = [captions.count(len(layers), "layer"), captions.count(sum(map(len, layers)), "unit")]
    found += [captions.count(pictures, "picture")] if pictures else []
    return tuple(found)


def _style_names(layers: list[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.style for layer in layers for p in styles(layer)))
