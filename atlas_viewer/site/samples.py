"""The numbers and words under one picture of a unit: the same for styles and for runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site import captions, figures
from atlas_viewer.site.packing import Place, UnitSprite
from atlas_viewer.site.sprites import thumb_size, thumbs

COLUMNS = 5  # pictures side by side on a wide screen; of more, the best is shown large and the others small
LARGE, SMALL = 228, 112  # pixels: longest side of the best picture, and of the others
ACTIVATION = (  # without its end: which step the dot marks
    "The number under each picture is the unit’s activation for exactly the stored pixels, measured again after "
    "rounding to 8 bits. The curve is the unit’s activation during the ascent, with one scale per style or run; the "
    "dot marks the "
    "step"
)


@dataclass(frozen=True)
class Reached:
    """An activation, and its ratio to the dataset's best.

    below : whether that image excites the unit more.
    """

    activation: str
    ratio: str
    below: bool
    activation_float: str


@dataclass(frozen=True)
class Facts:
    """The facts about one picture.

    stopped : at which step the climb stopped before its end, in words, or empty.
    trace : of the ascent, as a figure.
    """

    number: int
    alt: str
    best: bool
    best_step: int
    start: str
    why: str
    stopped: str
    trace: Markup
    verdicts: tuple[str, ...]


def columns(samples: int) -> int:
    """Pictures of a panel that stand side by side."""
    return min(max(samples, 3), COLUMNS)


def are_many(samples: int, full: bool) -> bool:
    """Whether a panel shows its best picture large and the others small."""
    return samples > COLUMNS and not full


def in_order(made: Climb, row: int) -> list[int]:
    """The samples of a unit as a panel shows them: the best one first."""
    best = int(made.best_sample[row])
    return sorted(range(made.samples), key=lambda sample: sample != best)


def add_pictures(
    sprite: UnitSprite, made: Climb, row: int, forms: Mapping[str, np.ndarray], true: Sequence[str] = ()
) -> dict[int, Place]:
    """Add the pictures of a unit at the sizes at which a panel shows them; the place of each that exists.

    forms : uint8 (sample, y, x, rgb) by form.
    true : for each sample, the matrix that turns it into true colours.
    """
    large, small = (made.size,) * 2 if sprite.full else tuple(thumb_size(made.size, side) for side in (LARGE, SMALL))
    there = [sample for sample in in_order(made, row) if made.there[row, sample]]
    first = len(there) if not are_many(made.samples, sprite.full) else 1
    places: dict[int, Place] = {}
    for chosen, size in ((there[:first], large), (there[first:], small)):
        drawn = {form: thumbs(pictures[chosen], size) for form, pictures in forms.items()}
        places |= zip(chosen, sprite.add(drawn, [true[sample] for sample in chosen] if true else ()), strict=True)
    return places


def reached(value: float, unrounded: float, most: float, noun: str) -> Reached:
    """An activation as it is shown; most : the dataset's best of the unit, NaN where there is none."""
    return Reached(
        activation=captions.number(value),
        ratio=captions.ratio(value, most, noun),
        below=bool(value < most),
        activation_float=captions.number(unrounded),
    )


def facts(layer: Layer, made: Pictures | Run, judged: Sequence[Scores], where: tuple[int, int], made_by: str) -> Facts:
    """The facts about the picture at `where`, row and sample.

    made_by : the style or run, in words.
    """
    row, number = where
    status, best_step, activation = made.status[row][number], int(made.best_step[where]), float(made.activation[where])
    traces = made.trace[row]
    fine = traces[np.isfinite(traces)]
    ends = (float(fine.min()), float(fine.max())) if fine.size else (0.0, 0.0)  # one scale for all samples
    start = captions.start(made.seed, int(made.attempt[where]))
    return Facts(
        number=number,
        alt=f"sample {number}, seed {start}, activation {captions.number(activation)}",
        best=bool(made.there[where]) and number == made.best_sample[row],
        best_step=best_step,
        start=start,
        why="" if status is Status.ok else captions.why(status, made.reason[row]),
        stopped=captions.stopped(made.stopped_at(where)),
        trace=figures.trace(made.trace_step.tolist(), traces[number].tolist(), *ends, best_step),
        verdicts=tuple(filter(None, (captions.verdict(scores, row, number) for scores in judged))),
    )


def rates(judged: Sequence[Scores], own: str) -> tuple[str, ...]:
    """The shares of pictures that each judge recognises, in words. own : digest of the atlas's own network."""
    return tuple(filter(None, (captions.rates(scores, scores.digest == own) for scores in judged)))
