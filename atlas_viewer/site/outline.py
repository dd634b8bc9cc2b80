"""The addresses of pages, the order of styles and runs, and the rendering of templates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.numbers import Number
from atlas_viewer.format import group_names
from atlas_viewer.layer import Layer
from atlas_viewer.site.captions import first_name, roman
from atlas_viewer.site.pieces import kinds
from atlas_viewer.site.sprites import EXACT, tile
from atlas_viewer.sweep import ASCENT, DGN, Sweep

PAGE_UNITS = 200  # units on a page of a layer: more make browsers slow
PRIORS, COMBINATIONS, COMPARISON = "priors", "combinations", "runs.html"  # of the cards, of pairs, of runs
STATIC = "static"  # the folder of style sheet and script
LEAD = "low_frequency"  # the best single setting by its authors' judgement (Yosinski et al. 2015, figure 5)


@dataclass(frozen=True)
class Link:
    """A page: its address, seen from the page that links to it, and its name."""

    href: str
    name: str


@dataclass(frozen=True)
class Outline:
    """The pages of one atlas; links are relative, from inside a layer's folder unless `root` is empty.

    full : show the pictures of a unit at their stored size.
    kept : what pages computed of whole layers, by name, so that a process does it once.
    """

    atlas: Atlas
    full: bool = False
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def folders(self) -> dict[str, str]:
        """The folder of each layer, in plain characters and never that of another."""
        return {layer: safe(self.atlas[layer].key) for layer in self.atlas.layers}

    def prior_link(self, prior: str, root: str = "../") -> Link | None:
        """The page of a prior; None where the atlas has only its name."""
        name = group_names(self.atlas.priors).get(prior)
        return None if name is None else Link(f"{root}{PRIORS}/{quote(safe(name))}.html", prior)

    @cached_property
    def numbers(self) -> dict[str, tuple[Number, ...]]:
        """The table of hyperparameters of each method."""
        return {method: Number.of(self.atlas, method) for method in (ASCENT, DGN)}

    @cached_property
    def shown_runs(self) -> dict[str, tuple[Run, ...]]:
        """The runs that pages show by name, in their order; each in every layer that has it."""
        shown = in_order(self.atlas, (run for layer in self.atlas for run in runs(layer)))
        return {run.name: tuple(each for each in shown if each.name == run.name) for run in shown}

    @property
    def noun(self) -> str:
        """The word for an image of the dataset."""
        dataset = self.atlas.dataset
        return "drawing" if dataset is not None and dataset.kind == "doodles" else "image"

    def plate(self, layer: str) -> str:
        """The layer's number, as plates are numbered."""
        return roman(self.atlas.layers.index(layer) + 1)

    def layer_link(self, layer: str, page: int = 1, root: str = "../") -> Link:
        """A page of a layer."""
        return Link(f"{root}{quote(self.folders[layer])}/{page_name(page)}", layer)

    def neighbours(self, layer: str) -> tuple[Link | None, Link | None]:
        """The layers before and after."""
        names = self.atlas.layers
        at = names.index(layer)
        before = self.layer_link(names[at - 1]) if at > 0 else None
        after = self.layer_link(names[at + 1]) if at + 1 < len(names) else None
        return before, after


def pages(layer: Layer) -> int:
    """How many pages a layer's montage has."""
    return max(1, -(-len(layer) // PAGE_UNITS))


def page_name(page: int) -> str:
    """The file of one page of a layer, counted from 1."""
    return "index.html" if page == 1 else f"index-{page}.html"


def styles(layer: Layer) -> tuple[Pictures, ...]:
    """The layer's styles, the leading one first.

    Settings of a sweep are omitted, because they have their own page; if the layer has no others, the best one is
    returned.
    """
    asked = sorted(set(layer.styles) - set(layer.swept), key=lambda name: (name != LEAD, name))
    if not asked and layer.swept:
        return (Sweep(layer, ASCENT).ranked[0].pictures,)
    return tuple(layer.pictures(name) for name in asked)


def runs(layer: Layer) -> tuple[Run, ...]:
    """The layer's runs of DGN-AM, the leading one first.

    Settings of a sweep are omitted, because they have their own page; if the layer has no others, the best one is
    returned.
    """
    asked = [layer.run(name) for name in layer.runs if name not in layer.swept_runs]
    if not asked and layer.swept_runs:
        return (Sweep(layer, DGN).ranked[0].pictures,)
    return in_order(layer.atlas, asked)


def in_order(atlas: Atlas, asked: Iterable[Run]) -> tuple[Run, ...]:
    """The runs in the order in which pages show them: the first one leads.

    Plain runs of a prior come before its variants; then runs as they were asked for; then runs that cover more
    layers.
    """
    reach = atlas.runs

    def key(run: Run) -> tuple[bool, float, int, str]:
        place = math.inf if run.place is None else run.place
        return run.name != run.prior, place, -len(reach[run.name]), run.name

    return tuple(sorted(asked, key=key))


def leading(layer: Layer) -> Climb | None:
    """The style or run whose picture represents a unit where only one fits; None where the layer has none.

    A run of DGN-AM where units see the whole image, because its pictures show whole objects; else a style. One without
    any picture, as in an atlas that is not finished, leads only if no other has one.
    """
    by_prior, by_pixels = runs(layer), styles(layer)
    whole = bool(by_prior) and by_prior[0].size == layer.atlas.input_size
    ordered = (*by_prior[:whole], *by_pixels, *by_prior)
    return next((climb for climb in ordered if climb.there.any()), ordered[0] if ordered else None)


def sweep_name(method: str, page: int = 1) -> str:
    """The file of one page of a layer's sweep by a method, counted from 1."""
    stem = "sweep" if method == ASCENT else f"sweep-{method}"
    return f"{stem}.html" if page == 1 else f"{stem}-{page}.html"


@dataclass(frozen=True)
class SweepNote:
    """The sentence on other pages about a sweep of a layer.

    href : its page.
    name : of the sweep.
    settings : how many were computed.
    alone : whether the layer has no other styles, or runs.
    judge : the judge that ranks the settings, or None.
    """

    href: str
    name: str
    settings: int
    alone: bool
    judge: str | None


def sweep_notes(layer: Layer, root: str = "") -> tuple[SweepNote, ...]:
    """The sweeps of a layer.

    root : the layer's folder, seen from the page that links to it.
    """
    notes = []
    for method, name, swept, every in (
        (ASCENT, "sweep", layer.swept, layer.styles),
        (DGN, "sweep of DGN-AM", layer.swept_runs, layer.runs),
    ):
        if swept:
            judge = Sweep(layer, method).judge
            notes.append(SweepNote(f"{root}{sweep_name(method)}", name, len(swept), set(swept) == set(every), judge))
    return tuple(notes)


def furthest(shown: Iterable[Climb], row: int) -> float:
    """The largest activation of a unit's pictures with the settings that maximize; NaN without any."""
    parts = [pictures.activation[row, pictures.there[row]] for pictures in shown if pictures.direction == "maximize"]
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(values.max()) if values.size else np.nan


def furthest_of_all(shown: Iterable[Climb], units: int) -> np.ndarray:
    """`furthest` of each of a layer's units."""
    reached = np.full(units, np.nan)
    for pictures in shown:
        if pictures.direction == "maximize":
            values = np.where(pictures.there, pictures.activation, -np.inf).max(axis=1, initial=-np.inf)
            reached = np.fmax(reached, np.where(np.isfinite(values), values, np.nan))
    return reached


def safe(name: str) -> str:
    """The name with every character that addresses or file systems treat specially as =XX; one to one."""
    text = re.sub(r"[^A-Za-z0-9._~+@-]", lambda match: "".join(f"={b:02X}" for b in match[0].encode()), name)
    return f"={ord(text[0]):02X}{text[1:]}" if text.casefold() in _taken() else text


@lru_cache(maxsize=1)
def _taken() -> frozenset[str]:
    """The names at the top of a site that no folder of a layer may have."""
    return frozenset((STATIC, *(name for page in kinds() for name in page.top)))


def render(template: str, **values: object) -> str:
    """The page that a template makes of these values."""
    return _environment().get_template(template).render(values, exact=EXACT)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("atlas_viewer.site"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["broken"] = broken
    environment.filters["first_name"] = first_name
    environment.globals["draw_tile"] = tile
    return environment


def broken(name: str) -> Markup:
    """The name of a layer, which may be broken across lines after its dots, slashes and the like."""
    return Markup(re.sub(r"([./@_])", r"\1<wbr>", str(escape(name))))
