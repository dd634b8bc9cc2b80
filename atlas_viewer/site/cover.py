"""The cover: which pictures stand under the title of the first page. They are chosen, so that none is a failure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.climb import Climb
from atlas_viewer.layer import Layer


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


def choose(layer: Layer, climb: Climb) -> Choice:
    """Choose a picture of each unit: the one that a judge finds likeliest, of those that it recognises.

    The judge is the first that is not the atlas's own network, which recognises all that was made to excite it. Where
    none has judged, the best picture is chosen if it excites the unit more than every image of the dataset; where no
    picture meets this, or there is no dataset, the best picture of each unit.
    """
    best, rows = climb.best_sample, np.arange(len(climb.units))
    choices = []
    for scores in layer.judged(climb):
        if scores.judge != layer.atlas.model:
            named = climb.there & (scores.target_rank == 0)
            likeliest = np.where(named, scores.target_probability, -1).argmax(axis=1)
            choices.append(Choice(np.where(named.any(axis=1), likeliest, -1), judge=scores.judge))
    if not choices and layer.statistics is not None and climb.direction == "maximize":
        above = (best >= 0) & (climb.activation[rows, best] > layer.statistics.most)
        choices.append(Choice(np.where(above, best, -1), excites=True))
    return next((choice for choice in choices if (choice.sample >= 0).any()), Choice(best))
