"""The page of one unit: real images and synthetic pictures side by side, with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas_viewer.layer import Layer, Unit
from atlas_viewer.site import captions, figures
from atlas_viewer.site.behaviour import behaviour
from atlas_viewer.site.hits import SIDE, UnitImages, unit_images
from atlas_viewer.site.nearest import Strip, unit_strips
from atlas_viewer.site.outline import (
    COMPARISON,
    PAGE_UNITS,
    Link,
    Outline,
    furthest,
    page_name,
    render,
    runs,
    styles,
    sweep_notes,
)
from atlas_viewer.site.run_panels import Further, RunPanel, further_runs, unit_runs
from atlas_viewer.site.style_panels import Plate, plate


@dataclass(frozen=True)
class _Contents:
    """What a unit's page shows, and what its pictures reached, by method."""

    plates: tuple[Plate, ...]
    runs: tuple[RunPanel, ...]
    further: tuple[Further, ...]
    strips: tuple[Strip, ...]
    images: UnitImages
    reached: dict[str, float]


def write_units(outline: Outline, layer: Layer, rows: range, folder: Path) -> int:
    """Write sheets and pages of these rows into the layer's folder; how many pages is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    shown, units = styles(layer), layer.units.tolist()
    scores = {pictures.style: layer.judged(pictures) for pictures in shown}
    for row in rows:
        unit = Unit(layer, units[row])
        contents = _Contents(
            plates=tuple(plate(outline, unit, pictures, scores[pictures.style], folder) for pictures in shown),
            runs=unit_runs(outline, unit, folder),
            further=further_runs(unit, folder),
            strips=unit_strips(unit, folder),
            images=unit_images(unit, folder),
            reached={"ascent": furthest(shown, row), "DGN-AM": furthest(runs(layer), row)},
        )
        before = _unit_link(layer, row - 1) if row > 0 else None
        after = _unit_link(layer, row + 1) if row + 1 < len(units) else None
        (folder / f"{units[row]}.html").write_text(_page(outline, unit, contents, before, after), encoding="utf-8")
    return len(rows)


def _page(outline: Outline, unit: Unit, contents: _Contents, before: Link | None, after: Link | None) -> str:
    layer = unit.layer
    sides, whole = layer.window, layer.window_unclipped
    layer_before, layer_after = outline.neighbours(layer.name)
    finest = [(plate, sample) for plate in contents.plates for sample in plate.samples if sample.facts.best]
    drawn = [panel for panel in contents.runs if panel.lead is not None]
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
        plates=contents.plates,
        sweeps=sweep_notes(layer),
        lead=finest[0] if finest else None,
        runs=contents.runs,
        further=contents.further,
        compared=f"../{COMPARISON}",
        drawn=drawn[0] if drawn else None,
        strips=contents.strips,
        images=contents.images,
        behaviour=behaviour(unit, contents.reached, outline.noun),
        dataset=outline.atlas.dataset,
        noun=outline.noun,
        measure=layer.tops(layer.kinds[0]).measure if layer.kinds else "",
        lrn=layer.tops(layer.kinds[0]).lrn if layer.kinds else "",
        thousands=captions.thousands,
        counted=captions.count,
        side=SIDE,
        window=figures.window(outline.atlas.input_size, sides, whole),
        window_size=captions.pair((sides[2] - sides[0], sides[3] - sides[1])),
        input_size=captions.pair(outline.atlas.input_size),
        cut=[
            f"{n} {side}" for n, side in zip(_cut(sides, whole), ("top", "left", "bottom", "right"), strict=True) if n
        ],
        back=Link(f"{page_name(unit.row // PAGE_UNITS + 1)}#u{unit.number}", layer.name),
        before=before,
        after=after,
        layer_before=layer_before,
        layer_after=layer_after,
    )


def _cut(shown: Sequence[int], whole: Sequence[int]) -> tuple[int, int, int, int]:
    """Pixels of the window outside the image: top, left, bottom, right."""
    return shown[0] - whole[0], shown[1] - whole[1], whole[2] - shown[2], whole[3] - shown[3]


def _unit_link(layer: Layer, row: int) -> Link:
    unit = Unit(layer, int(layer.units[row]))
    return Link(f"{unit.number}.html", unit.label if unit.label else unit.address)
