"""Numbers as tables: CSV lines, the columns in which pictures are compared, xarray."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from atlas_viewer.extras import require

if TYPE_CHECKING:
    from atlas_viewer.evidence.climb import Climb
    from atlas_viewer.layer import Layer

    AnyClimb = TypeVar("AnyClimb", bound=Climb)

JUDGED = ("top1", "target_probability", "target_rank")
COMPARED = ("image_max", "ratio")  # with a dataset: the largest activation in any image, and the picture's share of it


def write(path: Path, names: Iterable[str], lines: Iterable[Sequence[object]]) -> Path:
    """Write a CSV file and return its path. NaN stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(["" if value != value else value for value in line] for line in lines)
    return path


def comparison_names(layer: Layer) -> tuple[str, ...]:
    """The columns that compare a picture: with the best image, where a dataset was evaluated, and by each judge."""
    judged = tuple(f"{judge}:{what}" for judge in layer.judges for what in JUDGED)
    return (COMPARED if layer.statistics is not None else ()) + judged


def pictures_in_order(
    layer: Layer, climbs: Sequence[AnyClimb]
) -> Iterator[tuple[AnyClimb, tuple[int, int], tuple[object, ...]]]:
    """Yield every picture, unit by unit: its style or run, its row and sample, and its values in `comparison_names`."""
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
    """A picture's activation over the largest in any image; NaN where that is not above zero."""
    return activation / most if most > 0 else math.nan


def arrays(layer: Layer, climb: Climb) -> Any:
    """An xarray.Dataset of the arrays of a style or run; units by number and label, samples by number."""
    require("xarray", "to_xarray")
    import numpy
    import xarray

    read = {}
    for field in climb.kind.fields:
        if field.name in climb.group and not field.is_coordinate and not field.digest_of:
            values = field.read(climb.group[field.name])
            read[field.name] = xarray.Variable(field.axes, values, {"meaning": field.meaning, "units": field.measure})
    coordinates = {
        "unit": layer.units,
        "label": ("unit", numpy.array(layer.labels, dtype=object)),
        "sample": numpy.arange(climb.samples),
        "rgb": ["red", "green", "blue"],
    }
    setting = climb.kind.path.rsplit("/", 1)[1].strip("<>")  # "style" or "run"
    about = {"network": layer.atlas.cited, "layer": layer.name, setting: climb.name, "measure": climb.measure}
    return xarray.Dataset(read, coordinates, about | climb.numbers)
