"""The sweep of a layer: its settings along each axis and ranked, their scores, and the overrides that reproduce one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.climb import NONE, RANDOM, Climb, SweepPlace
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.numbers import Number, Value, effective, word
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.layer import Layer

ASCENT, DGN = METHODS = "ascent", "dgn"


@dataclass(frozen=True)
class Score:
    """How one judge rates the pictures of one setting.

    mean : mean probability of the target over all pictures that were asked for; a missing one counts as 0.
    first : share of them whose top-1 class is the target.
    probability : (unit, sample), NaN where no picture was judged.
    """

    mean: float
    first: float
    probability: np.ndarray


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of a sweep.

    pictures : its style, or its run.
    place : its place in the sweep.
    table : the hyperparameters of the method, in their order.
    scores : by the judge's name.
    """

    pictures: Climb
    place: SweepPlace
    table: tuple[Number, ...]
    scores: dict[str, Score]

    @property
    def name(self) -> str:
        """The name of its style or run."""
        return self.pictures.name

    @property
    def numbers(self) -> dict[str, Value]:
        """All its values, by name."""
        return self.pictures.numbers

    @cached_property
    def read(self) -> dict[Number, Value]:
        """The hyperparameters of the table that decide its pictures, with their values."""
        return effective(self.table, self.numbers)

    @property
    def active(self) -> dict[str, Value]:
        """The values that can be switched off and are not, by name."""
        return {n.name: value for n, value in self.read.items() if n.neutral and not n.is_neutral(value)}

    @property
    def activation(self) -> float:
        """The mean activation of its pictures; NaN without any."""
        stored = self.pictures.activation[self.pictures.there]
        return float(stored.mean()) if stored.size else np.nan

    @property
    def override(self) -> str:
        """The override that makes an ordinary style or run from it, for `make atlas ARGS="…"`."""
        base, values = self.place.base, [f"{number.name}={word(value)}" for number, value in self.read.items()]
        if isinstance(self.pictures, Run):
            variant = f"+dgn.variants.like_{self.name.removeprefix(f'{base}-')}"
            return " ".join([f"priors=[{base}]", *(f"{variant}.{value}" for value in values)])
        style = f"style.{base}"
        words = [f"styles=[{base}]", f"{style}.name=like_{self.name}", *(f"{style}.{value}" for value in values)]
        return " ".join([*words, f"{style}.direction={self.pictures.direction}"])


class Sweep:
    """The sweep of a layer by one method; every list is empty where there was none."""

    def __init__(self, layer: Layer, method: str = ASCENT) -> None:
        self.layer, self.method = layer, method
        self.table = Number.of(layer.atlas, method)
        climbs: dict[str, Climb] = {ASCENT: Pictures.of, DGN: Run.of}[method](layer)
        self.settings = tuple(self._setting(climb) for climb in climbs.values() if climb.sweep is not None)

    def _setting(self, pictures: Climb) -> Setting:
        scores = {judged.judge: _score(pictures, judged) for judged in self.layer.judged(pictures)}
        return Setting(pictures, pictures.sweep, self.table, scores)

    @cached_property
    def axes(self) -> dict[str, tuple[Number, ...]]:
        """The hyperparameters that the sweep raises along each axis, the leading one first; in table order."""
        axes: dict[str, tuple[Number, ...]] = {}
        for number in self.table:
            if number.axis:
                axes[number.axis] = (*axes.get(number.axis, ()), number)
        return axes

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The styles or priors that were swept."""
        return tuple(sorted({setting.place.base for setting in self.settings}))

    def row(self, axis: str, base: str | None = None) -> tuple[Setting, ...]:
        """The settings that raise one axis of a base (by default the first), weakest first.

        The setting without any regularizer comes before them, unless the axis is not a regularizer.
        """
        base = self.bases[0] if base is None and self.bases else base
        among = (NONE, axis) if self.axes[axis][0].neutral else (axis,)
        chosen = [each for each in self.settings if each.place.axis in among and each.place.base == base]
        return tuple(sorted(chosen, key=lambda setting: setting.place.place))

    @cached_property
    def units(self) -> tuple[int, ...]:
        """The rows of the layer's units that were swept."""
        asked = [setting.pictures.asked.any(axis=1) for setting in self.settings]
        return tuple(np.flatnonzero(np.any(asked, axis=0)).tolist()) if asked else ()

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """The judges, the atlas's own network first."""
        names = {judge for setting in self.settings for judge in setting.scores}
        return tuple(sorted(names, key=lambda judge: (judge != self.layer.atlas.model, judge)))

    @property
    def judge(self) -> str | None:
        """The judge that ranks: one that was not used to make the pictures, else the network; None without any."""
        return self.judges[-1] if self.judges else None

    @cached_property
    def ranked(self) -> tuple[Setting, ...]:
        """All settings, the best by the judge first; in their own order without a judge."""
        return self._ranked(self.settings)

    @cached_property
    def draws(self) -> tuple[Setting, ...]:
        """The random settings in that order."""
        return self._ranked(setting for setting in self.settings if setting.place.axis == RANDOM)

    def _ranked(self, settings: Iterable[Setting]) -> tuple[Setting, ...]:
        return tuple(sorted(settings, key=lambda one: (-self.rank_score(one), one.place.axis, one.place.place)))

    def rank_score(self, setting: Setting) -> float:
        """The ranking judge's score of a setting; -1 where it has none."""
        score = setting.scores.get(self.judge) if self.judge is not None else None
        return -1.0 if score is None else score.mean


def _score(pictures: Climb, judged: Scores) -> Score:
    asked = pictures.asked & (judged.target >= 0)[:, None]
    probability = np.where(judged.target_rank >= 0, judged.target_probability, np.nan)
    count = max(int(asked.sum()), 1)
    return Score(
        mean=float(np.nansum(np.where(asked, probability, np.nan))) / count,
        first=float((asked & (judged.target_rank == 0)).sum()) / count,
        probability=probability,
    )
