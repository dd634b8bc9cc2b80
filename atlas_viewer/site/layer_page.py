"""The pages of one layer: a montage of its units, at most 200 a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.format import Status
from atlas_viewer.layer import Layer
from atlas_viewer.montage import stretch
from atlas_viewer.pictures import Pictures
from atlas_viewer.site import captions, figures
from atlas_viewer.site.outline import PAGE_UNITS, Link, Outline, page_name, pages, render, safe, styles
from atlas_viewer.site.sheets import Crop, Sheet, thumb_size, thumbs

THUMB = 112  # pixels: longest side of a picture in a montage
COLUMNS = 20  # cells in a row of a sheet; the page flows its pictures as it likes


@dataclass(frozen=True)
class Cell:
    """One unit in the montage: a crop a style, None where there is no picture."""

    unit: int
    label: str
    crops: tuple[Crop | None, ...]
    activations: tuple[str, ...]
    why: str
    brief: str


def write_montage(outline: Outline, layer: Layer, page: int, folder: Path) -> int:
    """Write one page of the layer, counted from 1, with its sheets; returns 1, the pages written."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = range((page - 1) * PAGE_UNITS, min(page * PAGE_UNITS, len(layer)))
    shown = styles(layer)
    sheets = tuple(best_sheet(pictures, len(rows), f"montage-{page}", COLUMNS, THUMB) for pictures in shown)
    for pictures, sheet in zip(shown, sheets, strict=True):
        draw_best(layer, pictures, list(rows), sheet, folder)
    last, before_after = pages(layer), outline.neighbours(layer.name)
    units = layer.units.tolist()
    text = render(
        "layer.html",
        root="../",
        model=outline.atlas.model,
        title=layer.name,
        cited=outline.atlas.cited,
        citation=f"{outline.atlas.cited}:{layer.name}",
        layer=layer,
        plate=outline.plate(layer.name),
        facts=facts(layer),
        window=figures.window(outline.atlas.input_size, layer.window, layer.window_unclipped),
        styles=tuple((pictures.style, captions.aim(pictures)) for pictures in shown),
        cells=tuple(_cell(layer, shown, sheets, row, row - rows.start) for row in rows),
        size=captions.pair(shown[0].size) if shown else "",
        samples=max((pictures.samples for pictures in shown), default=0),
        span=f"{units[rows.start]} to {units[rows.stop - 1]}" if len(rows) else "none",
        page=page,
        pages=[Link(page_name(n), f"{units[(n - 1) * PAGE_UNITS]}") for n in range(1, last + 1)] if units else [],
        everything=[(n, label) for n, label in zip(units, layer.labels, strict=True)] if last > 1 else [],
        before=before_after[0],
        after=before_after[1],
    )
    (folder / page_name(page)).write_text(text, encoding="utf-8")
    return 1


def best_sheet(pictures: Pictures, count: int, stem: str, columns: int, side: int) -> Sheet:
    """The sheet for the best pictures of `count` units, each at most `side` pixels long."""
    size = thumb_size(pictures.size, side)
    return Sheet(f"{stem}.{safe(pictures.style)}", size, count, max(1, min(columns, count)))


def draw_best(layer: Layer, pictures: Pictures, rows: list[int], sheet: Sheet, folder: Path) -> None:
    """Draw the best picture of each of these rows; no files are made where none of them has one."""
    best = pictures.best_sample[rows] if rows else np.zeros(0, int)
    read = np.zeros((len(rows), *pictures.size, 3), np.uint8)
    for cell, (row, sample) in enumerate(zip(rows, best.tolist(), strict=True)):
        if sample >= 0:
            read[cell] = pictures.pixels[row, sample]
    if (best >= 0).any():
        shown = stretch(read, pictures.mean_under(layer.atlas.mean, layer.window))
        sheet.draw(folder, thumbs(read, sheet.size), thumbs(shown, sheet.size), best >= 0)


def facts(layer: Layer) -> tuple[tuple[str, str], ...]:
    """What the layer table says of a layer."""
    info = layer.info
    found = [("Operation", info.kind), ("Channels", str(info.channels)), ("Map", captions.pair(info.size))]
    found.append(("Each position sees", captions.sees(info)))
    if len(layer) != info.channels:
        found.append(("Shown", f"{len(layer)} of {info.channels}"))
    return tuple(found)


def unit_why(layer: Layer, shown: tuple[Pictures, ...], row: int) -> str:
    """Why pictures of a unit are not there, or empty; the styles' reasons joined."""
    status = layer.status[row]
    if status is Status.ok:
        return ""
    return captions.why(status, "; ".join(dict.fromkeys(filter(None, (p.reason[row] for p in shown)))))


def _cell(layer: Layer, shown: tuple[Pictures, ...], sheets: tuple[Sheet, ...], row: int, cell: int) -> Cell:
    best = [int(pictures.best_sample[row]) for pictures in shown]
    pairs = list(zip(shown, sheets, best, strict=True))
    return Cell(
        unit=int(layer.units[row]),
        label=layer.labels[row],
        crops=tuple(sheet.crop(cell) if sample >= 0 else None for _, sheet, sample in pairs),
        activations=tuple(
            captions.number(float(pictures.activation[row, sample])) if sample >= 0 else captions.number(np.nan)
            for pictures, _, sample in pairs
        ),
        why=unit_why(layer, shown, row),
        brief=captions.BRIEF[layer.status[row]],
    )
