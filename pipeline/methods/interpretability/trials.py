"""The trials of the machine interpretability score: which of two images excites the unit, told by pictures of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trials:
    """Which images the trials of a unit use, as ranks: 0 is the most exciting, or on the other side the least.

    query : int (side, trial), the image to be told.
    shown : int (side, trial, picture), the images that are shown as natural pictures.
    Sides: most exciting, least exciting.
    """

    query: np.ndarray
    shown: np.ndarray


def draw_trials(trials: int, shown: int, generator: np.random.Generator) -> Trials:
    """Trials of equal difficulty, from the trials · (1 + shown) images at either end.

    The images of an end are cut into 1 + shown bins of `trials` images each, by rank. Every trial has one image of each
    bin; the one of the most extreme bin is to be told, so no trial shows an image that another one shows.
    Source: Zimmermann et al. 2023 (make_fair_batches of their program), whose trials Zimmermann et al. 2024 take over.
    """
    ranks = np.stack([
        [place * trials + generator.permutation(trials) for place in range(1 + shown)] for _ in ("most", "least")
    ])  # (side, bin, trial)  # fmt: skip
    return Trials(ranks[:, 0], np.moveaxis(ranks[:, 1:], 1, 2))


def score(
    most: np.ndarray, least: np.ndarray, positive: np.ndarray, negative: np.ndarray | None, temperature: float
) -> tuple[float, float]:
    """The machine interpretability score of a unit, and the share of trials that are told right; ties count half.

    most, least : (trial, entry), embeddings of length 1 of the two images to be told apart.
    positive : (trial, picture, entry) or (1, picture, entry), of the pictures of what excites the unit.
    negative : the same of what does not excite it; None if there are none.
    The similarity of an image and pictures is the mean of the products with each. The log-odds of the right answer are
    the similarity of `most` minus that of `least` to the positive pictures, and the reverse for the negative ones, over
    the temperature. The score is the mean probability of the right answer: 0.5 is chance, 1 the best.
    Source: Zimmermann et al. 2024, section 3.
    """
    difference = ((most - least) * positive.mean(axis=1)).sum(axis=1)
    if negative is not None:
        difference = difference + ((least - most) * negative.mean(axis=1)).sum(axis=1)
    right = np.where(difference > 0, 1.0, np.where(difference < 0, 0.0, 0.5))
    return float((0.5 + 0.5 * np.tanh(difference / temperature / 2)).mean()), float(right.mean())
