"""The pictures of a unit by styles of gradient ascent, as panels of its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Unit
from atlas_viewer.montage import stretch
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline, safe
from atlas_viewer.site.samples import Facts, Reached, columns, facts, rates, reached
from atlas_viewer.site.sheets import EXACT, Crop, Sheet


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
    numbers: tuple[tuple[str, str], ...]
    size: str
    enlarged: bool
    columns: int
    samples: tuple[Sample, ...]
    rates: tuple[str, ...]


def plate(outline: Outline, unit: Unit, pictures: Pictures, judged: Sequence[Scores], folder: Path) -> Plate:
    """Draw the sheet of a unit's pictures of a style into its layer's folder; the panel to show is returned."""
    layer, there = unit.layer, pictures.there[unit.row]
    across = max(min(pictures.samples, 3 if pictures.samples == 9 else 4), 1)
    sheet = Sheet(f"{unit.number}.{safe(pictures.style)}", pictures.size, pictures.samples, across)
    if there.any():
        mean = pictures.mean_under(layer.atlas.mean, layer.window)
        sheet.draw(folder, pictures.pixels[unit.row], stretch(pictures.pixels[unit.row], mean), there)
    return Plate(
        style=pictures.style,
        aim=captions.aim(pictures),
        numbers=tuple((name, captions.setting(value)) for name, value in pictures.numbers.items()),
        size=captions.pair(pictures.size),
        enlarged=max(pictures.size) <= EXACT,
        columns=columns(pictures.samples),
        samples=tuple(_sample(outline, unit, pictures, judged, sheet, number) for number in range(pictures.samples)),
        rates=rates(judged),
    )


def _sample(
    outline: Outline, unit: Unit, pictures: Pictures, judged: Sequence[Scores], sheet: Sheet, number: int
) -> Sample:
    layer, where = unit.layer, (unit.row, number)
    there = bool(pictures.there[where])
    compared = layer.statistics is not None and pictures.direction == "maximize" and there
    most = float(layer.statistics.most[unit.row]) if compared else np.nan
    return Sample(
        crop=sheet.crop(number) if there else None,
        facts=facts(layer, pictures, judged, where, f"style {pictures.style}"),
        reached=reached(float(pictures.activation[where]), float(pictures.activation_float[where]), most, outline.noun),
    )
