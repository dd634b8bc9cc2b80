"""How well pictures of a unit show what excites it, and how a judge's view of them follows activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.interpretability import BOTH, NATURAL, NOISE, Interpretability, reading_order
from atlas_viewer.layer import Layer, Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.packing import UnitSprite
from atlas_viewer.site.pieces import Panel


@dataclass(frozen=True)
class Told:
    """One kind of pictures: the score, and its bar in percent as CSS wants it."""

    name: str
    about: str
    score: str
    width: str


@dataclass(frozen=True)
class Judge:
    """The scores of one judge, and how they were computed in words."""

    name: str
    about: str
    bars: tuple[Told, ...]
    why: str


@dataclass(frozen=True)
class Evidence:
    """What the panel shows. correlations : for each judge of class pictures, its name and a sentence."""

    judges: tuple[Judge, ...]
    correlations: tuple[tuple[str, str], ...]


class InterpretabilityPanel(Panel):
    """The machine interpretability scores of a unit."""

    order = 25
    template = "panels/interpretability.html"

    def contents(self, outline: Outline, shown: Evidence) -> Sequence[tuple[str, str]]:
        """The scores."""
        return [("interpretability", "interpretability" if shown.judges else "recognition")]

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> Evidence | None:
        """A bar for each kind of pictures; None without scores and correlations."""
        judges = tuple(_judge(scores, unit.row, outline.noun) for scores in unit.layer.interpretability.values())
        correlations = _correlations(unit.layer, unit.row)
        return Evidence(judges, correlations) if judges or correlations else None


def picture_name(pictures: str, noun: str) -> str:
    """A kind of pictures in words."""
    words = {NATURAL: f"best {noun}s", BOTH: "best and least", NOISE: "random pixels"}
    return words.get(pictures, pictures.partition("/")[2])


def extreme_images(scores: Interpretability, noun: str) -> str:
    """Which images the trials use, in words."""
    count = captions.thousands(scores.extremes)
    return f"{noun}s are the {count} most and the {count} least exciting of {captions.thousands(scores.images)}"


def _judge(scores: Interpretability, row: int, noun: str) -> Judge:
    bars = []
    for pictures in reading_order(scores.pictures):
        place = scores.pictures.index(pictures)
        score, accuracy = float(scores.score[row, place]), float(scores.accuracy[row, place])
        if np.isfinite(score):
            about = f"{pictures}: right in {captions.percent(accuracy)} of {captions.count(scores.trials, 'trial')}"
            name, width = picture_name(pictures, noun), f"{100 * score:.1f}%"
            bars.append(Told(name, about, captions.number(score), width))
    why = "" if bars else f"Its largest activation is the same in all {noun}s, or there are too few of them."
    about = (
        f"{captions.count(scores.trials, 'trial')} with at most {captions.count(scores.shown, 'picture')}; similarity "
        f"by {scores.embedding} of {scores.judge}; {extreme_images(scores, noun)}"
    )
    return Judge(scores.judge, about, tuple(bars), why)


def _correlations(layer: Layer, row: int) -> tuple[tuple[str, str], ...]:
    found = layer.judge_correlations
    return tuple(
        (judge, f"{captions.signed(float(values[row]))} over {captions.count(int(counts[row]), 'picture')}")
        for judge, (values, counts) in found.items()
        if np.isfinite(values[row])
    )
