"""Trials and scores on embeddings whose right answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.interpretability.embedding import directions
from pipeline.methods.interpretability.trials import draw_trials, score

ENTRIES, TRIALS, SHOWN, TEMPERATURE = 24, 20, 9, 0.16


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_directions(*shape: int, seed: int) -> np.ndarray:
    return directions(generator(seed).normal(size=(*shape, ENTRIES)), 0.0)


def separated(spread: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Images and pictures of both sides, around two opposite directions: most, least, positive, negative."""
    ends = np.eye(ENTRIES)[0] * np.array([1, -1])[:, None]

    def near(end: np.ndarray, *shape: int, seed: int) -> np.ndarray:
        return directions(end + spread * generator(seed).normal(size=(*shape, ENTRIES)), 0.0)

    queries = [near(end, TRIALS, seed=seed + place) for place, end in enumerate(ends)]
    return *queries, *(near(end, TRIALS, SHOWN, seed=seed + 2 + place) for place, end in enumerate(ends))


@pytest.mark.parametrize("sides", [3, 4])
def test_separated_images_are_told_for_certain(sides):
    most, least, positive, *negative = separated(0.01)[:sides]
    told, accuracy = score(most, least, positive, negative[0] if negative else None, TEMPERATURE)
    assert told > 0.9999 and accuracy == 1


@given(spread=st.floats(0.01, 3), seed=st.integers(0, 99))
def test_pictures_of_the_other_side_tell_the_opposite(spread, seed):
    most, least, positive, negative = separated(spread, seed)
    told, accuracy = score(most, least, positive, negative, TEMPERATURE)
    opposite, wrong = score(most, least, negative, positive, TEMPERATURE)
    assert told + opposite == pytest.approx(1) and accuracy + wrong == pytest.approx(1)


def test_noise_tells_nothing():
    """Tested over many units, because a single picture of noise is by chance more similar to one of the two sides."""
    most, least, *_ = separated(0.3)
    told = [score(most, least, random_directions(1, SHOWN, seed=seed), None, TEMPERATURE) for seed in range(400)]
    assert np.mean(told, axis=0) == pytest.approx([0.5, 0.5], abs=0.05)
    assert np.abs(np.array(told)[:, 0] - 0.5).max() < 0.5


def test_pictures_of_an_unrelated_feature_tell_nothing():
    most, least = random_directions(TRIALS, seed=1), random_directions(TRIALS, seed=2)
    told, _ = score(most, least, random_directions(TRIALS, SHOWN, seed=3), None, TEMPERATURE)
    assert told == pytest.approx(0.5, abs=0.1)


def test_equal_similarities_count_half():
    one = random_directions(TRIALS, seed=1)
    assert score(one, one, random_directions(1, SHOWN, seed=2), None, TEMPERATURE) == (0.5, 0.5)


def test_the_better_the_pictures_the_higher_the_score():
    told = [score(*separated(spread), TEMPERATURE)[0] for spread in (0.05, 0.5, 1.5, 5.0)]
    assert told == sorted(told, reverse=True) and told[0] > 0.99 > 0.7 > told[-1] > 0.4


def test_the_score_agrees_with_the_slow_obvious_way():
    most, least, positive, negative = separated(1.0)
    chances, right = [], []
    for trial in range(TRIALS):
        alike = [
            [np.mean([query @ one for one in pictures[trial]]) for pictures in (positive, negative)]
            for query in (most[trial], least[trial])
        ]
        evidence = (alike[0][0] - alike[0][1]) - (alike[1][0] - alike[1][1])
        chances.append(1 / (1 + np.exp(-evidence / TEMPERATURE)))
        right.append(evidence > 0)
    assert score(most, least, positive, negative, TEMPERATURE) == pytest.approx((np.mean(chances), np.mean(right)))


@given(trials=st.integers(1, 30), shown=st.integers(1, 12), seed=st.integers(0, 9))
def test_trials_share_no_image_and_are_equally_hard(trials, shown, seed):
    drawn = draw_trials(trials, shown, generator(seed))
    for query, pictures in zip(drawn.query, drawn.shown, strict=True):
        assert sorted([*query.tolist(), *pictures.ravel().tolist()]) == list(range(trials * (1 + shown)))
        assert sorted(query.tolist()) == list(range(trials))  # the most extreme images are told, never shown
        assert (pictures // trials == np.arange(1, 1 + shown)).all()  # one of each bin in every trial


def test_embeddings_at_the_centre_have_no_direction():
    seen = directions(np.array([[1.0, 2.0], [1.0, 5.0]]), np.array([1.0, 2.0]))
    assert seen.tolist() == [[0, 0], [0, 1]]
