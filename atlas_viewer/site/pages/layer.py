"""The pages of one layer: a montage of its units, pictures or images, at most 200 per page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions, figures
from atlas_viewer.site.outline import (
    COMPARISON,
    PAGE_UNITS,
    Link,
    Outline,
    furthest,
    leading,
    page_name,
    pages,
    render,
    runs,
    styles,
    sweep_notes,
)
from atlas_viewer.site.pages.combinations import groups
from atlas_viewer.site.pages.random_classes import random_link
from atlas_viewer.site.pieces import Page, Part
from atlas_viewer.site.sprites import Crop
from atlas_viewer.site.unit_sprites import best_sprite, draw_best, draw_images, images_sprite
from atlas_viewer.table import ratio

THUMB = 112  # pixels: longest side of a picture in a montage
RUNS = 4  # runs among the views of a montage: more make its page heavy
COLUMNS = 20  # cells in a row of a sprite; the page flows its pictures as it likes


@dataclass(frozen=True)
class Marks:
    """The marks of a unit in the montage: words with their meaning, kinds to filter by, numbers to sort by."""

    kinds: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """One view of the units: a style, a run, or the best images.

    crops : one for each unit, None without a picture.
    """

    id: str
    name: str
    about: str
    crops: tuple[Crop | None, ...]
    activations: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One unit in the montage: a crop and an activation per view."""

    unit: int
    label: str
    crops: tuple[Crop | None, ...]
    activations: tuple[str, ...]
    why: str
    brief: str
    marks: Marks
    synthetic: str


class LayerPages(Page):
    """The montages of a layer."""

    order = 20

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the pages of the montage, counted from 1."""
        for page in range(1, pages(layer) + 1):
            yield Part(start=page)

    def draw(self, outline: Outline, layer: Layer, part: Part, folder: Path) -> None:
        """Write one page of the layer, with its sprites."""
        _write(outline, layer, part.start, folder)

    def depends(self, outline: Outline, layer: Layer) -> object:
        """The page of the layer's combined units."""
        return [group.link() for group in groups(outline) if group.layer == layer.name]


def _write(outline: Outline, layer: Layer, page: int, folder: Path) -> None:
    rows = range((page - 1) * PAGE_UNITS, min(page * PAGE_UNITS, len(layer)))
    by_prior = runs(layer)
    shown: tuple[Climb, ...] = (*styles(layer), *by_prior[:RUNS])
    ids = [str(at) for at in range(len(styles(layer)))] + [f"dgn-{at}" for at in range(len(by_prior[:RUNS]))]
    views = [_view(layer, climb, id, rows, page, folder) for id, climb in zip(ids, shown, strict=True)]
    first = leading(layer)
    images = _images_view(outline, layer, rows, page, folder)
    views += [images] if images is not None else []
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
        views=views,
        first=ids[[climb.path for climb in shown].index(first.path)] if first is not None else "images",
        more=len(by_prior) - RUNS,
        compared=Link(f"../{COMPARISON}", "runs compared") if by_prior else None,
        random=random_link(layer),
        together=next((group.link("../") for group in groups(outline) if group.layer == layer.name), None),
        sweeps=sweep_notes(layer),
        cells=tuple(_cell(layer, shown, views, row, row - rows.start) for row in rows),
        noun=outline.noun,
        thumb=THUMB,
        has_images=bool(layer.kinds),
        has_statistics=layer.statistics is not None,
        size=captions.pair(shown[0].size) if shown else "",
        patch=captions.pair(layer.tops("largest").frame_size) if "largest" in layer.kinds else "",
        samples=max((pictures.samples for pictures in shown), default=0),
        span=f"{units[rows.start]} to {units[rows.stop - 1]}" if len(rows) else "none",
        page=page,
        pages=[Link(page_name(n), f"{units[(n - 1) * PAGE_UNITS]}") for n in range(1, last + 1)] if units else [],
        everything=[(n, label) for n, label in zip(units, layer.labels, strict=True)] if last > 1 else [],
        before=before_after[0],
        after=before_after[1],
    )
    (folder / page_name(page)).write_text(text, encoding="utf-8")


def _view(layer: Layer, climb: Climb, id: str, rows: range, page: int, folder: Path) -> View:
    """Draw the best picture of each unit in one style or of one run."""
    sprite = best_sprite(climb, len(rows), f"montage-{page}", COLUMNS, THUMB)
    draw_best(layer, climb, rows, sprite, folder)
    best = climb.best_sample[rows.start : rows.stop].tolist()
    values = [float(climb.activation[row, at]) if at >= 0 else np.nan for row, at in zip(rows, best, strict=True)]
    crops = tuple(sprite.crop(cell) if at >= 0 else None for cell, at in enumerate(best))
    if isinstance(climb, Run):
        name = f"DGN {climb.name}"
        about = f"Through the learned prior {climb.prior} (DGN-AM), last iterates. {captions.measured(climb)}"
    else:
        name, about = climb.name, captions.aim(climb)
    about = f"{about} Each unit is shown by its best picture of {climb.samples}."
    return View(id, name, about, crops, tuple(map(captions.number, values)))


def _images_view(outline: Outline, layer: Layer, rows: range, page: int, folder: Path) -> View | None:
    """Draw the best patches of each unit; None without hits, or without stored pixels."""
    sprite = images_sprite(layer, len(rows), f"montage-{page}", COLUMNS, THUMB)
    if sprite is None:
        return None
    exists = draw_images(layer, list(rows), sprite, folder)
    crops = tuple(sprite.crop(cell) if has else None for cell, has in enumerate(exists.tolist()))
    tops, dataset = layer.tops("largest"), outline.atlas.dataset
    values = [float(tops.activation[row, 0]) for row in rows]
    about = (
        f"The four patches of {dataset.name} that excite each unit most; hatched: outside the {outline.noun}, or "
        f"outside the receptive field. Measured: {tops.measure}. The number is the largest activation."
    )
    return View("images", f"best {outline.noun}s", about, crops, tuple(map(captions.number, values)))


def facts(layer: Layer) -> tuple[tuple[str, str], ...]:
    """The layer table's facts about a layer."""
    info = layer.info
    rows = [("Operation", info.kind), ("Channels", str(info.channels)), ("Map", captions.pair(info.size))]
    if info.measure:
        rows.insert(1, ("Measured", info.measure))
    rows.append(("Receptive field", captions.sees(info)))
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
    synthetic = furthest(shown, row)
    return Cell(
        unit=int(layer.units[row]),
        label=layer.labels[row],
        crops=tuple(view.crops[cell] for view in views),
        activations=tuple(view.activations[cell] for view in views),
        why=unit_why(layer, shown, row),
        brief=captions.BRIEF[layer.status[row]],
        marks=_marks(layer, row, synthetic),
        synthetic=f"{synthetic:.5g}" if np.isfinite(synthetic) else "",
    )


def _marks(layer: Layer, row: int, synthetic: float) -> Marks:
    """The marks of a unit, and the numbers that the montage can be sorted by."""
    statistics = layer.statistics
    if statistics is None:
        return Marks((), (), ())
    kinds, words = [], []
    if statistics.dead[row]:
        kinds.append("dead")
        words.append(("dead", "never varies" if statistics.never_varies[row] else "no image activates it"))
    if statistics.redundant_unit[row] >= 0:
        correlation = captions.signed(float(statistics.redundant_correlation[row]))
        kinds.append("redundant")
        number = int(statistics.redundant_unit[row])
        words.append((f"≈ {number}", f"redundant with unit {number}: correlation {correlation}"))
    most = float(statistics.most[row])
    numbers = {
        "most": most,
        "mean": float(statistics.mean[row]),
        "deviation": float(statistics.deviation[row]),
        "active": float(statistics.active_images[row]),
        "ratio": ratio(synthetic, most),
    }
    if synthetic < most:
        kinds.append("below")
        words.append(("below", "its picture excites the unit less than the best image does"))
    return Marks(
        tuple(kinds),
        tuple(words),
        tuple((name, f"{value:.5g}") for name, value in numbers.items() if np.isfinite(value)),
    )
