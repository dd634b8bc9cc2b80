"""The table of numbers read back: what is neutral, what is published, what is read; and what is wrong with a table."""

from __future__ import annotations

import math

import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.numbers import Number, word
from atlas_viewer.validator import check


@pytest.fixture
def atlas(generated_atlas):
    with Atlas(generated_atlas) as opened:
        yield opened


def named(atlas, method: str) -> dict[str, Number]:
    return {number.name: number for number in Number.of(atlas, method)}


def test_numbers_keep_their_order_and_say_what_they_are(atlas):
    numbers = named(atlas, "ascent")
    assert list(numbers)[:3] == ["decay", "blur_radius", "blur_every"]
    assert (numbers["decay"].title, numbers["decay"].symbol, numbers["decay"].axis) == ("L2 decay", "θ_decay", "decay")
    assert Number.of(atlas, "tops") == ()


def test_a_neutral_value_switches_off(atlas):
    numbers = named(atlas, "ascent") | named(atlas, "dgn")
    assert numbers["decay"].is_neutral(0.0) and numbers["blur_every"].is_neutral(0)
    assert not numbers["decay"].is_neutral(0.5) and not numbers["policy"].is_neutral("constant")
    assert numbers["sigmas"].is_neutral(math.inf) and not numbers["sigmas"].is_neutral(3.0)
    assert numbers["clip"].is_neutral(False) and not numbers["clip"].is_neutral(True)


def test_the_published_value_is_given_where_it_is_another(atlas):
    numbers = named(atlas, "dgn")
    assert numbers["iterations"].published_beside(20) == 200 and numbers["iterations"].published_beside(200) is None
    assert numbers["sigmas"].published_beside(math.inf) == 3.0
    assert numbers["bounded"].published_beside(False) is True
    assert named(atlas, "ascent")["decay"].published_beside(0.5) is None


def test_a_number_may_be_read_under_one_condition_only(atlas):
    numbers = named(atlas, "ascent") | {"sigmas": named(atlas, "dgn")["sigmas"]}
    assert numbers["max_rate"].is_read({"policy": "progress01"})
    assert not numbers["max_rate"].is_read({"policy": "constant"}) and not numbers["max_rate"].is_read({})
    assert numbers["sigmas"].is_read({"clip": False}) and not numbers["sigmas"].is_read({"clip": True})
    assert numbers["decay"].is_read({})


def test_words_are_those_of_the_command_line():
    assert [word(value) for value in (True, False, math.inf, 0.5, 20, "mean")] == [
        *("true", "false", "null", "0.5", "20", "mean")
    ]


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("name", "blur_radius", "/numbers/ascent/name: a hyperparameter is listed twice"),
        ("neutral", "off", "/numbers/ascent/neutral: 'off' of decay is not JSON"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(damaged, column, value, fault):
    def how(file) -> None:
        file[f"numbers/ascent/{column}"][0] = value

    assert check(damaged(how)) == [fault]
