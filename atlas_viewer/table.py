"""An atlas's numbers as tables: CSV, pandas, xarray."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from atlas_viewer import format
from atlas_viewer.evidence.climb import Climb

if TYPE_CHECKING:
    from atlas_viewer.evidence.statistics import Statistics
    from atlas_viewer.evidence.tops import Tops
    from atlas_viewer.layer import Layer

AnyClimb = TypeVar("AnyClimb", bound=Climb)

COLUMNS = ("layer", "unit", "label", "style", "sample", "status")
COLUMNS += ("activation", "activation_float", "best_step", "attempt")
JUDGED = ("top1", "target_probability", "target_rank")
COMPARED = ("image_max", "ratio")  # where images were looked at: the largest activation there, and the picture's to it
SEARCHED = ("layer", "unit", "label", "search", "prior", "sample", "status", "activation", "activation_float")
SEARCHED += ("best_activation", "best_activation_float", "best_step", "attempt", "code_norm")
HIT = ("layer", "unit", "label", "kind", "rank", "activation", "number", "key", "class", "row", "column")
SIDES = ("top", "left", "bottom", "right")
HIT += (*(f"window_{side}" for side in SIDES), *(f"original_{side}" for side in SIDES), "quantile")


def write_csv(layer: Layer, path: Path) -> Path:
    """Write a line a picture; a judge's columns are named judge:what. NaN stays empty."""
    return _write(path, columns(layer), rows(layer))


def write_searches_csv(layer: Layer, path: Path) -> Path:
    """Write a line a picture of a search of a prior's codes, with a judge's columns as above. NaN stays empty."""
    return _write(path, (*SEARCHED, *_further(layer)), _searches(layer))


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


def dataset(layer: Layer, name: str) -> Any:
    """An xarray.Dataset of the arrays of a style, or of a search; units by number and label, samples by number."""
    import numpy
    import xarray

    pictures = layer.search(name) if name in layer.searches else layer.pictures(name)
    arrays = {}
    for field in pictures.kind.fields:
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
    kind = "search" if name in layer.searches else "style"
    about = {"network": layer.atlas.cited, "layer": layer.name, kind: name, "measure": pictures.measure}
    return xarray.Dataset(arrays, coordinates, about | pictures.numbers)


def columns(layer: Layer) -> tuple[str, ...]:
    """The names of the columns, a judge's after the common ones."""
    return COLUMNS + _further(layer)


def _further(layer: Layer) -> tuple[str, ...]:
    """What a picture is compared with: the best image, where images were looked at, and what each judge says."""
    judged = tuple(f"{judge}:{what}" for judge in layer.judges for what in JUDGED)
    return (COMPARED if layer.statistics is not None else ()) + judged


def rows(layer: Layer) -> Iterator[tuple[object, ...]]:
    """The rows in the order unit, style, sample."""
    styles = [layer.pictures(style) for style in layer.styles]
    for style, where, further in _places(layer, styles):
        yield (
            *(layer.name, int(layer.units[where[0]]), layer.labels[where[0]], style.style, where[1]),
            *(style.status[where[0]][where[1]].name, float(style.activation[where])),
            *(float(style.activation_float[where]), int(style.best_step[where]), int(style.attempt[where])),
            *further,
        )


def _searches(layer: Layer) -> Iterator[tuple[object, ...]]:
    """The rows in the order unit, search, sample."""
    searches = [layer.search(name) for name in layer.searches]
    for search, where, further in _places(layer, searches):
        yield (
            *(layer.name, int(layer.units[where[0]]), layer.labels[where[0]], search.name, search.prior, where[1]),
            *(search.status[where[0]][where[1]].name, float(search.activation[where])),
            *(float(search.activation_float[where]), float(search.best_activation[where])),
            *(float(search.best_activation_float[where]), int(search.best_step[where]), int(search.attempt[where])),
            float(search.code_norm[where]),
            *further,
        )


def _places(layer: Layer, climbs: Sequence[AnyClimb]) -> Iterator[tuple[AnyClimb, tuple[int, int], tuple[object, ...]]]:
    """Every picture of these, unit by unit: whose it is, its place, and what stands in the further columns."""
    scores = {climb.path: {seen.judge: seen for seen in layer.judged(climb)} for climb in climbs}
    most = None if layer.statistics is None else layer.statistics.most.tolist()
    for row in range(len(layer)):
        for climb in climbs:
            for sample in range(climb.samples):
                where = (row, sample)
                further: list[object] = []
                if most is not None:
                    further += [most[row], ratio(float(climb.activation[where]), most[row])]
                for judge in layer.judges:
                    seen = scores[climb.path].get(judge)
                    further += [""] * len(JUDGED) if seen is None else [
                        seen.name(int(seen.top1[where])) if seen.top1[where] >= 0 else "",
                        float(seen.target_probability[where]),
                        int(seen.target_rank[where]),
                    ]  # fmt: skip
                yield climb, where, tuple(further)


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
