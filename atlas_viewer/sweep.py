"""A style search of one layer: its settings row by row and ranked, how each was judged, and how to ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from atlas_viewer.evidence.ascent import Pictures, Scores, SweepPlace
from atlas_viewer.layer import Layer

AXES = ("decay", "blur", "norm", "contribution")  # in the order of the rows of Yosinski et al. 2015, figure 3
NONE, RANDOM = "none", "random"
REGULARIZERS = (
    "decay", "blur_radius", "blur_every", "small_val_percentile", "small_norm_percentile", "px_benefit_percentile",
    "px_abs_benefit_percentile",
)  # fmt: skip
STEPS = {  # the numbers that each policy of steps reads
    "constant": ("rate",),
    "progress": ("max_rate", "desired_progress"),
    "progress01": ("max_rate", "early_progress", "late_progress_factor"),
    "scale_free": ("step_start", "step_end"),
}
CLIMB = ("max_iter", "start_image", "keep", "keep_from")


@dataclass(frozen=True)
class Score:
    """How one judge found the pictures of one setting.

    mean : of the target's probability over all pictures that were asked for, one that is not there counting 0.
    first : share of them whose first class is the target. probability : (unit, sample), NaN where none was judged.
    """

    mean: float
    first: float
    probability: np.ndarray


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of a search. place : where it stands. scores : by the judge's name."""

    pictures: Pictures
    place: SweepPlace
    scores: dict[str, Score]

    @property
    def name(self) -> str:
        """The name of its style."""
        return self.pictures.style

    @property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """All numbers of its style, by name."""
        return self.pictures.numbers

    @property
    def activation(self) -> float:
        """The mean activation of its pictures; NaN without any."""
        there = self.pictures.activation[self.pictures.there]
        return float(there.mean()) if there.size else np.nan

    @property
    def override(self) -> str:
        """The words that make an ordinary style of it, for `make atlas ARGS="…"`."""
        style, numbers = f"style.{self.place.base}", self.numbers
        wanted = (*REGULARIZERS, "policy", *STEPS.get(str(numbers.get("policy")), ()), *CLIMB)
        words = [f"{style}.{name}={numbers[name]}" for name in wanted if name in numbers]
        about = [f"styles=[{self.place.base}]", f"{style}.name=like_{self.name}"]
        return " ".join([*about, *words, f"{style}.direction={self.pictures.direction}"])


class Sweep:
    """The style search of a layer; every list is empty where there was none."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.settings = tuple(self._setting(layer.pictures(name)) for name in layer.searched)

    def _setting(self, pictures: Pictures) -> Setting:
        judged = {judge: self.layer.scores(judge, pictures.style) for judge in self.layer.judges}
        scores = {judge: _score(pictures, found) for judge, found in judged.items() if found is not None}
        return Setting(pictures, pictures.sweep, scores)

    def row(self, axis: str) -> tuple[Setting, ...]:
        """The settings that raise one regularizer, weakest first; the one without any before them."""
        chosen = [setting for setting in self.settings if setting.place.axis in (NONE, axis)]
        return tuple(sorted(chosen, key=lambda setting: setting.place.place))

    @cached_property
    def units(self) -> tuple[int, ...]:
        """The rows of the layer's units that the search is about."""
        asked = [setting.pictures.asked.any(axis=1) for setting in self.settings]
        return tuple(np.flatnonzero(np.any(asked, axis=0)).tolist()) if asked else ()

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """Who scored, the atlas's own network first."""
        found = {judge for setting in self.settings for judge in setting.scores}
        return tuple(sorted(found, key=lambda judge: (judge != self.layer.atlas.model, judge)))

    @property
    def judge(self) -> str | None:
        """Whose score ranks the settings: one that took no part in making the pictures, else the network; or None."""
        return self.judges[-1] if self.judges else None

    @cached_property
    def ranked(self) -> tuple[Setting, ...]:
        """All settings, those that the judge finds best first; in their own order where nobody judged."""
        return self._ranked(self.settings)

    @cached_property
    def draws(self) -> tuple[Setting, ...]:
        """The random settings in that order."""
        return self._ranked([setting for setting in self.settings if setting.place.axis == RANDOM])

    def _ranked(self, settings: list[Setting] | tuple[Setting, ...]) -> tuple[Setting, ...]:
        return tuple(sorted(settings, key=lambda one: (-self.worth(one), one.place.axis, one.place.place)))

    def worth(self, setting: Setting) -> float:
        """What the ranking judge's score of a setting is; -1 where it has none."""
        score = setting.scores.get(self.judge) if self.judge is not None else None
        return -1.0 if score is None else score.mean


def _score(pictures: Pictures, judged: Scores) -> Score:
    asked = pictures.asked & (judged.target >= 0)[:, None]
    probability = np.where(judged.target_rank >= 0, judged.target_probability, np.nan)
    count = max(int(asked.sum()), 1)
    return Score(
        mean=float(np.nansum(np.where(asked, probability, np.nan))) / count,
        first=float((asked & (judged.target_rank == 0)).sum()) / count,
        probability=probability,
    )
