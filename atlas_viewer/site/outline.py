"""Where each page of a site lies, and what every page says at its top."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Search
from atlas_viewer.format import group_names
from atlas_viewer.layer import Layer
from atlas_viewer.site.captions import roman
from atlas_viewer.site.sheets import EXACT
from atlas_viewer.sweep import Sweep

PAGE_UNITS = 200  # units on a page of a layer: more make browsers slow
PRIORS, COMBINATIONS, COMPARISON = "priors", "combinations", "searches.html"  # of the cards, of pairs, of searches
TAKEN = ("static", "index.html", PRIORS, COMBINATIONS, COMPARISON)  # at the top of a site, so no folder of a layer
LEAD = "low_frequency"  # the best single setting by its authors' judgement (Yosinski et al. 2015, figure 5)


@dataclass(frozen=True)
class Link:
    """A page: its address, seen from the page that links to it, and its name."""

    href: str
    name: str


@dataclass(frozen=True)
class Outline:
    """The pages of one atlas; links are relative, from inside a layer's folder unless `root` is empty."""

    atlas: Atlas

    @cached_property
    def folders(self) -> dict[str, str]:
        """The folder of each layer, in plain characters and never that of another."""
        return {layer: safe(self.atlas[layer].key) for layer in self.atlas.layers}

    def prior_link(self, prior: str, root: str = "../") -> Link | None:
        """The page of a prior; None where the atlas knows no more of it than its name."""
        name = group_names(self.atlas.priors).get(prior)
        return None if name is None else Link(f"{root}{PRIORS}/{quote(safe(name))}.html", prior)

    @property
    def noun(self) -> str:
        """What an image of the dataset is called."""
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

    Settings of a style search are left to its own page; where there is nothing else, the best of them stands in.
    """
    asked = sorted(set(layer.styles) - set(layer.searched), key=lambda name: (name != LEAD, name))
    if not asked and layer.searched:
        return (Sweep(layer).ranked[0].pictures,)
    return tuple(layer.pictures(name) for name in asked)


def searches(layer: Layer) -> tuple[Search, ...]:
    """The layer's searches of priors' codes, the leading one first: no variant, and of most layers of the atlas."""
    reach = layer.atlas.searches
    found = map(layer.search, layer.searches)
    return tuple(sorted(found, key=lambda each: (each.name != each.prior, -len(reach[each.name]), each.name)))


def leading(layer: Layer) -> Climb | None:
    """What stands for a unit where there is room for one picture; None where the layer has none.

    A search of a prior's codes where units see the whole image, for its pictures are of whole things; else a style.
    """
    found, shown = searches(layer), styles(layer)
    if found and (not shown or found[0].size == layer.atlas.input_size):
        return found[0]
    return shown[0] if shown else None


def searched(layer: Layer, root: str = "") -> Searched | None:
    """The style search of a layer, as other pages speak of it; None where there was none.

    root : the layer's folder, seen from the page that links to it.
    """
    if not layer.searched:
        return None
    alone = set(layer.searched) == set(layer.styles)
    return Searched(f"{root}sweep.html", len(layer.searched), alone, Sweep(layer).judge)


@dataclass(frozen=True)
class Searched:
    """A style search: where its page is, how many settings, whether there are no other styles, and who ranked them."""

    href: str
    settings: int
    alone: bool
    judge: str | None


def furthest(shown: Iterable[Climb], row: int) -> float:
    """The largest activation of a unit's pictures with the settings that maximize; NaN without any."""
    found = [pictures.activation[row, pictures.there[row]] for pictures in shown if pictures.direction == "maximize"]
    values = np.concatenate(found) if found else np.zeros(0)
    return float(values.max()) if values.size else np.nan


def safe(name: str) -> str:
    """The name with every character that an address or a file system may mind as =XX; one to one."""
    text = re.sub(r"[^A-Za-z0-9._~+-]", lambda found: "".join(f"={b:02X}" for b in found[0].encode()), name)
    return f"={ord(text[0]):02X}{text[1:]}" if text.casefold() in TAKEN else text


def render(template: str, **values: object) -> str:
    """The page that a template makes of these values."""
    return _environment().get_template(template).render(values, exact=EXACT)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("atlas_viewer.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
