"""The styles of a unit: a panel for each, with all its pictures and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.numbers import Number
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.montage import stretch
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline, furthest, safe, styles
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.samples import ACTIVATION, Facts, Reached, columns, facts, rates, reached
from atlas_viewer.site.sprites import EXACT, Crop, Sprite
from atlas_viewer.sweep import ASCENT


@dataclass(frozen=True)
class Sample:
    """One picture and its numbers, as they are shown."""

    crop: Crop | None
    facts: Facts
    reached: Reached


@dataclass(frozen=True)
class Plate:
    """One style of a unit."""

    style: str
    aim: str
    numbers: tuple[tuple[str, str, str], ...]  # name, what it does, value
    size: str
    enlarged: bool
    columns: int
    samples: tuple[Sample, ...]
    rates: tuple[str, ...]

    @property
    def best(self) -> Sample | None:
        """The picture with the largest activation."""
        return next((sample for sample in self.samples if sample.facts.best), None)


class StylePanel(Panel):
    """The styles of a unit."""

    order = 50
    template = "panels/styles.html"
    lead_template, lead_order = "panels/styles_lead.html", 10

    def draw(self, outline: Outline, unit: Unit, folder: Path) -> tuple[Plate, ...] | None:
        """A plate for each style; None without any."""
        shown = styles(unit.layer)
        return tuple(_plate(outline, unit, pictures, folder) for pictures in shown) if shown else None

    def leads(self, shown: tuple[Plate, ...]) -> bool:
        """Whether a style has a picture."""
        return any(plate.best for plate in shown)

    def remark(self, shown: tuple[Plate, ...]) -> str:
        """The meaning of the numbers and the curve under each picture."""
        return f"{ACTIVATION} whose picture is kept."

    def reached(self, unit: Unit) -> Mapping[str, float]:
        """The largest activation that a style reached."""
        return {"ascent": furthest(styles(unit.layer), unit.row)}

    def depends(self, outline: Outline, layer: Layer) -> object:
        """What an image of the dataset is called."""
        return outline.noun


def _plate(outline: Outline, unit: Unit, pictures: Pictures, folder: Path) -> Plate:
    """Draw the sprite of a unit's pictures in one style; return the plate that shows it."""
    layer, exists = unit.layer, pictures.there[unit.row]
    judged = layer.judged(pictures)
    across = max(min(pictures.samples, 3 if pictures.samples == 9 else 4), 1)
    sprite = Sprite(f"{unit.number}.{safe(pictures.style)}", pictures.size, pictures.samples, across)
    if exists.any():
        mean = pictures.mean_under(layer.atlas.mean, layer.window)
        sprite.draw(folder, pictures.pixels[unit.row], stretch(pictures.pixels[unit.row], mean), exists)
    return Plate(
        style=pictures.style,
        aim=captions.aim(pictures),
        numbers=_numbers(layer.atlas, pictures),
        size=captions.pair(pictures.size),
        enlarged=max(pictures.size) <= EXACT,
        columns=columns(pictures.samples),
        samples=tuple(_sample(outline, unit, pictures, judged, sprite, number) for number in range(pictures.samples)),
        rates=rates(judged),
    )


def _numbers(atlas: Atlas, pictures: Pictures) -> tuple[tuple[str, str, str], ...]:
    """Name, meaning and value of every hyperparameter of a style."""
    about = {number.name: number.about for number in Number.of(atlas, ASCENT)}
    return tuple((name, about.get(name, ""), captions.setting(value)) for name, value in pictures.numbers.items())


def _sample(
    outline: Outline, unit: Unit, pictures: Pictures, judged: Sequence[Scores], sprite: Sprite, number: int
) -> Sample:
    layer, where = unit.layer, (unit.row, number)
    exists = bool(pictures.there[where])
    compared = layer.statistics is not None and pictures.direction == "maximize" and exists
    most = float(layer.statistics.most[unit.row]) if compared else np.nan
    return Sample(
        crop=sprite.crop(number) if exists else None,
        facts=facts(layer, pictures, judged, where, f"style {pictures.style}"),
        reached=reached(float(pictures.activation[where]), float(pictures.activation_float[where]), most, outline.noun),
    )
