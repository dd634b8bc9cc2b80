"""The runs of a unit: a panel for each of the first ones, last and best iterates; a picture of each further one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import COMPARISON, Link, Outline, furthest, runs, safe
from atlas_viewer.site.packing import LateCrop, Place, UnitSprite
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.samples import (
    ACTIVATION,
    SMALL,
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
from atlas_viewer.site.sprites import EXACT, PHOTO, thumb_size, thumbs
from atlas_viewer.sweep import DGN

PANELS = 4  # runs whose pictures are all shown; a page has one picture of each further run


@dataclass(frozen=True)
class RunSample:
    """One picture of a run; the last and the best iterate are two forms of one crop."""

    crop: LateCrop | None
    facts: Facts
    iterates: tuple[tuple[str, Reached], ...]
    code_norm: str


@dataclass(frozen=True)
class RunPanel:
    """One run of a unit. many : whether the best picture is large and the others are small."""

    run: str
    anchor: str
    prior: str
    card: Link | None
    aim: str
    at_work: tuple[Setting, ...]
    size: str
    enlarged: bool
    columns: int
    many: bool
    samples: tuple[RunSample, ...]
    rates: tuple[str, ...]

    @property
    def lead(self) -> RunSample | None:
        """The picture with the largest activation."""
        return next((sample for sample in self.samples if sample.facts.best), None)


@dataclass(frozen=True)
class UnitRuns:
    """All that a unit's page shows of its runs.

    compared : address of the page that compares them.
    """

    panels: tuple[RunPanel, ...]
    further: tuple[Further, ...]
    compared: str

    @property
    def lead(self) -> RunPanel | None:
        """The first run with a picture."""
        return next((panel for panel in self.panels if panel.lead is not None), None)


@dataclass(frozen=True)
class Further:
    """A run without a panel: its picture with the largest activation."""

    run: str
    crop: LateCrop | None
    alt: str
    activation: str


class RunsPanel(Panel):
    """The runs of a unit."""

    order = 30
    template = "panels/runs.html"
    lead_template, lead_order = "panels/runs_lead.html", 20

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> UnitRuns | None:
        """A panel for each of the first runs, and a picture of each further one; None without any."""
        if not runs(unit.layer):
            return None
        return UnitRuns(
            panels=tuple(_panel(outline, unit, run, sprite) for run in with_panel(unit.layer)),
            further=_further(unit, sprite),
            compared=f"../{COMPARISON}",
        )

    def leads(self, shown: UnitRuns) -> bool:
        """Whether a run has a picture."""
        return shown.lead is not None

    def contents(self, outline: Outline, shown: UnitRuns) -> Sequence[tuple[str, str]]:
        """The runs with a panel, and the others."""
        further = [("further", "further runs")] if shown.further else []
        return [*((panel.anchor, panel.run) for panel in shown.panels), *further]

    def switches(self, shown: UnitRuns) -> Mapping[str, tuple[str, ...]]:
        """Which iterate is shown."""
        return {"iterate": ("last", "best")}

    def remark(self, shown: UnitRuns) -> str:
        """The meaning of the numbers and the curve under each picture."""
        return f"{ACTIVATION} with the largest activation."

    def reached(self, unit: Unit) -> Mapping[str, float]:
        """The largest activation that a run reached."""
        return {"DGN-AM": furthest(runs(unit.layer), unit.row)}

    def depends(self, outline: Outline, layer: Layer) -> object:
        """The order of the runs, which follows from the whole atlas, and the pages of their priors."""
        return [(run.name, outline.prior_link(run.prior)) for run in runs(layer)]


def with_panel(layer: Layer) -> tuple[Run, ...]:
    """The runs of a layer whose pictures are all on a unit's page."""
    return runs(layer)[:PANELS]


def run_settings(outline: Outline, layer: Layer) -> SettingsTable:
    """All settings of a layer's runs whose pictures are all on a unit's page."""
    shown = with_panel(layer)
    names = [(run.name, _anchor(run)) for run in shown]
    return side_by_side(outline.numbers[DGN], names, [run.numbers for run in shown])


def _anchor(run: Run) -> str:
    """The id of a run's section."""
    return f"dgn-{safe(run.name)}"


def add_run(unit: Unit, run: Run, sprite: UnitSprite) -> dict[int, Place]:
    """Add all pictures of a unit by one run, last and best iterates; the place of each sample that has one."""
    if not run.there[unit.row].any():
        return {}
    return add_pictures(sprite, run, unit.row, {"last": run.pixels[unit.row], "best": run.best_pixels[unit.row]})


def _further(unit: Unit, sprite: UnitSprite) -> tuple[Further, ...]:
    """Add the best picture of each run without a panel."""
    row, shown = unit.row, []
    for run in runs(unit.layer)[PANELS:]:
        sample, crop = int(run.best_sample[row]), None
        if sample >= 0:
            size = run.size if sprite.full else thumb_size(run.size, SMALL)
            crop = sprite.add({PHOTO[0]: thumbs(run.pixels[row, sample][None], size)})[0].crop()
        shown.append(
            Further(
                run=run.name,
                crop=crop,
                alt=f"{unit.address}, run {run.name}, sample {sample}",
                activation=captions.number(float(run.activation[row, sample])) if sample >= 0 else "",
            )
        )
    return tuple(shown)


def _panel(outline: Outline, unit: Unit, run: Run, sprite: UnitSprite) -> RunPanel:
    judged, places = unit.layer.judged(run), add_run(unit, run, sprite)
    return RunPanel(
        run=run.name,
        anchor=_anchor(run),
        prior=run.prior,
        card=outline.prior_link(run.prior),
        aim=captions.measured(run),
        at_work=at_work(outline.numbers[DGN], run.numbers),
        size=captions.pair(run.size),
        enlarged=max(run.size) <= EXACT,
        columns=columns(run.samples),
        many=are_many(run.samples, sprite.full),
        samples=tuple(_sample(outline, unit, run, judged, places, number) for number in in_order(run, unit.row)),
        rates=rates(judged, unit.layer.atlas.digest),
    )


def _sample(
    outline: Outline, unit: Unit, run: Run, judged: Sequence[Scores], places: Mapping[int, Place], number: int
) -> RunSample:
    layer, where = unit.layer, (unit.row, number)
    exists = bool(run.there[where])
    most = float(layer.statistics.most[unit.row]) if layer.statistics is not None and exists else np.nan
    last = float(run.activation[where]), float(run.activation_float[where])
    best = float(run.best_activation[where]), float(run.best_activation_float[where])
    return RunSample(
        crop=places[number].crop() if exists else None,
        facts=facts(layer, run, judged, where, f"run {run.name}"),
        iterates=(("last", reached(*last, most, outline.noun)), ("best", reached(*best, most, outline.noun))),
        code_norm=captions.number(float(run.code_norm[where])),
    )
