"""The styles of a unit: a panel for each, with all its pictures and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.montage import is_colour, stretch, stretch_by, stretch_scale
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline, furthest, styles
from atlas_viewer.site.packing import LateCrop, Place, UnitSprite
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.samples import (
    ACTIVATION,
    Facts,
    Reached,
    add_pictures,
    are_many,
    columns,
    facts,
    in_order,
    rates,
    reached,
)
from atlas_viewer.site.settings import Setting, SettingsTable, at_work, side_by_side
from atlas_viewer.site.sprites import EXACT
from atlas_viewer.sweep import ASCENT

FEWEST = 4  # pictures of a style that are worth a block beside those of other styles


@dataclass(frozen=True)
class Sample:
    """One picture and its numbers, as they are shown."""

    crop: LateCrop | None
    facts: Facts
    reached: Reached


@dataclass(frozen=True)
class Plate:
    """One style of a unit. many : whether the best picture is large and the others are small."""

    style: str
    aim: str
    at_work: tuple[Setting, ...]
    size: str
    enlarged: bool
    columns: int
    many: bool
    samples: tuple[Sample, ...]
    rates: tuple[str, ...]

    @property
    def pictures(self) -> tuple[Sample, ...]:
        """The samples that have a picture, the best one first."""
        return tuple(sample for sample in self.samples if sample.crop is not None)

    @property
    def best(self) -> Sample | None:
        """The picture with the largest activation."""
        return next((sample for sample in self.samples if sample.facts.best), None)


@dataclass(frozen=True)
class Styles:
    """All styles of a unit. beside : those of a class that are also shown side by side, in blocks of nine."""

    plates: tuple[Plate, ...]
    beside: tuple[Plate, ...]


class StylePanel(Panel):
    """The styles of a unit."""

    order = 50
    template = "panels/styles.html"
    lead_template, lead_order = "panels/styles_lead.html", 10

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> Styles | None:
        """A plate for each style; None without any."""
        plates = tuple(_plate(outline, unit, pictures, sprite) for pictures in styles(unit.layer))
        several = tuple(plate for plate in plates if len(plate.pictures) >= FEWEST) if unit.label else ()
        return Styles(plates, several if len(several) > 1 else ()) if plates else None

    def contents(self, outline: Outline, shown: Styles) -> Sequence[tuple[str, str]]:
        """The styles."""
        beside = [("styles", "styles")] if shown.beside else []
        return [*beside, *((plate.style, plate.style) for plate in shown.plates)]

    def leads(self, shown: Styles) -> bool:
        """Whether a style has a picture."""
        return any(plate.best for plate in shown.plates)

    def remark(self, shown: Styles) -> str:
        """The meaning of the numbers and the curve under each picture."""
        return f"{ACTIVATION} whose picture is kept."

    def reached(self, unit: Unit) -> Mapping[str, float]:
        """The largest activation that a style reached."""
        return {"ascent": furthest(styles(unit.layer), unit.row)}

    def depends(self, outline: Outline, layer: Layer) -> object:
        """What an image of the dataset is called."""
        return outline.noun


def style_settings(outline: Outline, layer: Layer) -> SettingsTable:
    """All settings of a layer's styles."""
    shown = styles(layer)
    names = [(style.name, style.name) for style in shown]
    return side_by_side(outline.numbers[ASCENT], names, [style.numbers for style in shown])


def _plate(outline: Outline, unit: Unit, pictures: Pictures, sprite: UnitSprite) -> Plate:
    """Add a unit's pictures in one style to its sprite; return the plate that shows them."""
    layer = unit.layer
    judged = layer.judged(pictures)
    places = _add(unit, pictures, sprite) if pictures.there[unit.row].any() else {}
    order = in_order(pictures, unit.row)
    return Plate(
        style=pictures.style,
        aim=captions.aim(pictures),
        at_work=at_work(outline.numbers[ASCENT], pictures.numbers),
        size=captions.pair(pictures.size),
        enlarged=max(pictures.size) <= EXACT,
        columns=columns(pictures.samples),
        many=are_many(pictures.samples, sprite.full),
        samples=tuple(_sample(outline, unit, pictures, judged, places, number) for number in order),
        rates=rates(judged, layer.atlas.digest),
    )


def _add(unit: Unit, pictures: Pictures, sprite: UnitSprite) -> dict[int, Place]:
    """Add the stretched pictures, and what makes them true: a filter where the mean is a colour, else a second form."""
    pixels, mean = pictures.pixels[unit.row], pictures.mean_under(unit.layer.atlas.mean, unit.layer.window)
    if not is_colour(mean):
        forms = {"stretched": stretch(pixels, mean), "true": pixels}
        return add_pictures(sprite, pictures, unit.row, forms)
    scales, colour = stretch_scale(pixels, mean), np.broadcast_to(mean.reshape(-1), 3)
    matrices = [_true_colours(scale, colour) for scale in scales.tolist()]
    return add_pictures(sprite, pictures, unit.row, {"stretched": stretch_by(pixels, mean, scales)}, matrices)


def _true_colours(scale: float, mean: np.ndarray) -> str:
    """The inverse of the stretch as an feColorMatrix: true / 255 = slope · stretched / 255 + offset."""
    slope, offsets = f"{scale / 255:.4f}", [f"{(colour - scale / 2) / 255:.4f}" for colour in mean.tolist()]
    rows = (f"{slope} 0 0 0 {offsets[0]}", f"0 {slope} 0 0 {offsets[1]}", f"0 0 {slope} 0 {offsets[2]}", "0 0 0 1 0")
    return " ".join(rows)


def _sample(
    outline: Outline,
    unit: Unit,
    pictures: Pictures,
    judged: Sequence[Scores],
    places: Mapping[int, Place],
    number: int,
) -> Sample:
    layer, where = unit.layer, (unit.row, number)
    exists = bool(pictures.there[where])
    compared = layer.statistics is not None and pictures.direction == "maximize" and exists
    most = float(layer.statistics.most[unit.row]) if compared else np.nan
    return Sample(
        crop=places[number].crop() if exists else None,
        facts=facts(layer, pictures, judged, where, f"style {pictures.style}"),
        reached=reached(float(pictures.activation[where]), float(pictures.activation_float[where]), most, outline.noun),
    )
