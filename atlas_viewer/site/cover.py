"""The cover: which pictures stand under the title of the first page. They are chosen, so that none is a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer

FEWEST = 6  # pictures that make a cover; fewer where there are fewer units
FAINT = 6.0  # pixel levels: pictures that deviate less from their mean colour look plain


@dataclass(frozen=True)
class Choice:
    """The pictures of a style or a run that may stand on the cover.

    sample : (unit,) the sample of each unit, −1 for none.
    judge : the network that recognises them, or empty.
    excites : whether each excites its unit more than every image of the dataset, where nothing judged them.
    """

    sample: np.ndarray
    judge: str = ""
    excites: bool = False


def choose(layer: Layer, climb: Climb) -> Choice | None:
    """Choose a picture of each unit: the one that a judge finds likeliest, of those that it recognises.

    The judge is the first that is not the atlas's own network, which recognises all that was made to excite it. Where
    none has judged or too few are recognised, the best picture is chosen if it excites the unit more than every image
    of the dataset. Where too few do, None: the best images themselves stand there. Without a dataset, the best picture
    of each unit.
    """
    best, rows = climb.best_sample, np.arange(len(climb.units))
    choices = []
    for scores in layer.judged(climb):
        if scores.judge != layer.atlas.model:
            named = climb.there & (scores.target_rank == 0)
            likeliest = np.where(named, scores.target_probability, -1).argmax(axis=1)
            choices.append(Choice(np.where(named.any(axis=1), likeliest, -1), judge=scores.judge))
    mined = layer.statistics is not None and climb.direction == "maximize"
    if mined:
        above = (best >= 0) & (climb.activation[rows, best] > layer.statistics.most)
        choices.append(Choice(np.where(above, best, -1), excites=True))
    enough = min(FEWEST, np.count_nonzero(best >= 0))
    fit = (choice for choice in choices if np.count_nonzero(choice.sample >= 0) >= enough)
    return next(fit, None if mined else Choice(best))


def look_plain(layer: Layer, climb: Climb, rows: Sequence[int], samples: np.ndarray) -> bool:
    """Whether half of some units' pictures, one sample each, show nearly nothing, as after few steps."""
    deviations = []
    for row, sample in zip(rows, samples.tolist(), strict=True):
        shown = layer.as_shown(climb, climb.pixels[row, sample : sample + 1])[0].astype(np.float32)
        deviations.append(np.abs(shown - shown.mean(axis=(0, 1))).mean())
    return bool(np.median(deviations) < FAINT)
