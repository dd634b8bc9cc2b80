"""Pages of units excited together: each combination between its units alone (Nguyen et al. 2016, section S8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.combinations import Combinations
from atlas_viewer.field import Status
from atlas_viewer.format import group_name
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions
from atlas_viewer.site.keys import groups_key
from atlas_viewer.site.outline import COMBINATIONS, Link, Outline, leading, render, runs, safe
from atlas_viewer.site.pieces import Block, Page, Part
from atlas_viewer.site.sprites import PHOTO, Sprite, Tile, thumb_size, thumbs
from atlas_viewer.site.unit_sprites import best_sprite, draw_best

PICTURES = 200  # on a page: more make browsers slow
SIDE = 144  # pixels: longest side of a picture
COLUMNS = 12  # pictures in a row of a sprite
EVEN = 0.5  # of the activations' ratio, above which no unit dominates the picture

Members = tuple[tuple[int, float], ...]  # number and weight of each unit of a combination


@dataclass(frozen=True)
class Single:
    """One unit by itself."""

    name: str
    href: str
    tile: Tile
    activation: str


@dataclass(frozen=True)
class Mixed:
    """One picture of several units: the activation of each, the smallest over the largest, whether that is low."""

    tile: Tile
    activations: tuple[str, ...]
    ratio: str
    uneven: bool


@dataclass(frozen=True)
class Row:
    """One combination: its units alone, and its pictures, one tuple per set."""

    singles: tuple[Single, ...]
    weights: tuple[str, ...]
    mixed: tuple[tuple[Mixed, ...], ...]


@dataclass(frozen=True)
class Summary:
    """One set of combinations, and how evenly its pictures excite their units."""

    name: str
    balance: str
    samples: int
    pictures: int
    even: str
    median: str
    numbers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Band:
    """Sets that share combinations, and the rows of a page that they have pictures of; `cells` pictures in each."""

    sets: tuple[Summary, ...]
    cells: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Group:
    """The sets of one layer, those with balance first, and their combinations in the order in which they appear."""

    layer: str
    sets: tuple[Combinations, ...]

    @cached_property
    def places(self) -> tuple[dict[Members, int], ...]:
        """For each set, the row of each combination."""
        return tuple({_members(each, item): item for item in range(len(each))} for each in self.sets)

    @cached_property
    def families(self) -> tuple[tuple[int, ...], ...]:
        """The sets, by number, of which some share combinations; those of another family have none of a row."""
        families: list[tuple[int, ...]] = []
        for at, places in enumerate(self.places):
            near = [each for each in families if any(places.keys() & self.places[other].keys() for other in each)]
            families = [each for each in families if each not in near]
            families.append(tuple(sorted((at, *chain.from_iterable(near)))))
        return tuple(sorted(families))

    @cached_property
    def items(self) -> tuple[Members, ...]:
        """Every combination of any set, once, by family."""
        return tuple(dict.fromkeys(item for family in self.families for at in family for item in self.places[at]))

    @cached_property
    def step(self) -> int:
        """Combinations on a page."""
        most = max(len(members) for members in self.items) + sum(each.samples for each in self.sets)
        return max(1, PICTURES // most)

    @property
    def pages(self) -> int:
        """How many pages they take."""
        return -(-len(self.items) // self.step)

    def name(self, page: int) -> str:
        """The file of one page, counted from 1."""
        stem = safe(group_name(self.layer))
        return f"{stem}.html" if page == 1 else f"{stem}-{page}.html"

    def link(self, root: str = "") -> Link:
        """The first page, from the first page of the site."""
        return Link(f"{root}{COMBINATIONS}/{quote(self.name(1))}", self.layer)


def groups(outline: Outline) -> tuple[Group, ...]:
    """The sets of combinations of the atlas, by layer, without empty ones."""
    by_layer: dict[str, list[Combinations]] = {}
    for each in outline.atlas.combinations.values():
        if len(each):
            by_layer.setdefault(each.layer, []).append(each)
    return tuple(
        Group(layer, tuple(sorted(sets, key=lambda each: (-each.balance, each.name))))
        for layer, sets in by_layer.items()
    )


class CombinationPages(Page):
    """The pages of units excited together, in a folder of their own."""

    order = 70
    top = (COMBINATIONS,)

    def blocks(self, outline: Outline, layers: Mapping[str, str]) -> Iterator[Block]:
        """Yield the one block of the folder, where the atlas has combinations."""
        shown = groups(outline)
        if not shown:
            return
        around = [(group.layer, layers.get(group.layer), group.name(1)) for group in shown]
        sets = [each for group in shown for each in group.sets]
        links = [outline.prior_link(each.prior) for each in sets]
        key = groups_key((outline.atlas.cited, around, links), [each.group for each in sets])
        yield Block(COMBINATIONS, "all", key, __name__, "", Part())

    def draw(self, outline: Outline, layer: None, part: Part, folder: Path) -> None:
        """Write all pages with their sprites."""
        for group in groups(outline):
            for page in range(1, group.pages + 1):
                _write(outline, group, page, folder)

    def links(self, outline: Outline) -> Iterator[tuple[Link, str]]:
        """Yield the link to the first page of each layer's combinations."""
        for group in groups(outline):
            about = f"{captions.count(len(group.items), 'combination')}, each between its units alone."
            yield Link(group.link().href, f"Units of {group.layer} together"), about


def _write(outline: Outline, group: Group, page: int, folder: Path) -> None:
    items, last = group.items[(page - 1) * group.step : page * group.step], group.pages
    layer = outline.atlas[group.layer] if group.layer in outline.atlas.layers else None
    stem = f"{safe(group_name(group.layer))}-{page}"
    alone = _singles(outline, group, layer, items, stem, folder)
    mixed = [_mixed(each, places, items, f"{stem}.{at}", folder) for at, (each, places) in _enumerated(group)]
    sets, bands = tuple(map(_summary, group.sets)), []
    for family in group.families:
        own = [at for at, members in enumerate(items) if any(members in group.places[each] for each in family)]
        rows = tuple(_row(items[at], alone, [mixed[each][at] for each in family]) for at in own)
        if rows:
            cells = max(len(row.singles) for row in rows) + sum(sets[each].samples for each in family)
            bands.append(Band(tuple(sets[each] for each in family), cells, rows))
    text = render(
        "combinations.html",
        root="../",
        model=outline.atlas.model,
        title=f"Units together, {group.layer}",
        cited=outline.atlas.cited,
        citation=f"{outline.atlas.cited}:{group.layer}",
        layer=group.layer,
        back=outline.layer_link(group.layer) if layer is not None else None,
        bands=bands,
        sets=sets,
        card=outline.prior_link(group.sets[0].prior),
        prior=group.sets[0].prior,
        measure=group.sets[0].measure,
        seed=group.sets[0].seed,
        pairs=all(len(members) == 2 for members in group.items),
        items=len(group.items),
        even=captions.short(1 / EVEN),
        counted=captions.count,
        side=SIDE,
        page=page,
        pages=[Link(quote(group.name(n)), str((n - 1) * group.step + 1)) for n in range(1, last + 1)],
    )
    (folder / group.name(page)).write_text(text, encoding="utf-8")


def _row(members: Members, alone: Mapping[int, Single], mixed: Sequence[tuple[Mixed, ...]]) -> Row:
    """The row of one combination."""
    weights = [weight for _, weight in members]
    even = len(set(weights)) == 1
    return Row(
        singles=tuple(alone[unit] for unit, _ in members),
        weights=() if even else tuple(map(captions.short, weights)),
        mixed=tuple(mixed),
    )


def _enumerated(group: Group) -> list[tuple[int, tuple[Combinations, dict[Members, int]]]]:
    return list(enumerate(zip(group.sets, group.places, strict=True)))


def _members(each: Combinations, item: int) -> Members:
    pairs = zip(each.member_unit[item].tolist(), each.member_weight[item].tolist(), strict=True)
    return tuple((unit, weight) for unit, weight in pairs if unit >= 0)


def _name(group: Group, members: Members, at: int) -> str:
    """The name of a unit of a combination: its label, or its address."""
    for each, places in zip(group.sets, group.places, strict=True):
        if members in places and each.member_label[places[members]][at]:
            return captions.first_name(each.member_label[places[members]][at])
    return f"{group.layer}:{members[at][0]}"


def _singles(
    outline: Outline, group: Group, layer: Layer | None, items: Sequence[Members], stem: str, folder: Path
) -> dict[int, Single]:
    """Each unit by itself, by its number; from a run with the same prior if there is one."""
    units = sorted({unit for members in items for unit, _ in members})
    names = {unit: _name(group, members, at) for members in items for at, (unit, _) in enumerate(members)}
    climb = None if layer is None else _alone(layer, group.sets[0].prior)
    stored = [] if layer is None else [unit for unit in units if unit in layer.units]
    rows = [] if layer is None else np.searchsorted(layer.units, stored).tolist()
    best = climb.best_sample[rows].tolist() if climb is not None and rows else [-1] * len(stored)
    sprite = best_sprite(climb, len(rows), stem, COLUMNS, SIDE) if climb is not None and rows else None
    if sprite is not None:
        draw_best(layer, climb, rows, sprite, folder)
    singles = {}
    for unit in units:
        at = stored.index(unit) if unit in stored else -1
        shown = at >= 0 and sprite is not None and best[at] >= 0
        activation = captions.number(float(climb.activation[rows[at], best[at]])) if shown else ""
        href = f"../{quote(outline.folders[group.layer])}/{unit}.html" if at >= 0 else ""
        tile = Tile(sprite.crop(at) if shown else None, f"{group.layer}:{unit} alone", "no picture of it alone")
        singles[unit] = Single(names[unit], href, tile, activation)
    return singles


def _alone(layer: Layer, prior: str) -> Climb | None:
    return next((run for run in runs(layer) if run.prior == prior), leading(layer))


def _mixed(
    each: Combinations, places: dict[Members, int], items: Sequence[Members], stem: str, folder: Path
) -> list[tuple[Mixed, ...]]:
    """Draw a set's pictures of these combinations, all samples; one tuple per combination, empty where it has none."""
    where = [(places[members], sample) for members in items if members in places for sample in range(each.samples)]
    exists = np.array([each.there[item, sample] for item, sample in where], bool)
    count = max(1, len(where))
    sprite = Sprite(stem, thumb_size(each.size, SIDE), count, min(COLUMNS, count), PHOTO)
    if exists.any():
        pixels = np.stack([each.pixels[item, sample] for item, sample in where])
        sprite.draw_forms(folder, {PHOTO[0]: thumbs(pixels, sprite.size)}, exists)
    tiles = {place: _tile(each, place, sprite, cell) for cell, place in enumerate(where)}
    return [
        tuple(tiles[places[members], sample] for sample in range(each.samples)) if members in places else ()
        for members in items
    ]


def _tile(each: Combinations, where: tuple[int, int], sprite: Sprite, cell: int) -> Mixed:
    item, sample = where
    exists, status = bool(each.there[where]), each.status[item][sample]
    values, share = each.member_activation[where].tolist(), float(each.ratio[where])
    names = " and ".join(str(unit) for unit in each.member_unit[item].tolist() if unit >= 0)
    why = "" if status is Status.ok else captions.why(status, each.reason[item])
    return Mixed(
        tile=Tile(
            crop=sprite.crop(cell) if exists else None,
            alt=f"{each.layer}:{names}, set {each.name}, sample {sample}",
            why=why,
        ),
        activations=tuple(map(captions.number, values[: len(_members(each, item))])) if exists else (),
        ratio=captions.number(share) if exists and np.isfinite(share) else "",
        uneven=exists and not share >= EVEN,
    )


def _summary(each: Combinations) -> Summary:
    ratios = np.where(np.isfinite(each.ratio), each.ratio, -np.inf)[each.there]
    even = float((ratios >= EVEN).mean()) if ratios.size else np.nan
    median = float(np.median(ratios)) if ratios.size else np.nan
    return Summary(
        name=each.name,
        balance=captions.setting(each.balance) if each.balance else "none",
        samples=each.samples,
        pictures=int(each.there.sum()),
        even=captions.percent(even) if ratios.size else "",
        median=captions.number(median),
        numbers=tuple((name, captions.setting(value)) for name, value in each.numbers.items()),
    )
