"""The words and numbers under pictures."""

from __future__ import annotations

import math

import pytest

from atlas_viewer.format import Status
from atlas_viewer.site import captions


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (41.2666, "41.27"),
        (0.12345, "0.123"),
        (-3.5, "\N{MINUS SIGN}3.50"),
        (123.456, "123.5"),
        (12345.6, "12\N{NARROW NO-BREAK SPACE}346"),
        (1.5e8, "1.50e+08"),
        (2e-5, "2.00e\N{MINUS SIGN}05"),
        (0.0, "0.000"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_numbers_are_short_enough_to_compare(value, text):
    assert captions.number(value) == text


def test_plates_have_roman_numbers():
    assert [captions.roman(n) for n in (1, 4, 9, 14, 40, 94, 123)] == [
        "I",
        "IV",
        "IX",
        "XIV",
        "XL",
        "XCIV",
        "CXXIII",
    ]


def test_every_status_has_words_and_only_ok_has_none():
    assert set(captions.REASONS) == set(captions.BRIEF) == set(Status)
    assert [status for status in Status if not captions.REASONS[status]] == [Status.ok]


def test_a_reason_explains_a_failure_and_not_a_finding():
    assert captions.why(Status.failed, "out of memory") == "its computation failed: out of memory"
    assert captions.why(Status.never_active, "out of memory") == "the picture never activated the unit"


def test_counts_agree_with_their_noun():
    assert captions.count(1, "unit") == "1 unit"
    assert captions.count(2000, "class") == "2\N{NARROW NO-BREAK SPACE}000 classes"


@pytest.mark.parametrize(
    ("activation", "most", "text"),
    [
        (18, 10, "1.8 × the best image"),
        (410, 10, "41 × the best image"),
        (10.2, 10, "1.02 × the best image"),
        (6, 10, "0.60 × the best image"),
        (-1, 10, "below the best image"),
        (1, -3, "above every image"),
        (-4, -3, "below the best image"),
        (float("nan"), 10, ""),
        (3, float("nan"), ""),
    ],
)
def test_a_ratio_says_only_what_it_can(activation, most, text):
    assert captions.ratio(activation, most, "image").replace("\N{NO-BREAK SPACE}", " ") == text


def test_quantiles_are_named():
    assert [captions.quantile(share) for share in (1.0, 0.875, 0.0)] == [
        "most",
        "87.5\N{NARROW NO-BREAK SPACE}%",
        "least",
    ]
