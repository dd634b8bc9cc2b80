"""Spellings of class names, numbers as numbers, and whether a dataset's classes are the network's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cards import network_card
from hypothesis import given
from hypothesis import strategies as st

from pipeline.class_names import ClassNames, disagreement, first_name, in_order, number, place_of, plain, spellings


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("2.0", 2), ("007", 7), ("-1", -1), ("+3", 3), ("10.", 10), ("2.5", 2.5), ("", None), ("two", None),
     ("1e3", None), ("nan", None), ("٣", None), ("1" * 5000, None), ("1 2", None)],
)  # fmt: skip
def test_a_number_is_read_as_one(text, value):
    assert number(text) == value
    assert type(number(text)) is type(value)


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10.0", "2.0", "0.0"], ("0.0", "2.0", "10.0")),
        (["10", "9", "-1", "0"], ("-1", "0", "9", "10")),
        (["00010", "00002"], ("00002", "00010")),
        (["cat", "10", "9", "ant"], ("9", "10", "ant", "cat")),
        (["2.5", "10", "2.25"], ("2.25", "2.5", "10")),
        (["Zebra", "ant", "Zebra"], ("Zebra", "ant")),
    ],
)
def test_numbers_sort_as_numbers_and_before_names(names, ordered):
    assert in_order(names) == ordered


@given(st.lists(st.integers(-50, 2000), unique=True), st.sampled_from(["{}", "{}.0", "{:06d}"]))
def test_any_numbers_sort_by_value_however_they_are_written(numbers, form):
    assert in_order(form.format(each) for each in numbers) == tuple(form.format(each) for each in sorted(numbers))


@pytest.mark.parametrize(
    ("name", "short"),
    [("n01440764 tench, Tinca tinca", "tench"), ("great_white_shark", "great white shark"), ("Tench", "tench"),
     ("n01440764", "n01440764"), (" two   words ", "two words"), ("02", "2"), ("n01440764_tench", "tench")],
)  # fmt: skip
def test_spellings_of_one_name_are_the_same(name, short):
    assert first_name(name) == short
    assert plain(short) == short


def test_a_spelling_that_fits_two_classes_means_none_of_them():
    names = ("crane, bird", "crane, machine", "maillot")
    places = spellings(ClassNames(names, ("n1", "n2", "n3"), (0, 1, 2)))
    assert place_of("crane", places) is None
    assert [place_of(each, places) for each in ("CRANE, machine", "n1", "Maillot", "owl")] == [1, 0, 2, None]


def card(labels: tuple[str, ...], class_layer: str | None = "fc8"):
    return replace(network_card(), labels=labels, class_layer=class_layer)


UNITS = network_card().layer("fc8").channels


def test_classes_agree_by_their_names():
    labels = tuple(f"name {letter}, other" for letter in "abcdefghijklmnopqrstuvwxyz"[:UNITS])
    assert disagreement(labels, card(labels)) is None
    assert disagreement([label.split(",")[0].upper().replace(" ", "_") for label in labels], card(labels)) is None
    assert disagreement([f"n0000000{at % 10} {label}" for at, label in enumerate(labels)], card(labels)) is None


@pytest.mark.parametrize(
    ("names", "labels", "class_layer", "said"),
    [
        (["a"] * UNITS, (), "fc8", "has no names for its classes"),
        (["a"] * (UNITS + 1), (), "fc8", "number of its classes"),
        (["a"], ("a",), None, "no class layer"),
        ([str(n) for n in range(UNITS)][::-1], tuple(map(str, range(UNITS))), "fc8", "in another order"),
        (["x", *map(str, range(1, UNITS))], tuple(map(str, range(UNITS))), "fc8", "class 0 is 'x' in the dataset, '0'"),
        ([str(n) for n in range(UNITS)], tuple("abcdefghijklmnopqrstuvwxyz"[:UNITS]), "fc8", "class 0 is '0'"),
    ],
)  # fmt: skip
def test_classes_that_do_not_agree_are_not_the_networks(names, labels, class_layer, said):
    """As many classes, or numbers, are no agreement."""
    assert said in disagreement(names, card(labels, class_layer))
