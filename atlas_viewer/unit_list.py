"""All units of an atlas as one table: a row for each, with its best activations, the dataset's maximum and scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.extras import require
from atlas_viewer.field import Status

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.layer import Layer

STATUS_NAMES = np.array([status.name for status in sorted(Status)], dtype=object)
FIRST = ("layer", "unit", "label", "status", "dead", "image_max", "active_images", "best", "ratio")


def unit_frame(atlas: Atlas) -> Any:
    """A pandas.DataFrame with a row for each unit, layer by layer, unit by unit. Settings of a sweep are left out.

    layer, unit, label, status : as in the file; the name of the status.
    dead : whether no image activates the unit, or it never varies; missing (NA) without a dataset.
    image_max : the largest activation in any image of the dataset.
    active_images : the share of the images that activate it.
    best : the largest activation of its pictures of all settings that maximize.
    ratio : best over image_max; NaN where that is not above zero.
    METHOD/SETTING : the activation of its best picture by one setting, as in ascent/low_frequency.
    METHOD/SETTING:ratio : the same over image_max, for settings that maximize.
    METHOD/SETTING:JUDGE:top1_rate : the share of its pictures whose first class the judge says is the unit's.
    METHOD/SETTING:JUDGE:target_probability : the mean probability that the judge gives the unit's class.
    PICTURES:JUDGE:interpretability : the machine interpretability score; PICTURES are natural, natural_both, noise, or
        METHOD/SETTING.
    JUDGE:correlation : rank correlation of the activations of its pictures with the probability of its class.
    Numbers that an atlas does not have of a layer are NaN.
    Raises MissingError without pandas.
    """
    require("pandas", "units")
    import pandas

    parts = [_columns(layer) for layer in atlas]
    lengths = [len(part["unit"]) for part in parts]
    names = dict.fromkeys([*FIRST, *sorted(name for part in parts for name in part if name not in FIRST)])
    table = {}
    for name in names:
        values = [part.get(name) for part in parts]
        blank = "" if name in ("layer", "label", "status") else np.nan
        full = [np.full(n, blank) if value is None else value for n, value in zip(lengths, values, strict=True)]
        table[name] = np.concatenate(full) if full else np.zeros(0)
    dead = table["dead"].astype(float)
    table["dead"] = pandas.arrays.BooleanArray(dead == 1, np.isnan(dead))
    return pandas.DataFrame(table)


def _columns(layer: Layer) -> dict[str, np.ndarray]:
    """The columns of one layer, by name."""
    count = len(layer)
    columns = {
        "layer": np.full(count, layer.name, dtype=object),
        "unit": layer.units,
        "label": np.array(layer.labels, dtype=object),
        "status": STATUS_NAMES[layer.group["units/status"][...]],
    }
    most = np.full(count, np.nan)
    if layer.statistics is not None:
        most = layer.statistics.most
        columns |= {"image_max": most, "dead": layer.statistics.dead, "active_images": layer.statistics.active_images}
    best = np.full(count, np.nan)
    for method, climbs in (("ascent", layer.ascent), ("dgn", layer.dgn)):
        for name, climb in climbs.items():
            if climb.sweep is None:
                reached, path = _best(climb), f"{method}/{name}"
                columns[path] = reached
                if climb.direction != "minimize":
                    columns[f"{path}:ratio"] = _ratio(reached, most)
                    best = np.fmax(best, reached)
                columns.update((f"{path}:{judged}", values) for judged, values in _judged(layer, climb))
    for judge, scores in layer.interpretability.items():
        columns |= {f"{name}:{judge}:interpretability": scores.of_pictures(name) for name in scores.pictures}
    columns |= {f"{judge}:correlation": values for judge, (values, _) in layer.judge_correlations.items()}
    return columns | {"best": best, "ratio": _ratio(best, most)}


def _best(climb: Climb) -> np.ndarray:
    """(unit,) the activation of each unit's best picture; NaN without one."""
    sample = climb.best_sample
    return np.where(sample >= 0, climb.activation[np.arange(len(sample)), sample], np.nan)


def _ratio(reached: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Activations over the dataset's maxima, NaN where one is not above zero."""
    return np.divide(reached, most, out=np.full(len(reached), np.nan), where=most > 0)


def _judged(layer: Layer, climb: Climb) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the column of each judge's scores, over the pictures that it judged."""
    for seen in layer.judged(climb):
        judged = (seen.top1 >= 0) & (seen.target >= 0)[:, None]
        count = judged.sum(axis=1)
        for name, values in {
            "top1_rate": seen.target_rank == 0,
            "target_probability": seen.target_probability,
        }.items():
            total = np.where(judged, values, 0).sum(axis=1, dtype=float)
            yield f"{seen.judge}:{name}", np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
