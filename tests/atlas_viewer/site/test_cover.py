"""Which pictures stand on the cover: those that a judge recognises; else those that excite more than the dataset."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from atlas_viewer.site import cover
from atlas_viewer.site.cover import choose, look_plain


@pytest.fixture(autouse=True)
def small_covers(monkeypatch):
    monkeypatch.setattr(cover, "FEWEST", 2)


ACTIVATION = np.array([[3.0, 5.0], [9.0, 8.0], [np.nan, 2.0], [np.nan, np.nan]])  # (unit, sample)
BEST = [1, 0, 1, -1]


def climb(direction: str = "maximize") -> SimpleNamespace:
    return SimpleNamespace(
        units=np.arange(4),
        activation=ACTIVATION,
        there=np.isfinite(ACTIVATION),
        best_sample=np.array(BEST),
        direction=direction,
    )


def layer(judges: dict[str, np.ndarray], most: list[float] | None = None) -> SimpleNamespace:
    """A layer whose pictures were judged. judges : rank of the target (unit, sample), by name of the judge."""
    seen = [
        SimpleNamespace(judge=name, target_rank=ranks, target_probability=np.array([[0.8, 0.7]] * 3 + [[np.nan] * 2]))
        for name, ranks in judges.items()
    ]
    statistics = None if most is None else SimpleNamespace(most=np.array(most))
    return SimpleNamespace(atlas=SimpleNamespace(model="own"), judged=lambda climb: seen, statistics=statistics)


def test_a_judge_chooses_of_the_pictures_that_it_recognises_the_likeliest():
    own, other = np.zeros((4, 2), int), np.array([[0, 0], [1, 0], [0, 4], [-1, -1]])
    found = choose(layer({"own": own, "other": other}, most=[9.0] * 4), climb())
    assert found.sample.tolist() == [0, 1, -1, -1]  # the third is recognised where it has no picture
    assert (found.judge, found.excites) == ("other", False)


def test_without_a_judge_a_picture_has_to_excite_more_than_the_dataset():
    found = choose(layer({"own": np.zeros((4, 2), int)}, most=[4.0, 9.0, 1.0, 0.0]), climb())
    assert found.sample.tolist() == [1, -1, 1, -1]
    assert (found.judge, found.excites) == ("", True)


def test_a_judge_that_recognises_too_few_chooses_none():
    found = choose(layer({"other": np.array([[0, 3]] + [[3, 3]] * 3)}, most=[4.0, 8.5, 9.0, 0.0]), climb())
    assert found.sample.tolist() == [1, 0, -1, -1]
    assert (found.judge, found.excites) == ("", True)


@pytest.mark.parametrize("most", [[10.0] * 4, [10.0, 8.5, 10.0, 0.0]])
@pytest.mark.parametrize("judges", [{}, {"other": np.full((4, 2), 3)}])
def test_where_too_few_are_fit_the_best_images_stand_there(judges, most):
    assert choose(layer(judges, most), climb()) is None


@pytest.mark.parametrize(("most", "direction"), [(None, "maximize"), ([0.0] * 4, "minimize")])
def test_where_nothing_can_be_compared_the_best_of_each_unit_stand_there(most, direction):
    found = choose(layer({}, most), climb(direction))
    assert found.sample.tolist() == BEST
    assert (found.judge, found.excites) == ("", False)


@pytest.mark.parametrize(("width", "plain"), [(1, True), (16, False)])
def test_a_bright_pixel_on_grey_looks_plain_and_a_bright_quarter_does_not(width, plain):
    pixels = np.full((3, 2, 32, 32, 3), 128, np.uint8)
    pixels[:, 1, :width, :width] = 255
    shown = SimpleNamespace(as_shown=lambda climb, pictures: pictures)
    drawn = SimpleNamespace(pixels=pixels)
    assert look_plain(shown, drawn, [0, 2], np.array([1, 1])) is plain
    assert look_plain(shown, drawn, [0, 2], np.array([0, 0]))  # the other sample is grey
