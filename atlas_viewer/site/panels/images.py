"""The images that excite a unit: patches, with back-projections under them; and the range from most to least."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer import signals
from atlas_viewer.evidence.tops import ZERO_BYTE, Hit, Tops
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.sprites import PHOTO, Sprite, Tile, thumb_size, thumbs

SIDE = 160  # pixels: longest side of a patch on a page; nine side by side are narrower than that
COLUMNS = 9  # patches in a row of a sprite
RULES = {"deconvnet": "deconvnet", "guided": "guided backprop", "gradient": "gradient"}


@dataclass(frozen=True)
class Column:
    """One hit: the numbers under its patch, and its source."""

    rank: str
    activation: str
    label: str
    key: str
    position: str
    original: str


@dataclass(frozen=True)
class Hits:
    """Hits side by side.

    rows : a name and one tile per column each; the patches first, then the back-projections.
    """

    kind: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Tile, ...]], ...]


@dataclass(frozen=True)
class UnitImages:
    """All that a unit's page shows of the dataset's images; kinds without hits are left out.

    measure : what an activation is.
    lrn : how deconvnet passes local response normalization, or empty.
    rules_agree : whether all rules of back-projection give the same, as they do without a ReLU on the way.
    reduced : whether patches are shown smaller than they are.
    """

    measure: str
    lrn: str
    panels: tuple[Hits, ...]
    has_signals: bool
    rules_agree: bool
    reduced: bool

    def panel(self, kind: str) -> Hits | None:
        """The hits of a kind, if there are any."""
        return next((panel for panel in self.panels if panel.kind == kind), None)

    @property
    def own_are_best(self) -> bool:
        """Whether the best images of the unit's own class are the best of all."""
        best, own_class = self.panel("largest"), self.panel("class")
        return best is not None and own_class is not None and best.columns == own_class.columns


@dataclass(frozen=True)
class _Shown:
    """A hit that the page shows, with its cell in the sprite of patches and those in the sprite of back-projections."""

    tops: Tops
    hit: Hit
    cell: int
    signals: dict[str, int]


class ImagesPanel(Panel):
    """The images of the dataset that excite a unit."""

    order = 10
    template = "panels/images.html"
    lead_template, lead_order = "panels/images_lead.html", 30

    def draw(self, outline: Outline, unit: Unit, folder: Path) -> UnitImages | None:
        """Patches and back-projections of the hits; None without hits."""
        return _images(unit, folder)

    def leads(self, shown: UnitImages) -> bool:
        """Whether there are most exciting images."""
        return shown.panel("largest") is not None

    def switches(self, shown: UnitImages) -> Mapping[str, tuple[str, ...]]:
        """The form of the back-projections."""
        return {"form": signals.FORMS} if shown.has_signals else {}

    def footnote(self, outline: Outline, shown: UnitImages) -> str:
        """The colours and the size of the images."""
        size = f", here at most {SIDE} pixels long" if shown.reduced else ""
        return f"{outline.noun.capitalize()}s are always in true colours{size}."


def _images(unit: Unit, folder: Path) -> UnitImages | None:
    """Draw the sprites of a unit's patches and back-projections."""
    layer = unit.layer
    kinds = {kind: layer.tops(kind) for kind in layer.kinds}
    hits = {kind: _shown(tops, unit.row) for kind, tops in kinds.items()}
    numbered = _numbered(unit.row, hits)
    if not numbered:
        return None
    frame = numbered[0].tops.frame_size
    size = thumb_size(frame, SIDE)
    count = 1 + max(shown.cell for shown in numbered)
    patches = Sprite(f"{unit.number}.images", size, count, min(COLUMNS, count), PHOTO)
    has_pixels = numbered[0].tops.dataset.has_pixels
    if has_pixels:
        _draw_patches(unit.row, numbered, patches, folder)
    count = sum(len(shown.signals) for shown in numbered)
    back = Sprite(f"{unit.number}.signals", size, count, max(1, min(COLUMNS, count)), signals.FORMS)
    projected = _signals(unit.row, numbered)
    if count:
        stacked = np.stack([values for _, values in itertools.chain(*projected)])
        back.draw_forms(folder, signals.forms(stacked, back.size), np.ones(count, bool))
    by_kind = {kind: [shown for shown in numbered if shown.tops is tops] for kind, tops in kinds.items()}
    by_kind["range"] = _range(by_kind)
    panels = tuple(
        _panel(unit, kind, shown, patches if has_pixels else None, back) for kind, shown in by_kind.items() if shown
    )
    first = layer.tops(layer.kinds[0])
    return UnitImages(first.measure, first.lrn, panels, count > 0, _agree(projected), size != frame)


def _shown(tops: Tops, row: int) -> list[_Shown]:
    return [_Shown(tops, hit, -1, {}) for hit in tops.at(row).hits]


def _numbered(row: int, by_kind: dict[str, list[_Shown]]) -> list[_Shown]:
    """The hits with their cells; the same image at the same position has one cell for all its kinds."""
    cells: dict[tuple[int, tuple[int, int]], int] = {}
    numbered, signal = [], 0
    for shown in (shown for kind in by_kind.values() for shown in kind):
        cell = cells.setdefault((shown.hit.row, shown.hit.position), len(cells))
        cells_of_rules = {}
        for rule in shown.tops.rules:
            if np.isfinite(shown.tops.scale(rule)[row, shown.hit.rank]):
                cells_of_rules[rule], signal = signal, signal + 1
        numbered.append(_Shown(shown.tops, shown.hit, cell, cells_of_rules))
    return numbered


def _range(by_kind: dict[str, list[_Shown]]) -> list[_Shown]:
    """The quantiles of the sample, between the most and the least exciting of all images where those differ."""
    quantiles = by_kind.get("quantile", [])
    most, least = by_kind.get("largest", [])[:1], by_kind.get("smallest", [])[:1]
    if not quantiles:
        return []
    ends = quantiles[0].hit.activation, quantiles[-1].hit.activation
    before = [shown for shown in most if shown.hit.activation > ends[0]]
    after = [shown for shown in least if shown.hit.activation < ends[1]]
    return [*before, *quantiles, *after]


def _draw_patches(row: int, numbered: Iterable[_Shown], sprite: Sprite, folder: Path) -> None:
    drawn = {shown.cell: shown for shown in numbered}
    pixels = np.stack([drawn[cell].tops.patch(row, drawn[cell].hit.rank).pixels for cell in range(sprite.count)])
    sprite.draw_forms(folder, {PHOTO[0]: thumbs(pixels, sprite.size)}, np.ones(sprite.count, bool))


def _signals(row: int, numbered: Sequence[_Shown]) -> list[list[tuple[float, np.ndarray]]]:
    """The back-projections of every hit, rule by rule: scale and values in units of it, float32 (y, x, rgb)."""
    tops = {id(shown.tops): shown.tops for shown in numbered}
    read = {
        (key, rule): (kind.scale(rule)[row], kind.encoded(rule, row).astype(np.float32) - ZERO_BYTE)
        for key, kind in tops.items()
        for rule in kind.rules
    }
    return [
        [
            (scale[shown.hit.rank], values[shown.hit.rank])
            for scale, values in (read[id(shown.tops), rule] for rule in shown.signals)
        ]
        for shown in numbered
    ]


def _agree(projected: Sequence[Sequence[tuple[float, np.ndarray]]]) -> bool:
    """Whether several rules give the same in every hit."""
    several = [rules for rules in projected if len(rules) > 1]
    return bool(several) and all(
        scale == rules[0][0] and np.array_equal(values, rules[0][1]) for rules in several for scale, values in rules
    )


def _panel(unit: Unit, kind: str, hits: Sequence[_Shown], patches: Sprite | None, back: Sprite) -> Hits:
    rows = [("", tuple(_patch_tile(unit, shown, patches) for shown in hits))]
    for rule in RULES:
        if any(rule in shown.signals for shown in hits):
            tiles = tuple(_signal_tile(unit, shown, rule, back) for shown in hits)
            rows.append((RULES[rule], tiles))
    return Hits(kind, tuple(_column(shown, kind) for shown in hits), tuple(rows))


def _patch_tile(unit: Unit, shown: _Shown, sprite: Sprite | None) -> Tile:
    hit = shown.hit
    alt = f"{unit.address}, {shown.tops.dataset.name} {hit.key}, activation {captions.number(hit.activation)}"
    if sprite is None:
        return Tile(None, alt, "pixels are not stored")
    return Tile(sprite.crop(shown.cell, inside=_share(shown, unit.row)), alt, "")


def _signal_tile(unit: Unit, shown: _Shown, rule: str, sprite: Sprite) -> Tile:
    alt = f"{unit.address}, {RULES[rule]} in {shown.hit.key}"
    if rule not in shown.signals:
        reason = shown.tops.reason[unit.row]
        return Tile(None, alt, f"not computed: {reason}" if reason else "not computed yet")
    return Tile(sprite.crop(shown.signals[rule], inside=_share(shown, unit.row)), alt, "")


def _share(shown: _Shown, row: int) -> tuple[float, float, float, float]:
    """The part of the frame that is inside the image, as shares of its sides."""
    (high, wide), (top, left, bottom, right) = shown.tops.frame_size, shown.tops.inside(row, shown.hit.rank)
    return top / high, left / wide, bottom / high, right / wide


def _column(shown: _Shown, kind: str) -> Column:
    hit = shown.hit
    top, left, bottom, right = (round(side) for side in hit.original)
    rank = str(hit.rank + 1) if hit.quantile is None else captions.quantile(hit.quantile)
    if kind == "range" and hit.quantile is None:
        rank = {"largest": "most of all", "smallest": "least of all"}[shown.tops.kind]
    return Column(
        rank=rank,
        activation=captions.number(hit.activation),
        label=hit.class_name,
        key=hit.key,
        position=f"{hit.position[0]}, {hit.position[1]}",
        original=f"{top} to {bottom}, {left} to {right}".replace("-", captions.MINUS),
    )
