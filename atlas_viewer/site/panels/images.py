"""The images that excite a unit: patches, with back-projections under them; and the range from most to least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer import signals
from atlas_viewer.evidence.tops import ZERO_BYTE, Hit, Tops
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.packing import Place, UnitSprite
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.sprites import PHOTO, Tile, percent, thumb_size, thumbs

SIDE = 112  # pixels: longest side of one of the best patches on a page, where nine stand side by side
RANGE_SIDE = 80  # pixels: the same of the range from most to least, up to eleven side by side
LARGER = ("largest", "class")  # the kinds of SIDE
FULL_ONLY = ("smallest",)  # the kinds of which a page that is not full shows the first at most, in the range
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

    rows : a name and one tile per column each; the patches first, then the back-projections, then the whole images.
    """

    kind: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Tile, ...]], ...]


@dataclass(frozen=True)
class UnitImages:
    """All that a unit's page shows of the dataset's images; kinds without hits are left out.

    measure : what an activation is.
    lrn : how deconvnet passes local response normalization, or empty; empty for a network without it.
    rules_agree : whether all rules of back-projection give the same, as they do without a ReLU on the way.
    reduced : whether patches are shown smaller than they are.
    in_whole : whether the best patches are outlined in their whole images.
    """

    measure: str
    lrn: str
    panels: tuple[Hits, ...]
    has_signals: bool
    rules_agree: bool
    reduced: bool
    in_whole: bool

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
    """A hit that the page shows, with the places of its patch and of its back-projections by rule.

    patch : None where no pixels are stored.
    whole : its whole image; None where the patch is that, or where it is not shown.
    """

    tops: Tops
    hit: Hit
    patch: Place | None
    signals: dict[str, Place]
    whole: Place | None


SECTIONS = {"largest": "images", "class": "own-class", "range": "most-to-least"}  # kind of hits → id of its section


class ImagesPanel(Panel):
    """The images of the dataset that excite a unit."""

    order = 10
    template = "panels/images.html"
    lead_template, lead_order = "panels/images_lead.html", 30

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> UnitImages | None:
        """Patches and back-projections of the hits; None without hits."""
        return _images(unit, outline.noun, sprite)

    def leads(self, shown: UnitImages) -> bool:
        """Whether there are most exciting images."""
        return shown.panel("largest") is not None

    def switches(self, shown: UnitImages) -> Mapping[str, tuple[str, ...]]:
        """The form of the back-projections."""
        return {"form": signals.FORMS} if shown.has_signals else {}

    def contents(self, outline: Outline, shown: UnitImages) -> Sequence[tuple[str, str]]:
        """The best images, those of its own class, and the others."""
        names = {"largest": f"best {outline.noun}s", "class": "own class", "range": "most to least"}
        there = [kind for kind in names if shown.panel(kind) or (kind == "range" and shown.panel("smallest"))]
        there = [kind for kind in there if kind != "class" or not shown.own_are_best]
        return [(SECTIONS[kind], names[kind]) for kind in there]

    def footnote(self, outline: Outline, shown: UnitImages) -> str:
        """The colours and the size of the images."""
        size = f", here at most {SIDE} pixels long, {RANGE_SIDE} from most to least" if shown.reduced else ""
        return f"{outline.noun.capitalize()}s are always in true colours{size}."


def _images(unit: Unit, noun: str, sprite: UnitSprite) -> UnitImages | None:
    """Add a unit's patches, back-projections and whole images to its sprite."""
    layer, row = unit.layer, unit.row
    kinds = {kind: layer.tops(kind) for kind in layer.kinds}
    few = {} if sprite.full else dict.fromkeys(FULL_ONLY, 1)
    hits = [(tops, hit) for kind, tops in kinds.items() for hit in tops.at(row).hits[: few.get(kind)]]
    if not hits:
        return None
    frame = hits[0][0].frame_size
    patches = _patches(row, hits, sprite) if hits[0][0].dataset.has_pixels else {}
    projected = _signals(row, hits)
    places = _add_signals(projected, frame if sprite.full else thumb_size(frame, SIDE), sprite)
    wholes = _wholes(hits, sprite)
    shown = [
        _Shown(tops, hit, patches.get(_where(hit)), back, wholes.get(hit.row) if tops.kind == "largest" else None)
        for (tops, hit), back in zip(hits, places, strict=True)
    ]
    by_kind = {kind: [each for each in shown if each.tops is tops] for kind, tops in kinds.items()}
    by_kind["range"] = _range(by_kind)
    panels = tuple(_panel(unit, noun, kind, each) for kind, each in by_kind.items() if each and kind not in few)
    first, reduced = layer.tops(layer.kinds[0]), not sprite.full and max(frame) > RANGE_SIDE
    lrn = first.lrn if any(info.kind == "norm" for info in layer.atlas.table) else ""
    return UnitImages(first.measure, lrn, panels, any(projected), _agree(projected), reduced, bool(wholes))


def _where(hit: Hit) -> tuple[int, tuple[int, int]]:
    """The image and the position: what all kinds of hits have one patch for."""
    return hit.row, hit.position


def _patches(row: int, hits: Sequence[tuple[Tops, Hit]], sprite: UnitSprite) -> dict[object, Place]:
    """Add the patch of each image and position once, at the larger of the sizes at which it is shown."""
    frame, large = hits[0][0].frame_size, {_where(hit) for tops, hit in hits if tops.kind in LARGER}
    places: dict[object, Place] = {}
    for side in (SIDE, RANGE_SIDE):
        chosen = {
            _where(hit): (tops, hit)
            for tops, hit in hits
            if (_where(hit) in large) == (side == SIDE) and tops.dataset.is_read(hit.row)
        }
        size = frame if sprite.full else thumb_size(frame, side)
        drawn = [thumbs(tops.patch(row, hit.rank).pixels[None], size)[0] for tops, hit in chosen.values()]
        places |= zip(chosen, sprite.add({PHOTO[0]: drawn}), strict=True)
    return places


def _wholes(hits: Sequence[tuple[Tops, Hit]], sprite: UnitSprite) -> dict[int, Place]:
    """Add the whole image of each of the best hits once, where patches are parts of them. Keys: rows of images."""
    chosen = {hit.row: tops for tops, hit in hits if tops.kind == "largest" and tops.dataset.is_read(hit.row)}
    tops = hits[0][0]
    if not chosen or not tops.dataset.has_pixels or tops.frame_size == tops.input_size:
        return {}
    size = tops.input_size if sprite.full else thumb_size(tops.input_size, SIDE)
    drawn = [thumbs(one.dataset.pixels(row)[None], size)[0] for row, one in chosen.items()]
    return dict(zip(chosen, sprite.add({PHOTO[0]: drawn}), strict=True))


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


def _signals(row: int, hits: Sequence[tuple[Tops, Hit]]) -> list[dict[str, tuple[float, np.ndarray]]]:
    """The back-projections of every hit by rule: scale and values in units of it, float32 (y, x, rgb)."""
    read = {}
    for tops in {id(tops): tops for tops, _ in hits}.values():
        for rule in tops.rules:
            scale = tops.scale(rule)[row]
            if np.isfinite(scale).any():
                read[tops.kind, rule] = scale, np.subtract(tops.encoded(rule, row), ZERO_BYTE, dtype=np.float32)
    return [
        {
            rule: (read[tops.kind, rule][0][hit.rank], read[tops.kind, rule][1][hit.rank])
            for rule in tops.rules
            if (tops.kind, rule) in read and np.isfinite(read[tops.kind, rule][0][hit.rank])
        }
        for tops, hit in hits
    ]


def _add_signals(
    projected: Sequence[Mapping[str, tuple[float, np.ndarray]]], size: tuple[int, int], sprite: UnitSprite
) -> list[dict[str, Place]]:
    """Add every back-projection in all its forms; the places by rule, hit by hit."""
    values = [signal for by_rule in projected for _, signal in by_rule.values()]
    places = iter(sprite.add(signals.forms(np.stack(values), size)) if values else ())
    return [{rule: next(places) for rule in by_rule} for by_rule in projected]


def _agree(projected: Sequence[Mapping[str, tuple[float, np.ndarray]]]) -> bool:
    """Whether several rules give the same in every hit."""
    several = [list(rules.values()) for rules in projected if len(rules) > 1]
    return bool(several) and all(
        scale == rules[0][0] and np.array_equal(values, rules[0][1]) for rules in several for scale, values in rules
    )


def _panel(unit: Unit, noun: str, kind: str, hits: Sequence[_Shown]) -> Hits:
    rows = [("", tuple(_patch_tile(unit, shown) for shown in hits))]
    for rule in RULES:
        if any(rule in shown.signals for shown in hits):
            tiles = tuple(_signal_tile(unit, shown, rule) for shown in hits)
            rows.append((RULES[rule], tiles))
    if kind == "largest" and any(shown.whole for shown in hits):
        rows.append((f"whole {noun}", tuple(map(_whole_tile, hits))))
    return Hits(kind, tuple(_column(shown, kind) for shown in hits), tuple(rows))


def _patch_tile(unit: Unit, shown: _Shown) -> Tile:
    hit = shown.hit
    alt = f"{hit.key}, activation {captions.number(hit.activation)}"
    if shown.patch is None:
        return Tile(None, alt, "not read yet" if shown.tops.dataset.has_pixels else "pixels are not stored")
    return Tile(shown.patch.crop(_share(shown, unit.row)), alt, "")


def _whole_tile(shown: _Shown) -> Tile:
    alt = f"{shown.hit.key}, the whole of it"
    if shown.whole is None:
        return Tile(None, alt, "not read yet")
    (high, wide), (top, left, bottom, right) = shown.tops.input_size, shown.hit.window
    sides = top / high, 1 - right / wide, 1 - bottom / high, left / wide
    return Tile(shown.whole.crop(), alt, "", f"inset:{' '.join(map(percent, sides))}")


def _signal_tile(unit: Unit, shown: _Shown, rule: str) -> Tile:
    alt = f"{RULES[rule]} in {shown.hit.key}"
    if rule not in shown.signals:
        reason = shown.tops.reason[unit.row]
        return Tile(None, alt, f"not computed: {reason}" if reason else "not computed yet")
    return Tile(shown.signals[rule].crop(_share(shown, unit.row)), alt, "")


def _share(shown: _Shown, row: int) -> tuple[float, float, float, float]:
    """The part of the frame that is inside the image, as shares of its sides."""
    (high, wide), (top, left, bottom, right) = shown.tops.frame_size, shown.tops.inside(row, shown.hit.rank)
    return top / high, left / wide, bottom / high, right / wide


def _column(shown: _Shown, kind: str) -> Column:
    hit = shown.hit
    rank = str(hit.rank + 1) if hit.quantile is None else captions.quantile(hit.quantile)
    if kind == "range" and hit.quantile is None:
        rank = {"largest": "most of all", "smallest": "least of all"}[shown.tops.kind]
    return Column(
        rank=rank,
        activation=captions.number(hit.activation),
        label=hit.class_name,
        key=hit.key,
        position=f"{hit.position[0]}, {hit.position[1]}",
        original=_original(hit),
    )


def _original(hit: Hit) -> str:
    """Rows and columns of the original image that a hit's window shows; a dash where the image was not read yet."""
    if not np.isfinite(hit.original).all():
        return "\N{EN DASH}"
    top, left, bottom, right = map(round, hit.original)
    return f"{top} to {bottom}, {left} to {right}".replace("-", captions.MINUS)
