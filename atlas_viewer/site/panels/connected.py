"""The units that a unit is connected with by weights, those that respond alike, and those that respond to its class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from atlas_viewer.layer import Layer, Unit
from atlas_viewer.likeness import Likeness, class_means, class_units, similar_units
from atlas_viewer.site import captions
from atlas_viewer.site.montages import thumbs
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.packing import UnitSprite
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.sprites import Crop

SHOWN = 6  # connected units of a layer shown, and similar units: more would be a tenth of the bytes of all pages
RESPONDING, LAYERS = 3, 8  # units of a layer shown that respond to a class; layers, the last ones


@dataclass(frozen=True)
class Linked:
    """Another unit: its page, "" without one, its name, its picture, a number and what that says.

    below : whether the number is negative.
    """

    href: str
    address: str
    label: str
    crop: Crop | None
    value: str
    below: bool
    title: str


@dataclass(frozen=True)
class Row:
    """Other units in one respect. about : what the numbers are."""

    name: str
    about: str
    units: tuple[Linked, ...]


class ConnectedPanel(Panel):
    """The units that a unit leads to."""

    order = 27
    template = "panels/connected.html"

    def contents(self, outline: Outline, shown: tuple[Row, ...]) -> Sequence[tuple[str, str]]:
        """All of them."""
        return [("connected", "connected units")]

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> tuple[Row, ...] | None:
        """A row for each respect; None without any. The pictures are those of the layers' montages."""
        rows = [*_connections(outline, unit), *_responding(outline, unit), *_similar(outline, unit)]
        return tuple(row for row in rows if row.units) or None

    def footnote(self, outline: Outline, shown: tuple[Row, ...]) -> str:
        """Which form of them is shown."""
        return "Connected units have the pictures of their layers’ montages; those of a style are always stretched."

    def depends(self, outline: Outline, layer: Layer) -> object:
        """The names and montages of the other units, and what decides which they are."""
        key = f"connected {layer.name}"
        if key not in outline.kept:
            shown = {each.other for each in layer.connections if each.other in outline.atlas.layers}
            responding = _class_layers(outline) if has_classes(layer) else []
            if layer.statistics is not None or "largest" in layer.kinds:  # by which units may be similar
                shown.add(layer.name)
            digest = hashlib.sha256()
            for name in sorted({*shown, *responding}):
                digest.update(repr(thumbs(outline, name)).encode())
            for name in (layer.name, *responding):
                digest.update(_class_means_digest(outline, name))
            if "largest" in layer.kinds:
                digest.update(layer.tops("largest").image.tobytes())
            outline.kept[key] = digest.hexdigest()
        return outline.kept[key]


def class_pages(outline: Outline) -> dict[int, str]:
    """Number of a class of the dataset → the page of the unit that is this class, from a layer's folder."""
    if "class pages" not in outline.kept:
        heads = [layer.name for layer in outline.atlas if has_classes(layer) and layer.info.class_layer]
        known = [thumbs(outline, name) for name in heads[:1]]
        outline.kept["class pages"] = {number: f"../{one.folder}/{number}.html" for one in known for number in one.rows}
    return outline.kept["class pages"]


def _class_means_digest(outline: Outline, name: str) -> bytes:
    """A digest of a layer's means over the classes; empty where it has none that are used."""
    key = f"class means {name}"
    if key not in outline.kept:
        means = class_means(outline.atlas[name])
        outline.kept[key] = b"" if means is None else hashlib.sha256(means.tobytes()).digest()
    return outline.kept[key]


def _connections(outline: Outline, unit: Unit) -> list[Row]:
    rows = []
    for each in sorted(unit.layer.connections, key=lambda each: not each.is_incoming):
        if each.other not in outline.atlas.layers:
            continue
        name = f"Inputs from {each.other}" if each.is_incoming else f"Outputs to {each.other}"
        about = f"Strength: {each.meaning}. A negative one inhibits."
        numbers, row = each.linked[unit.row, :SHOWN].tolist(), unit.row
        linked = [
            _linked(outline, each.other, number, captions.number(float(each.strength[row, place])),
                    bool(each.strength[row, place] < 0), f"weight {captions.number(float(each.weight[row, place]))}")
            for place, number in enumerate(numbers) if number >= 0
        ]  # fmt: skip
        rows.append(Row(name, about, tuple(linked)))
    return rows


def _similar(outline: Outline, unit: Unit) -> list[Row]:
    key = f"similar {unit.layer.name}"
    if key not in outline.kept:
        outline.kept[key] = similar_units(unit.layer, SHOWN)
    likeness: Likeness | None = outline.kept[key]
    if likeness is None:
        return []
    linked = []
    for row, value in zip(likeness.rows[unit.row].tolist(), likeness.value[unit.row].tolist(), strict=True):
        said = captions.count(int(value), outline.noun) if likeness.is_count else captions.signed(value)
        if row >= 0:
            linked.append(_linked(outline, unit.layer.name, int(unit.layer.units[row]), said, False, ""))
    about = f"By the {likeness.meaning}{' activation' if likeness.is_count else ''}."
    return [Row(f"Similar units of {unit.layer.name}", about, tuple(linked))]


def _responding(outline: Outline, unit: Unit) -> list[Row]:
    """The units of other layers that respond most to the class that a unit is."""
    if not has_classes(unit.layer):
        return []
    linked = []
    for name in _class_layers(outline):
        key = f"class units {name}"
        if key not in outline.kept:
            outline.kept[key] = class_units(outline.atlas[name], RESPONDING)
        if outline.kept[key] is None or unit.number >= len(outline.kept[key][0]):
            continue
        rows, values = (part[unit.number].tolist() for part in outline.kept[key])
        numbers = list(thumbs(outline, name).rows)
        linked += [
            _linked(outline, name, numbers[row], f"{captions.number(value)} σ", False, "")
            for row, value in zip(rows, values, strict=True)
            if row >= 0
        ]
    about = (
        f"Mean, over the {outline.noun}s of the class, of the largest activation in each, above the mean over all "
        f"{outline.noun}s, in standard deviations; the {RESPONDING} units of each layer with the most."
    )
    return [Row("Units of other layers that respond most to this class", about, tuple(linked))]


def has_classes(layer: Layer) -> bool:
    """Whether the units of a layer are classes of the dataset, number by number."""
    return "class" in layer.kinds


def _class_layers(outline: Outline) -> list[str]:
    """The layers that images were evaluated for, but for those whose units are the classes; the last come first."""
    if "class layers" not in outline.kept:
        names = [layer.name for layer in outline.atlas if layer.statistics is not None and not has_classes(layer)]
        outline.kept["class layers"] = names[: -LAYERS - 1 : -1]
    return outline.kept["class layers"]


def _linked(outline: Outline, layer: str, number: int, value: str, below: bool, title: str) -> Linked:
    """A unit of a layer of the atlas, which may not have this unit."""
    known = thumbs(outline, layer)
    there = number in known.rows
    return Linked(
        href=f"../{known.folder}/{number}.html" if there else "",
        address=f"{layer}:{number}",
        label=captions.first_name(known.labels[known.rows[number]]) if there else "",
        crop=known.crop(number, "../") if there else None,
        value=value,
        below=below,
        title=title,
    )
