"""Machine interpretability scores: how well pictures of a unit tell its most from its least exciting images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.field import Attribute, Field, Group, subgroups
from atlas_viewer.table import write

if TYPE_CHECKING:
    from atlas_viewer.layer import Layer

INTERPRETABILITY = Group(
    "/layers/<layer>/interpretability/<judge>",
    "machine interpretability scores (Zimmermann et al. 2024): whether a network, the judge, can tell the images that "
    "excite a unit most from those that excite it least, by pictures of the unit",
    (
        Attribute("judge", "text", "original name of the network whose values compare pictures"),
        Attribute("judge_digest", "text", "SHA-256 of its definition and weights, in hexadecimal"),
        Attribute("embedding", "text", "its layer whose values are compared"),
        Attribute("images", "int", "images of the dataset among which the extreme ones were found"),
        Attribute("trials", "int", "trials of a unit"),
        Attribute("shown", "int", "pictures shown in a trial, or fewer where a unit has fewer"),
        Attribute("temperature", "float", "difference of similarities that counts as 1 in the log-odds"),
        Attribute("seed", "int", "seed of the draw of the trials, and of noise"),
        Attribute("asked", "text", "SHA-256 of the request, pictures included"),
        Attribute("revision", "int", "revision of the program that computed the scores"),
    ),
    (
        Field("pictures", "text", ("pictures",),
              "what is shown: natural (patches of the most exciting images), natural_both (also patches of the least "
              "exciting ones, as in the paper), noise (pixels at random, for comparison), or pictures of this layer"),
        Field("score", "f4", ("unit", "pictures"),
              "mean probability of the right answer; NaN for a unit that does not vary, or without such pictures",
              "probability"),
        Field("accuracy", "f4", ("unit", "pictures"), "share of the trials with the right answer; ties count half",
              "share"),
    ),
    required=False,
)  # fmt: skip
GROUPS = (INTERPRETABILITY,)

NATURAL, BOTH, NOISE = "natural", "natural_both", "noise"
CHANCE = 0.5
COLUMNS = ("layer", "unit", "label", "judge", "pictures", "score", "accuracy")


@dataclass(frozen=True)
class Interpretability:
    """The scores of a layer by one judge. Arrays begin with (unit, pictures)."""

    group: h5py.Group

    @classmethod
    def of(cls, layer: Layer) -> dict[str, Interpretability]:
        """The scores of a layer, by the judge's original name."""
        return {str(group.attrs["judge"]): cls(group) for group in subgroups(layer.group, "interpretability")}

    @property
    def judge(self) -> str:
        """The original name of the network that compares pictures."""
        return str(self.group.attrs["judge"])

    @property
    def embedding(self) -> str:
        """Its layer whose values are compared."""
        return str(self.group.attrs["embedding"])

    @property
    def images(self) -> int:
        """Images among which the most and the least exciting ones were found."""
        return int(self.group.attrs["images"])

    @property
    def trials(self) -> int:
        """Trials of a unit."""
        return int(self.group.attrs["trials"])

    @property
    def shown(self) -> int:
        """Pictures shown in a trial at most."""
        return int(self.group.attrs["shown"])

    @property
    def extremes(self) -> int:
        """So many of the images that excite a unit most, and of those that excite it least, are used by its trials."""
        return self.trials * (1 + self.shown)

    @property
    def temperature(self) -> float:
        """The difference of similarities that counts as 1 in the log-odds."""
        return float(self.group.attrs["temperature"])

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """What is shown: natural, natural_both, noise, and pictures by their path in the layer."""
        return tuple(self.group["pictures"].asstr()[...])

    @cached_property
    def score(self) -> np.ndarray:
        """(unit, pictures) mean probability of the right answer; NaN where a unit was not scored."""
        return self.group["score"][...]

    @cached_property
    def accuracy(self) -> np.ndarray:
        """(unit, pictures) share of the trials with the right answer."""
        return self.group["accuracy"][...]

    def of_pictures(self, pictures: str) -> np.ndarray:
        """(unit,) scores of one kind of pictures; NaN without them."""
        if pictures not in self.pictures:
            return np.full(len(self.score), np.nan, np.float32)
        return self.score[:, self.pictures.index(pictures)]

    def mean(self, pictures: str) -> float:
        """Mean score of the layer's units that have one; NaN without any."""
        return _mean(self.of_pictures(pictures))

    def right(self, pictures: str) -> float:
        """Mean share of right answers of the layer's units that have a score; NaN without any."""
        if pictures not in self.pictures:
            return np.nan
        return _mean(self.accuracy[:, self.pictures.index(pictures)])


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def reading_order(pictures: Iterable[str]) -> tuple[str, ...]:
    """Kinds of pictures, each once: natural ones, styles, runs, and noise, with which the others are compared."""
    place = {NATURAL: 0, BOTH: 1, NOISE: 3}
    return tuple(sorted(set(pictures), key=lambda name: (place.get(name, 2), name)))


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between the scores of an open file and the units and pictures of their layer."""
    for scores in INTERPRETABILITY.within(file):
        layer = file["/".join(scores.name.split("/")[:3])]
        if not np.array_equal(scores["unit"][...], layer["units/unit"][...]):
            yield f"{scores.name}: its units are not those of the layer"
        for path in scores["pictures"].asstr()[...]:
            if path not in (NATURAL, BOTH, NOISE) and path not in layer:
                yield f"{scores.name}: pictures {path!r} are missing"
        for name in ("score", "accuracy"):
            values = scores[name][...]
            if values.size and not ((values >= 0) & (values <= 1) | np.isnan(values)).all():
                yield f"{scores.name}/{name}: outside 0 to 1"


def write_tables(layer: Layer, folder: Path) -> Iterator[Path]:
    """Write <layer>.interpretability.csv, one line per unit and kind of pictures, where the layer has scores."""
    found = Interpretability.of(layer)
    if found:
        yield write(folder / f"{layer.key}.interpretability.csv", COLUMNS, _rows(layer, found))


def _rows(layer: Layer, found: dict[str, Interpretability]) -> Iterator[tuple[object, ...]]:
    for row, unit in enumerate(layer.units.tolist()):
        for judge, scores in found.items():
            for place, pictures in enumerate(scores.pictures):
                where = (row, place)
                about = (layer.name, unit, layer.labels[row], judge, pictures)
                yield (*about, float(scores.score[where]), float(scores.accuracy[where]))
