"""An atlas's numbers as tables: CSV, pandas, xarray."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas_viewer import format

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer
    from atlas_viewer.statistics import Statistics
    from atlas_viewer.tops import Tops

COLUMNS = ("layer", "unit", "label", "style", "sample", "status")
COLUMNS += ("activation", "activation_float", "best_step", "attempt")
JUDGED = ("top1", "target_probability", "target_rank")
COMPARED = ("image_max", "ratio")  # where images were looked at: the largest activation there, and the picture's to it
HIT = ("layer", "unit", "label", "kind", "rank", "activation", "number", "key", "class", "row", "column")
SIDES = ("top", "left", "bottom", "right")
HIT += (*(f"window_{side}" for side in SIDES), *(f"original_{side}" for side in SIDES), "quantile")


def write_csv(layer: Layer, path: Path) -> Path:
    """Write a line a picture; a judge's columns are named judge:what. NaN stays empty."""
    return _write(path, columns(layer), rows(layer))


def write_hits_csv(tops: Sequence[Tops], path: Path) -> Path:
    """Write a line a hit, kind by kind. NaN stays empty."""
    return _write(path, HIT, _hits(tops))


def write_statistics_csv(statistics: Statistics, path: Path) -> Path:
    """Write a line a unit. NaN stays empty."""
    names, lines = _statistics(statistics)
    return _write(path, names, lines)


def hits_frame(tops: Sequence[Tops]) -> Any:
    """A pandas.DataFrame, a row a hit."""
    import pandas

    return pandas.DataFrame(_hits(tops), columns=list(HIT))


def statistics_frame(statistics: Statistics) -> Any:
    """A pandas.DataFrame, a row a unit."""
    import pandas

    names, lines = _statistics(statistics)
    return pandas.DataFrame(lines, columns=names)


def frame(layer: Layer) -> Any:
    """A pandas.DataFrame, a row a picture."""
    import pandas

    return pandas.DataFrame(rows(layer), columns=list(columns(layer)))


def dataset(layer: Layer, style: str) -> Any:
    """An xarray.Dataset of the style's arrays; units by number and label, samples by number."""
    import numpy
    import xarray

    pictures = layer.pictures(style)
    arrays = {}
    for field in format.STYLE.fields:
        if field.name in pictures.group:
            values = pictures.group[field.name]
            read = values.asstr()[...] if field.dtype == "text" else values[...]
            about = {"meaning": field.meaning, "units": field.measure}
            arrays[field.name] = xarray.Variable(field.axes, read, about)
    coordinates = {
        "unit": layer.units,
        "label": ("unit", numpy.array(layer.labels, dtype=object)),
        "sample": numpy.arange(pictures.samples),
        "rgb": ["red", "green", "blue"],
    }
    about = {"network": layer.atlas.cited, "layer": layer.name, "style": style, "measure": pictures.measure}
    return xarray.Dataset(arrays, coordinates, about | pictures.numbers)


def columns(layer: Layer) -> tuple[str, ...]:
    """The names of the columns, a judge's after the common ones."""
    judged = tuple(f"{judge}:{what}" for judge in layer.judges for what in JUDGED)
    return COLUMNS + (COMPARED if layer.statistics is not None else ()) + judged


def rows(layer: Layer) -> Iterator[tuple[object, ...]]:
    """The rows in the order unit, style, sample."""
    styles = [layer.pictures(style) for style in layer.styles]
    scores = {(judge, style): layer.scores(judge, style) for judge in layer.judges for style in layer.styles}
    most = None if layer.statistics is None else layer.statistics.most.tolist()
    for row, unit in enumerate(layer.units.tolist()):
        for style in styles:
            for sample in range(style.samples):
                where = (row, sample)
                judged: list[object] = []
                for judge in layer.judges:
                    seen = scores[judge, style.style]
                    judged += [""] * len(JUDGED) if seen is None else [
                        seen.name(int(seen.top1[where])) if seen.top1[where] >= 0 else "",
                        float(seen.target_probability[where]),
                        int(seen.target_rank[where]),
                    ]  # fmt: skip
                yield (
                    layer.name,
                    unit,
                    layer.labels[row],
                    style.style,
                    sample,
                    style.status[row][sample].name,
                    float(style.activation[where]),
                    float(style.activation_float[where]),
                    int(style.best_step[where]),
                    int(style.attempt[where]),
                    *(() if most is None else (most[row], ratio(float(style.activation[where]), most[row]))),
                    *judged,
                )


def ratio(activation: float, most: float) -> float:
    """A picture's activation over the largest in any image; NaN where that is not above zero, and says nothing."""
    return activation / most if most > 0 else math.nan


def _hits(tops: Iterable[Tops]) -> Iterator[tuple[object, ...]]:
    for kind in tops:
        layer = kind.group.parent.parent
        name, labels = layer.attrs["layer"], layer["units/label"].asstr()[...].tolist()
        for row, unit in enumerate(kind.units.tolist()):
            for hit in kind.of(row).hits:
                where = (*hit.position, *hit.window, *hit.original)
                about = (hit.rank, hit.activation, hit.number, hit.key, hit.class_name)
                spaced = math.nan if hit.quantile is None else hit.quantile
                yield (name, unit, labels[row], kind.kind, *about, *where, spaced)


def _statistics(statistics: Statistics) -> tuple[list[str], list[tuple[object, ...]]]:
    """Names and rows: every stored array with one number a unit, then the quantiles."""
    layer, stored = statistics.group.parent, statistics.group
    columns: dict[str, Sequence[object]] = {
        "layer": [layer.attrs["layer"]] * len(statistics.units),
        "unit": statistics.units.tolist(),
        "label": layer["units/label"].asstr()[...].tolist(),
    }
    for field in format.STATISTICS.fields:
        if field.name in stored and field.axes == ("unit",):
            columns[field.name] = stored[field.name][...].tolist()
        elif field.name in stored and field.axes == ("unit", "quantile"):
            for at, level in enumerate(statistics.quantile.tolist()):
                columns[f"{field.name.removesuffix('s')}_{level:.4g}"] = stored[field.name][:, at].tolist()
    return list(columns), list(zip(*columns.values(), strict=True))


def _write(path: Path, names: Iterable[str], lines: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(["" if value != value else value for value in line] for line in lines)
    return path
