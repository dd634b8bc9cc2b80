"""Random classes, one picture each, none of them selected (Nguyen et al. 2016, figure S18)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, render, runs
from atlas_viewer.site.pieces import Page, Part
from atlas_viewer.site.sprites import PHOTO, Sprite, Tile, thumb_size, thumbs
from atlas_viewer.site.unit_sprites import best_sprite, draw_chosen

NAME = "random.html"
CLASSES = 120  # as in the paper's figure
SAMPLE = 0  # the picture of every class: the first one, so that nothing is selected
SIDE = 128  # pixels: longest side of a picture
COLUMNS = 12  # cells in a row of a sprite; the page flows its pictures as it likes


@dataclass(frozen=True)
class Shown:
    """One class: its picture, its best real image if there is one, and the judge's class where that is another."""

    href: str
    label: str
    picture: Tile
    image: Tile | None
    mistaken: str


@dataclass(frozen=True)
class Recognised:
    """How many of the pictures a judge recognises, by its top-1 class and by its top-5 classes."""

    judge: str
    pictures: int
    first: int
    five: int


def random_classes(layer: Layer) -> Run | None:
    """The run whose pictures the page shows; None where the layer has no such page."""
    return next(iter(runs(layer)), None) if layer.info.class_layer else None


def random_link(layer: Layer, root: str = "") -> Link | None:
    """The page, from inside the layer's folder unless `root` leads there; None where there is none."""
    if random_classes(layer) is None:
        return None
    shown = min(CLASSES, len(layer))
    return Link(f"{root}{NAME}", f"{shown} random classes" if shown < len(layer) else "Every class")


def drawn(layer: Layer, seed: int) -> list[int]:
    """Rows of at most CLASSES units, by the SHA-256 of seed, layer and unit: in the order in which they were drawn."""

    def lot(row: int) -> str:
        return hashlib.sha256(f"{seed} {layer.name}:{layer.units[row]}".encode()).hexdigest()

    return sorted(range(len(layer)), key=lot)[:CLASSES]


class RandomClassesPage(Page):
    """Random classes of the class layer."""

    order = 50

    def parts(self, layer: Layer) -> Iterator[Part]:
        """Yield the one page of a class layer with runs."""
        if random_classes(layer) is not None:
            yield Part()

    def draw(self, outline: Outline, layer: Layer, part: Part, folder: Path) -> None:
        """Write the page with its sprites."""
        _write(outline, layer, folder)

    def links(self, outline: Outline) -> Iterator[tuple[Link, str]]:
        """Yield the link to the page of each class layer."""
        for layer in outline.atlas:
            link = random_link(layer, f"{quote(outline.folders[layer.name])}/")
            if link is not None:
                lot = "classes drawn at random, " if len(layer) > CLASSES else ""
                yield link, f"One picture each through the learned prior; {lot}pictures not selected."


def _write(outline: Outline, layer: Layer, folder: Path) -> None:
    run = random_classes(layer)
    rows = drawn(layer, run.seed)
    judged = layer.judged(run)
    others = [scores for scores in judged if scores.judge != outline.atlas.model]
    judge = next(iter((*others, *judged)), None)
    pictures, images = _pictures(layer, run, rows, folder), _images(layer, rows, folder)
    shown = tuple(
        Shown(
            href=f"{layer.units[row]}.html",
            label=layer.labels[row] or str(layer.units[row]),
            picture=pictures[cell],
            image=images[cell] if images else None,
            mistaken=_mistaken(judge, row),
        )
        for cell, row in enumerate(rows)
    )
    text = render(
        "random_classes.html",
        root="../",
        model=outline.atlas.model,
        title=f"Random classes, {layer.name}",
        cited=outline.atlas.cited,
        citation=f"{outline.atlas.cited}:{layer.name}",
        layer=layer,
        run=run,
        card=outline.prior_link(run.prior),
        measured=captions.measured(run),
        shown=shown,
        total=len(layer),
        sample=SAMPLE,
        recognised=_recognised(judge, rows) if judge is not None else None,
        counted=captions.count,
        noun=outline.noun,
        has_images=bool(images),
        dataset=outline.atlas.dataset,
        side=SIDE,
    )
    (folder / NAME).write_text(text, encoding="utf-8")


def _pictures(layer: Layer, run: Run, rows: list[int], folder: Path) -> list[Tile]:
    sprite = best_sprite(run, len(rows), "random", COLUMNS, SIDE)
    samples = np.where(run.there[rows, SAMPLE], SAMPLE, -1) if rows else np.zeros(0, int)
    draw_chosen(layer, run, rows, samples, sprite, folder)
    tiles = []
    for cell, (row, sample) in enumerate(zip(rows, samples.tolist(), strict=True)):
        status = run.status[row][SAMPLE]
        activation = captions.number(float(run.activation[row, SAMPLE]))
        alt = f"{layer.name}:{layer.units[row]}, sample {SAMPLE}, activation {activation}"
        why = "" if status is Status.ok else captions.BRIEF[status]
        tiles.append(Tile(sprite.crop(cell) if sample >= 0 else None, alt, why))
    return tiles


def _images(layer: Layer, rows: list[int], folder: Path) -> list[Tile]:
    """The image of each class that excites its unit most; empty where the atlas has none."""
    if "class" not in layer.kinds or not layer.atlas.dataset.has_pixels or not rows:
        return []
    tops = layer.tops("class")
    exists = tops.there[rows, 0] if tops.image.shape[1] else np.zeros(len(rows), bool)
    if not exists.any():
        return []
    sprite = Sprite("random.images", thumb_size(tops.frame_size, SIDE), len(rows), min(COLUMNS, len(rows)), PHOTO)
    pixels = np.stack([tops.patch(row, 0).pixels for row in rows])
    sprite.draw_forms(folder, {PHOTO[0]: thumbs(pixels, sprite.size)}, exists)
    tiles = []
    for cell, (row, has) in enumerate(zip(rows, exists.tolist(), strict=True)):
        alt = f"best {layer.labels[row]} of {tops.dataset.name}"
        tiles.append(Tile(sprite.crop(cell) if has else None, alt, "none of this class"))
    return tiles


def _mistaken(judge: Scores | None, row: int) -> str:
    """The judge's class for a picture, where that is not the picture's."""
    if judge is None or judge.target[row] < 0:
        return ""
    first = int(judge.top1[row, SAMPLE])
    return "" if first < 0 or first == int(judge.target[row]) else judge.name(first)


def _recognised(judge: Scores, rows: list[int]) -> Recognised | None:
    ranks = judge.target_rank[rows, SAMPLE]
    judged = ranks[ranks >= 0]
    if not judged.size:
        return None
    return Recognised(judge.judge, int(judged.size), int((judged == 0).sum()), int((judged < 5).sum()))
