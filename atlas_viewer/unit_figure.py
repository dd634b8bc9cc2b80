"""Figures of pictures: rows of them with captions, and all that an atlas has of one unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas_viewer.evidence.climb import UnitClimb
from atlas_viewer.evidence.statistics import UnitStatistics
from atlas_viewer.evidence.tops import UnitTops
from atlas_viewer.extras import require
from atlas_viewer.field import Status
from atlas_viewer.montage import PAPER, hatched, stretch
from atlas_viewer.signals import forms
from atlas_viewer.summary import unit_title

if TYPE_CHECKING:
    from atlas_viewer.layer import Unit

CELL = 1.5  # side of a picture in a figure, inches
DPI = 100


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures side by side, with their captions.

    pictures : (picture, y, x, rgb) uint8.
    captions : one for each.
    """

    title: str
    pictures: np.ndarray
    captions: tuple[str, ...]


def draw_rows(rows: Sequence[Row], spare: int = 0, title: str = "") -> Any:
    """A matplotlib figure of the rows, and below them `spare` empty rows; their axes are the figure's last ones.

    Raises MissingError without matplotlib.
    """
    require("matplotlib", "figure")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max([2, *(len(row.captions) for row in rows)])
    count = max(1, len(rows) + spare)
    figure = Figure(figsize=(CELL * columns, (CELL + 0.5) * count), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(count, columns)
    if title:
        figure.suptitle(title, fontsize=9)
    for place, row in enumerate(rows):
        for column in range(columns):
            cell = figure.add_subplot(grid[place, column])
            cell.set_xticks([])
            cell.set_yticks([])
            cell.set_frame_on(False)
            if column == 0:
                cell.set_title(row.title, loc="left", fontsize=8)
            if column < len(row.captions):
                cell.imshow(row.pictures[column], interpolation="nearest")
                cell.set_xlabel(row.captions[column], fontsize=8)
    for place in range(len(rows), len(rows) + spare):
        figure.add_subplot(grid[place, :])
    return figure


def climb_row(title: str, shown: np.ndarray, activation: np.ndarray, status: Sequence[Status]) -> Row:
    """The row of pictures by one setting: activations below them, and why a picture is missing.

    shown : (sample, y, x, rgb) uint8, as they are to be drawn.
    """
    exists = np.isfinite(activation)
    pictures = np.where(exists[:, None, None, None], shown, hatched(shown.shape[1:3]))
    captions = []
    for value, outcome in zip(activation.tolist(), status, strict=True):
        said = "" if outcome is Status.ok else outcome.name.replace("_", " ")
        captions.append(", ".join(filter(None, (f"{value:.4g}" if np.isfinite(value) else "", said))))
    return Row(title, pictures, tuple(captions))


def unit_rows(unit: Unit, samples: int) -> Iterator[Row]:
    """Yield the rows of a unit: its styles with enhanced contrast and its runs in true colours, then its hits.

    Settings of a sweep are left out. Back-projections are under the hits that excite the unit most.
    """
    layer = unit.layer
    for method, named in (("ascent", unit.ascent), ("dgn", unit.dgn)):
        for name, pictures in named.items():
            if pictures.climb.sweep is None:
                yield _climb_row(unit, f"{name}: {pictures.climb.measure}", pictures[:samples], method == "ascent")
    for kind in layer.kinds:
        tops = unit.tops(kind)
        if len(tops) and layer.atlas.dataset.has_pixels:
            yield from _top_rows(tops, kind, samples)


def unit_figure(unit: Unit, samples: int) -> Any:
    """A matplotlib figure of a unit: its rows, and the distribution of its activations over the dataset."""
    require("matplotlib", "figure")
    rows = list(unit_rows(unit, samples))
    figure = draw_rows(rows, spare=int(unit.stats is not None), title=unit_title(unit))
    if unit.stats is not None:
        best = {name: pictures.best for named in (unit.ascent, unit.dgn) for name, pictures in named.items()
                if pictures.climb.sweep is None}  # fmt: skip
        _draw_distribution(figure.axes[-1], unit.stats, best)
    return figure


def _climb_row(unit: Unit, title: str, pictures: UnitClimb, stretched: bool) -> Row:
    images = pictures.images
    if stretched:
        images = stretch(images, pictures.climb.mean_under(unit.layer.atlas.mean, unit.layer.window))
    return climb_row(title, images, pictures.activation, pictures.status)


def _top_rows(tops: UnitTops, kind: str, samples: int) -> Iterator[Row]:
    hits = tops.hits[:samples]
    ranks = [hit.rank for hit in hits]
    patches = tops.patches[ranks]
    shown = np.where(patches[..., 3:] > 0, patches[..., :3], np.uint8(PAPER))
    captions = tuple("\n".join(filter(None, (f"{hit.activation:.4g}", hit.class_name[:18]))) for hit in hits)
    yield Row(f"{kind} in the dataset", shown, captions)
    if kind == "largest":
        for rule in tops.tops.rules[:1]:
            signals = np.nan_to_num(tops.back_projection(rule)[ranks])
            yield Row(f"{rule} of these", forms(signals, signals.shape[1:3])["raw"], ("",) * len(hits))


def _draw_distribution(axes: Any, stats: UnitStatistics, best: dict[str, float]) -> None:
    """The quantiles of the per-image maxima, and the best picture of each setting as a line."""
    shares, values = zip(*stats.quantiles.items(), strict=True)
    axes.plot(values, shares, color="0.3", linewidth=1)
    axes.set_title(f"per-image maxima of {stats['image_count']} images: share below", loc="left", fontsize=8)
    axes.tick_params(labelsize=7)
    for place, (name, value) in enumerate(best.items()):
        if np.isfinite(value):
            axes.axvline(value, color=f"C{place % 10}", linewidth=1, label=name)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)
