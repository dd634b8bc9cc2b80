"""The pictures of a unit by runs of priors' codes, as panels of its page: last and best iterate, with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.numbers import Number, Value
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, runs, safe
from atlas_viewer.site.samples import COLUMNS, Facts, Reached, columns, facts, rates, reached
from atlas_viewer.site.sheets import EXACT, ITERATES, PHOTO, Crop, Sheet
from atlas_viewer.sweep import DGN

PANELS = 4  # runs with all of their pictures; of further ones a page has one picture each


@dataclass(frozen=True)
class Setting:
    """A number of a run. published : the authors' own where it is another, or empty."""

    name: str
    value: str
    published: str


@dataclass(frozen=True)
class Found:
    """One picture of a run; `last` and `best` iterate lie in one crop, as two forms."""

    crop: Crop | None
    facts: Facts
    iterates: tuple[tuple[str, Reached], ...]
    code_norm: str


@dataclass(frozen=True)
class RunPanel:
    """One run of a unit."""

    run: str
    anchor: str
    prior: str
    card: Link | None
    aim: str
    settings: tuple[Setting, ...]
    size: str
    enlarged: bool
    columns: int
    samples: tuple[Found, ...]
    rates: tuple[str, ...]

    @property
    def lead(self) -> Found | None:
        """The picture that went furthest."""
        return next((sample for sample in self.samples if sample.facts.best), None)


@dataclass(frozen=True)
class Further:
    """A run without a panel: its picture that went furthest."""

    run: str
    crop: Crop | None
    alt: str
    activation: str


def unit_runs(outline: Outline, unit: Unit, folder: Path) -> tuple[RunPanel, ...]:
    """Draw the sheets of a unit's runs into its layer's folder; the panels to show are returned."""
    return tuple(_panel(outline, unit, run, folder) for run in runs(unit.layer)[:PANELS])


def further_runs(unit: Unit, folder: Path) -> tuple[Further, ...]:
    """Draw the best picture of each run that has no panel; what to show is returned."""
    found, row = runs(unit.layer)[PANELS:], unit.row
    best = [int(run.best_sample[row]) for run in found]
    there = np.array([sample >= 0 for sample in best], bool)
    if not there.any():
        return tuple(Further(run.name, None, "", "") for run in found)
    sheet = Sheet(f"{unit.number}-dgn", found[0].size, len(found), min(len(found), COLUMNS), PHOTO)
    pixels = [run.pixels[row, max(sample, 0)] for run, sample in zip(found, best, strict=True)]
    sheet.draw_forms(folder, {PHOTO[0]: np.stack(pixels)}, there)
    return tuple(
        Further(
            run=run.name,
            crop=sheet.crop(cell) if sample >= 0 else None,
            alt=f"{unit.address}, run {run.name}, sample {sample}",
            activation=captions.number(float(run.activation[row, sample])) if sample >= 0 else "",
        )
        for cell, (run, sample) in enumerate(zip(found, best, strict=True))
    )


def run_sheet(run: Run, unit: int) -> Sheet:
    """The sheet of a unit's pictures of a run, on the unit's page."""
    columns = min(run.samples, 3 if run.samples == 9 else 4)
    return Sheet(f"{unit}-dgn.{safe(run.name)}", run.size, run.samples, max(columns, 1), ITERATES)


def settings(atlas: Atlas, run: Run) -> tuple[Setting, ...]:
    """The numbers of a run that the atlas explains, each with the authors' value where that is another one."""
    shown = []
    for number, value in listed(atlas, run.numbers).items():
        published = number.published_beside(value)
        shown.append(
            Setting(number.name, captions.setting(value), "" if published is None else captions.setting(published))
        )
    return tuple(shown)


def listed(atlas: Atlas, numbers: Mapping[str, Value]) -> dict[Number, Value]:
    """These numbers of DGN-AM, those alone that the atlas explains and that are read, in its order."""
    table = Number.of(atlas, DGN)
    return {n: numbers[n.name] for n in table if n.name in numbers and n.is_read(numbers)}


def _panel(outline: Outline, unit: Unit, run: Run, folder: Path) -> RunPanel:
    judged = unit.layer.judged(run)
    sheet, there = run_sheet(run, unit.number), run.there[unit.row]
    if there.any():
        sheet.draw_forms(folder, {"last": run.pixels[unit.row], "best": run.best_pixels[unit.row]}, there)
    return RunPanel(
        run=run.name,
        anchor=f"dgn-{safe(run.name)}",
        prior=run.prior,
        card=outline.prior_link(run.prior),
        aim=captions.measured(run),
        settings=settings(outline.atlas, run),
        size=captions.pair(run.size),
        enlarged=max(run.size) <= EXACT,
        columns=columns(run.samples),
        samples=tuple(_found(outline, unit, run, judged, sheet, number) for number in range(run.samples)),
        rates=rates(judged),
    )


def _found(outline: Outline, unit: Unit, run: Run, judged: Sequence[Scores], sheet: Sheet, number: int) -> Found:
    layer, where = unit.layer, (unit.row, number)
    there = bool(run.there[where])
    most = float(layer.statistics.most[unit.row]) if layer.statistics is not None and there else np.nan
    last = float(run.activation[where]), float(run.activation_float[where])
    best = float(run.best_activation[where]), float(run.best_activation_float[where])
    return Found(
        crop=sheet.crop(number) if there else None,
        facts=facts(layer, run, judged, where, f"run {run.name}"),
        iterates=(("last", reached(*last, most, outline.noun)), ("best", reached(*best, most, outline.noun))),
        code_norm=captions.number(float(run.code_norm[where])),
    )
