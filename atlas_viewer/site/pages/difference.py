"""How two atlases differ, as a page of its own: a table of the layers, and pictures of the units that differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas_viewer import table
from atlas_viewer.atlas import Atlas
from atlas_viewer.difference import COLUMNS, Line, distinct_units, heads, numbers
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions
from atlas_viewer.site.elsewhere import Elsewhere
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.outline import Outline, render
from atlas_viewer.site.sprites import Tile
from atlas_viewer.site.unit_sprites import best_sprite, draw_best

SHOWN = 8  # units of a line, side by side
BLOCKS = 20  # lines with pictures: more make browsers slow
SIDE = 128  # pixels: longest side of a picture


@dataclass(frozen=True)
class Cell:
    """The picture of a unit in A or B, its activation, its address there, and its page, empty where there is none."""

    tile: Tile
    activation: str
    address: str
    href: str


@dataclass(frozen=True)
class Block:
    """The units of a line that differ most: their names, the names of A and B, and what these have of the units."""

    title: str
    numbers: tuple[tuple[str, str, str], ...]
    units: tuple[str, ...]
    names: tuple[str, str]
    rows: tuple[tuple[Cell, ...], ...]


def write_page(a: Atlas, b: Atlas, lines: Sequence[Line], out: Path) -> None:
    """Make `out`/index.html, and `out`/units.csv with every unit that differs.

    The page leads to the pages of the atlases that lie beside their files.
    """
    sides = tuple(Elsewhere(Outline(atlas), Path(out)) for atlas in (a, b))
    with replacing(Path(out)) as folder:
        pictured = [line for line in lines if line.rows and line.first is not None and line.second is not None]
        pictured = sorted(pictured, key=lambda line: -len(line.differing))[:BLOCKS]
        text = render(
            "difference.html",
            root="",
            model=" · ".join(dict.fromkeys((a.model, b.model))),
            title="Two settings compared" if a.path.samefile(b.path) else "Two atlases compared",
            citation=f"{a.cited}, {b.cited}",
            heads=[*_settings(lines), ("file", *("/".join(atlas.path.parts[-2:]) for atlas in (a, b))), *heads(a, b)],
            pages=[side.index for side in sides],
            stretched=not all(isinstance(climb, Run) for line in pictured for climb in (line.first, line.second)),
            lines=[_cells(line) for line in lines],
            blocks=[_block(line, at, folder, sides) for at, line in enumerate(pictured)],
            units=distinct_units(lines),
            side=SIDE,
            columns=SHOWN,
        )
        (folder / "index.html").write_text(text, encoding="utf-8")
        table.write(folder / "units.csv", COLUMNS, (unit.row() for line in lines for unit in line.differing))


def _settings(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    """The paths of settings that are compared with one of another name: a setting, its path in A, and in B."""
    pairs = {
        (line.first.path, line.second.path) for line in lines if line.first is not None and line.second is not None
    }
    return [("setting", one, other) for one, other in sorted(pairs) if one != other]


def _cells(line: Line) -> tuple[str, ...]:
    """What the table has of a line."""
    return (
        *(line.name, line.evidence, captions.thousands(line.units)),
        *(captions.thousands(count) for count in (line.only_first, line.only_second, len(line.differing))),
        *(captions.number(value) for value in (line.median, line.largest)),
        "–" if line.pictures is None else captions.thousands(line.pictures),
    )


def _block(line: Line, at: int, folder: Path, sides: tuple[Elsewhere, ...]) -> Block:
    units = line.differing[:SHOWN]
    shown = ((line.layer, line.first), (line.other, line.second))
    return Block(
        title=f"{line.name}, {line.evidence}",
        numbers=tuple((name, captions.setting(one), captions.setting(other)) for name, one, other in numbers(line)),
        units=tuple(f"{unit.unit} {captions.first_name(unit.label)}".strip() for unit in units),
        names=(f"A, {line.first.name}", f"B, {line.second.name}"),
        rows=tuple(
            _row(layer, climb, [rows[side] for rows in line.rows[:SHOWN]], f"{at}-{'ab'[side]}", folder, sides[side])
            for side, (layer, climb) in enumerate(shown)
        ),
    )


def _row(layer: Layer, climb: Climb, rows: list[int], stem: str, folder: Path, pages: Elsewhere) -> tuple[Cell, ...]:
    sprite = best_sprite(climb, len(rows), stem, SHOWN, SIDE)
    draw_best(layer, climb, rows, sprite, folder)
    cells = []
    for cell, row in enumerate(rows):
        best = int(climb.best_sample[row])
        value = captions.number(float(climb.activation[row, best])) if best >= 0 else "–"
        address = f"{layer.name}:{layer.units[row]}"
        tile = Tile(sprite.crop(cell) if best >= 0 else None, f"{address}, {climb.path}", "none")
        cells.append(Cell(tile, value, address, pages.unit(layer, row)))
    return tuple(cells)
