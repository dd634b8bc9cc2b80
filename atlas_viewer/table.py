"""An atlas's numbers as tables: CSV, pandas, xarray."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas_viewer import format

if TYPE_CHECKING:
    from atlas_viewer.atlas import Layer

COLUMNS = ("layer", "unit", "label", "style", "sample", "status")
COLUMNS += ("activation", "activation_float", "best_step", "attempt")
JUDGED = ("top1", "target_probability", "target_rank")


def write_csv(layer: Layer, path: Path) -> Path:
    """Write a line a picture; a judge's columns are named judge:what. NaN stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns(layer))
        writer.writerows(["" if value != value else value for value in row] for row in rows(layer))
    return path


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
    return COLUMNS + tuple(f"{judge}:{what}" for judge in layer.judges for what in JUDGED)


def rows(layer: Layer) -> Iterator[tuple[object, ...]]:
    """The rows in the order unit, style, sample."""
    styles = [layer.pictures(style) for style in layer.styles]
    scores = {(judge, style): layer.scores(judge, style) for judge in layer.judges for style in layer.styles}
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
                    *judged,
                )
