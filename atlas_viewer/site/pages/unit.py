"""The page of one unit: real images and synthetic pictures side by side, in the panels of their kinds of evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas_viewer.layer import Layer, Unit
from atlas_viewer.site import captions, figures
from atlas_viewer.site.outline import PAGE_UNITS, Link, Outline, furthest, page_name, render, runs, styles
from atlas_viewer.site.packing import UnitSprite
from atlas_viewer.site.pieces import Page, Panel, panels


@dataclass(frozen=True)
class Filled:
    """A panel with what it shows of a unit."""

    panel: Panel
    shown: Any


class UnitPages(Page):
    """The pages of a layer's units."""

    order = 30

    def draw_units(self, outline: Outline, layer: Layer, rows: range, folder: Path) -> None:
        """Write the pages of these units, and their sprites, into the layer's folder."""
        units = layer.units.tolist()
        for row in rows:
            unit, sprite = Unit(layer, units[row]), UnitSprite(str(units[row]), outline.full)
            drawn = ((panel, panel.draw(outline, unit, sprite)) for panel in panels())
            filled = tuple(Filled(panel, shown) for panel, shown in drawn if shown is not None)
            sprite.write(folder)
            before = _unit_link(layer, row - 1) if row > 0 else None
            after = _unit_link(layer, row + 1) if row + 1 < len(units) else None
            text = _page(outline, unit, filled, sprite.filters, before, after)
            (folder / f"{units[row]}.html").write_text(text, encoding="utf-8")


def _page(
    outline: Outline,
    unit: Unit,
    filled: Sequence[Filled],
    filters: Mapping[str, str],
    before: Link | None,
    after: Link | None,
) -> str:
    layer = unit.layer
    sides, whole = layer.window, layer.window_unclipped
    layer_before, layer_after = outline.neighbours(layer.name)
    leads = [each for each in filled if each.panel.leads(each.shown)]
    switches: dict[str, tuple[str, ...]] = {}
    for each in filled:
        switches |= each.panel.switches(each.shown)
    return render(
        "unit.html",
        root="../",
        model=outline.atlas.model,
        title=unit.label if unit.label else unit.address,
        cited=outline.atlas.cited,
        citation=unit.citation,
        unit=unit,
        layer=layer,
        plate=outline.plate(layer.name),
        filled=filled,
        filters=filters,
        leads=sorted(leads, key=lambda each: each.panel.lead_order),
        switches=switches,
        first_line=_first_line(outline, unit),
        dead=layer.statistics is not None and layer.statistics.dead[unit.row],
        remark=next(filter(None, (each.panel.remark(each.shown) for each in filled)), ""),
        contents=[part for each in filled for part in each.panel.contents(outline, each.shown)],
        footnotes=list(filter(None, (each.panel.footnote(outline, each.shown) for each in filled))),
        dataset=outline.atlas.dataset,
        noun=outline.noun,
        thousands=captions.thousands,
        counted=captions.count,
        window=figures.window(outline.atlas.input_size, sides, whole),
        window_size=captions.pair((sides[2] - sides[0], sides[3] - sides[1])),
        input_size=captions.pair(outline.atlas.input_size),
        window_known=captions.WINDOW_STATUSES.get(layer.info.window_status, ""),
        cut=[
            f"{n} {side}" for n, side in zip(_cut(sides, whole), ("top", "left", "bottom", "right"), strict=True) if n
        ],
        back=Link(f"{page_name(unit.row // PAGE_UNITS + 1)}#u{unit.number}", layer.name),
        before=before,
        after=after,
        layer_before=layer_before,
        layer_after=layer_after,
    )


def _first_line(outline: Outline, unit: Unit) -> str:
    """What to know before its pictures: that no image activates the unit, or that no picture reaches the best image."""
    layer, row, noun = unit.layer, unit.row, outline.noun
    if layer.statistics is None:
        return ""
    if layer.statistics.never_varies[row]:
        return f"Never varies: it has the same value at every position of every {noun}."
    most, reached = float(layer.statistics.most[row]), furthest((*styles(layer), *runs(layer)), row)
    if layer.statistics.dead[row]:
        reaches = f"; a picture reaches {captions.number(reached)}" if reached > most else ""
        return f"Dead: no {noun} activates it. Its largest activation in any is {captions.number(most)}{reaches}."
    if not reached < most:
        return ""
    best = f"; the best reaches {captions.ratio(reached, most, noun)}" if reached > 0 else ""
    return f"None of its pictures excites it as much as the best {noun} does{best}."


def _cut(shown: Sequence[int], whole: Sequence[int]) -> tuple[int, int, int, int]:
    """Pixels of the window outside the image: top, left, bottom, right."""
    return shown[0] - whole[0], shown[1] - whole[1], whole[2] - shown[2], whole[3] - shown[3]


def _unit_link(layer: Layer, row: int) -> Link:
    unit = Unit(layer, int(layer.units[row]))
    return Link(f"{unit.number}.html", captions.first_name(unit.label) or unit.address)
