"""The pictures of a unit by searches of priors' codes, as panels of its page: last and best iterate, with numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.ascent import Scores
from atlas_viewer.evidence.dgn import Search
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Link, Outline, safe, searches
from atlas_viewer.site.samples import COLUMNS, Facts, Reached, columns, facts, rates, reached
from atlas_viewer.site.sheets import EXACT, ITERATES, PHOTO, Crop, Sheet

PANELS = 4  # searches with all of their pictures; of further ones a page has one picture each
# What the authors' program does for their first network, and what their bounds are. Source: Nguyen et al. 2016, code.
PUBLISHED = {
    **{"iterations": 200, "step_start": 8.0, "step_end": 1e-10, "shrink": 0.99},
    **{"sigmas": 3.0, "penalty": 0.0, "jitter": 0.0, "clip": False, "start": "noise"},
}
HIDDEN = ("device", "trace_points")  # numbers that decide no picture


@dataclass(frozen=True)
class Setting:
    """A number of a search. published : the authors' own where it is another, or empty."""

    name: str
    value: str
    published: str


@dataclass(frozen=True)
class Found:
    """One picture of a search; `last` and `best` iterate lie in one crop, as two forms."""

    crop: Crop | None
    facts: Facts
    iterates: tuple[tuple[str, Reached], ...]
    code_norm: str


@dataclass(frozen=True)
class SearchPanel:
    """One search of a unit."""

    search: str
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
    """A search without a panel: its picture that went furthest."""

    search: str
    crop: Crop | None
    alt: str
    activation: str


def unit_searches(outline: Outline, unit: Unit, folder: Path) -> tuple[SearchPanel, ...]:
    """Draw the sheets of a unit's searches into its layer's folder; the panels to show are returned."""
    return tuple(_panel(outline, unit, search, folder) for search in searches(unit.layer)[:PANELS])


def further_searches(unit: Unit, folder: Path) -> tuple[Further, ...]:
    """Draw the best picture of each search that has no panel; what to show is returned."""
    found, row = searches(unit.layer)[PANELS:], unit.row
    best = [int(search.best_sample[row]) for search in found]
    there = np.array([sample >= 0 for sample in best], bool)
    if not there.any():
        return tuple(Further(search.name, None, "", "") for search in found)
    sheet = Sheet(f"{unit.number}-dgn", found[0].size, len(found), min(len(found), COLUMNS), PHOTO)
    pixels = [search.pixels[row, max(sample, 0)] for search, sample in zip(found, best, strict=True)]
    sheet.draw_forms(folder, {PHOTO[0]: np.stack(pixels)}, there)
    return tuple(
        Further(
            search=search.name,
            crop=sheet.crop(cell) if sample >= 0 else None,
            alt=f"{unit.address}, search {search.name}, sample {sample}",
            activation=captions.number(float(search.activation[row, sample])) if sample >= 0 else "",
        )
        for cell, (search, sample) in enumerate(zip(found, best, strict=True))
    )


def search_sheet(search: Search, unit: int) -> Sheet:
    """The sheet of a unit's pictures of a search, on the unit's page."""
    columns = min(search.samples, 3 if search.samples == 9 else 4)
    return Sheet(f"{unit}-dgn.{safe(search.name)}", search.size, search.samples, max(columns, 1), ITERATES)


def settings(search: Search) -> tuple[Setting, ...]:
    """The numbers of a search, each with the published one where that is another."""
    found = []
    for name, value in search.numbers.items():
        if name not in HIDDEN:
            published = PUBLISHED.get(name)
            same = published is None or value == published or _close(value, published)
            found.append(Setting(name, setting(value), "" if same else setting(published)))
    return tuple(found)


def setting(value: str | int | float | bool) -> str:
    """A number of a search; infinity is no bound."""
    return "none" if isinstance(value, float) and math.isinf(value) else captions.setting(value)


def _close(value: object, published: object) -> bool:
    numbers = isinstance(value, (int, float)) and isinstance(published, (int, float))
    return numbers and math.isclose(value, published)


def _panel(outline: Outline, unit: Unit, search: Search, folder: Path) -> SearchPanel:
    judged = unit.layer.judged(search)
    sheet, there = search_sheet(search, unit.number), search.there[unit.row]
    if there.any():
        sheet.draw_forms(folder, {"last": search.pixels[unit.row], "best": search.best_pixels[unit.row]}, there)
    return SearchPanel(
        search=search.name,
        anchor=f"dgn-{safe(search.name)}",
        prior=search.prior,
        card=outline.prior_link(search.prior),
        aim=captions.measured(search),
        settings=settings(search),
        size=captions.pair(search.size),
        enlarged=max(search.size) <= EXACT,
        columns=columns(search.samples),
        samples=tuple(_found(outline, unit, search, judged, sheet, number) for number in range(search.samples)),
        rates=rates(judged),
    )


def _found(outline: Outline, unit: Unit, search: Search, judged: Sequence[Scores], sheet: Sheet, number: int) -> Found:
    layer, where = unit.layer, (unit.row, number)
    there = bool(search.there[where])
    most = float(layer.statistics.most[unit.row]) if layer.statistics is not None and there else np.nan
    last = float(search.activation[where]), float(search.activation_float[where])
    best = float(search.best_activation[where]), float(search.best_activation_float[where])
    return Found(
        crop=sheet.crop(number) if there else None,
        facts=facts(layer, search, judged, where, f"search {search.name}"),
        iterates=(("last", reached(*last, most, outline.noun)), ("best", reached(*best, most, outline.noun))),
        code_norm=captions.number(float(search.code_norm[where])),
    )
