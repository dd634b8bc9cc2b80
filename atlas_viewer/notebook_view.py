"""What a notebook shows of an open atlas and of a unit: HTML with small pictures in it, which needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from atlas_viewer.montage import PAPER, grid
from atlas_viewer.summary import atlas_facts, atlas_text, unit_title
from atlas_viewer.unit_figure import Row, unit_rows

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.layer import Layer, Unit

SIDE = 96  # pixels: longest side of a picture
SAMPLES = 6  # pictures of one setting
CELL = "style='text-align:left;vertical-align:top'"


def atlas_html(atlas: Atlas) -> str:
    """The network and the dataset, and a table of the layers."""
    if not atlas.file.id.valid:
        return _lines([atlas_text(atlas)])
    names = ("layer", "units", "dead", "window", "ascent", "dgn", "images", "judged by")
    return _lines(atlas_facts(atlas)) + _table(names, map(_layer_cells, atlas))


def unit_html(unit: Unit) -> str:
    """The citation, the statistics, and a row of pictures for each setting and kind of hits."""
    stats = [] if unit.stats is None else [repr(unit.stats)]
    return _lines([unit_title(unit), *stats]) + "".join(map(_row, unit_rows(unit, SAMPLES)))


def _layer_cells(layer: Layer) -> tuple[str, ...]:
    top, left, bottom, right = layer.window
    dead = "" if layer.statistics is None else str(int(layer.statistics.dead.sum()))
    asked = [", ".join(name for name in names if name not in swept)
             for names, swept in ((layer.styles, layer.swept), (layer.runs, layer.swept_runs))]  # fmt: skip
    kinds, judges = ", ".join(layer.kinds), ", ".join(layer.judges)
    return (layer.name, str(len(layer)), dead, f"{right - left}×{bottom - top}", *asked, kinds, judges)


def _row(row: Row) -> str:
    """The pictures of a row as one picture, and their captions below it, in a table."""
    if not row.captions:
        return ""
    pictures = np.stack([_reduced(picture) for picture in row.pictures])
    file = io.BytesIO()
    Image.fromarray(grid(pictures, columns=len(pictures), gap=4, background=PAPER)).save(file, format="PNG")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    captions = escape(" · ".join(" ".join(caption.split()) for caption in row.captions if caption))
    return (
        f"<div><b>{escape(row.title)}</b><br><img alt='{escape(row.title)}' src='data:image/png;base64,{data}'>"
        f"<br><small>{captions}</small></div>"
    )


def _reduced(picture: np.ndarray) -> np.ndarray:
    """A picture (y, x, rgb) whose longest side is at most SIDE; small ones are enlarged by a whole factor."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= SIDE:
        times = SIDE // longest
        return picture.repeat(times, axis=0).repeat(times, axis=1)
    size = max(1, round(width * SIDE / longest)), max(1, round(height * SIDE / longest))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _lines(lines: Iterable[str]) -> str:
    first, *rest = lines
    return f"<div><b>{escape(first)}</b></div>" + "".join(f"<div>{escape(line)}</div>" for line in rest)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th {CELL}>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td {CELL}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
