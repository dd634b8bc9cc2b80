"""The first page: what this is, a plate for each layer, the classes, the network, the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from atlas_viewer.format import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions, figures
from atlas_viewer.site.layer_page import best_sheet, draw_best, facts, unit_why
from atlas_viewer.site.outline import Outline, render, styles
from atlas_viewer.site.sheets import Crop, Sheet

STRIP, FRIEZE = 12, 24  # pictures of a layer on the first page; of the class layer
STRIP_SIDE = 160  # pixels: longest side of a picture there
FAILURES = 200  # units that are listed before the list is cut


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
    facts: tuple[tuple[str, str], ...]
    window: Markup
    strip: tuple[Shown, ...]


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
    shown = styles(layer)
    if shown:
        rows = _strip_rows(layer)
        draw_best(layer, shown[0], rows, _strip_sheet(layer, rows), folder)
    return 0


def write_index(outline: Outline, folder: Path) -> int:
    """Write the first page; the layers' strips lie in their folders already. Returns 1, the pages written."""
    atlas = outline.atlas
    layers = list(atlas)
    plates = tuple(_layer_plate(outline, layer) for layer in layers)
    failures = _failures(outline, layers)
    links = {layer: outline.layer_link(layer, root="").href for layer in atlas.layers}
    frieze = _frieze(outline, layers)
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
        frieze_columns=max(STRIP // 2, len(frieze) if len(frieze) <= STRIP else len(frieze) // 2),
        classes=_classes(outline, layers),
        input_size=captions.pair(atlas.input_size),
        totals=_totals(layers),
        samples=height,
        style_names=_style_names(layers),
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
    shown = styles(layer)
    return LayerPlate(
        name=layer.name,
        plate=outline.plate(layer.name),
        href=outline.layer_link(layer.name, root="").href,
        units=captions.count(len(layer), "class" if layer.info.class_layer else "unit"),
        picture=captions.pair(shown[0].size) if shown else "",
        facts=facts(layer),
        window=figures.window(outline.atlas.input_size, layer.window, layer.window_unclipped),
        strip=_strip(outline, layer, every=2 if layer.info.class_layer else 1),
    )


def _strip_rows(layer: Layer) -> list[int]:
    """Rows of the units in a layer's strip: evenly spaced over those with a picture in the leading style."""
    there = np.flatnonzero(styles(layer)[0].best_sample >= 0)
    wanted = FRIEZE if layer.info.class_layer else STRIP
    if len(there) <= wanted:
        return there.tolist()
    return there[np.linspace(0, len(there) - 1, wanted).round().astype(int)].tolist()


def _strip_sheet(layer: Layer, rows: list[int]) -> Sheet:
    return best_sheet(styles(layer)[0], len(rows), "strip", STRIP, STRIP_SIDE)


def _frieze(outline: Outline, layers: list[Layer]) -> tuple[Shown, ...]:
    """The band under the title, one row or two full ones: classes if there are any, else the last layer."""
    heads = [layer for layer in layers if layer.info.class_layer] or layers[-1:]
    shown = tuple(shown for layer in heads for shown in _strip(outline, layer))[:FRIEZE]
    return shown if len(shown) <= STRIP else shown[: len(shown) // 2 * 2]


def _strip(outline: Outline, layer: Layer, every: int = 1) -> tuple[Shown, ...]:
    """A layer's pictures for the first page; where there are more than STRIP, only each `every`-th one."""
    if not layer.styles:
        return ()
    rows, folder = _strip_rows(layer), quote(outline.folders[layer.name]) + "/"
    sheet = _strip_sheet(layer, rows)
    units = layer.units.tolist()
    return tuple(
        Shown(f"{folder}{units[row]}.html", layer.labels[row] or str(units[row]), sheet.crop(cell, folder))
        for cell, row in enumerate(rows)
        if len(rows) <= STRIP or cell % every == 0
    )


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
        shown = styles(layer)
        for row, status in enumerate(layer.status):
            if status is not Status.ok and len(found) < FAILURES:
                unit = int(layer.units[row])
                href = f"{quote(outline.folders[layer.name])}/{unit}.html"
                found.append(Failure(href, f"{layer.name}:{unit}", layer.labels[row], unit_why(layer, shown, row)))
    return found


def _totals(layers: list[Layer]) -> tuple[str, ...]:
    """The sizes of the atlas in words."""
    pictures = sum(int(p.there.sum()) for layer in layers for p in styles(layer))
    found = [captions.count(len(layers), "layer"), captions.count(sum(map(len, layers)), "unit")]
    return (*found, captions.count(pictures, "picture"))


def _style_names(layers: list[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.style for layer in layers for p in styles(layer)))
