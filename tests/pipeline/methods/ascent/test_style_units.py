"""Styles that only some units get."""

from __future__ import annotations

import pytest
from cards import network_card

from jobs.console import compose_config
from jobs.request import read_request
from pipeline.errors import SettingsError, UnitError
from pipeline.methods.ascent.task import ASCENT
from pipeline.plan import Plan
from pipeline.request import Request
from pipeline.units import select_units


def asked(*overrides: str) -> Plan:
    """The plan of a request for gradient ascent on the made-up network, without a recipe."""
    request = read_request(compose_config("atlas", ["experiment=null", "device=cpu", "samples=1", *overrides]))
    card = network_card()
    return ASCENT.ask(Plan(card), Request(request.config, card, select_units(card, request.units), request.asked))


def given(plan: Plan) -> dict[tuple[str, str], tuple[int, ...]]:
    """(layer, style) → units."""
    return {(layer, style): units for (_, layer, style, _), units in plan.parts.items() if units}


def test_a_style_is_for_the_units_that_it_names_and_the_first_style_leads():
    plan = asked("units=[conv1:0-3,fc8:0-1]", "styles=[low_frequency,sparse]", "+style_units.sparse=[fc8:1-3]")
    assert given(plan) == {
        ("conv1", "low_frequency"): (0, 1, 2, 3),
        ("fc8", "low_frequency"): (0, 1),
        ("fc8", "sparse"): (1,),
    }
    assert plan.order["ascent"] == ("low_frequency", "sparse")


def test_a_style_goes_by_its_option_whatever_its_name():
    plan = asked("units=[conv1,fc8:0]", "styles=[sparse,noise]", "style.sparse.name=mine", "+style_units.sparse=[fc8]")
    assert [layer for layer, style in given(plan) if style == "mine"] == ["fc8"]


def test_a_request_that_would_get_no_style_gets_all():
    plan = asked("units=[conv1:0]", "styles=[sparse]", "+style_units.sparse=[fc8]")
    assert given(plan) == {("conv1", "sparse"): (0,)}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("style_units=3", "style_units: got 3, expected styles and addresses, as"),
        ("+style_units.sparse=[]", "style_units.sparse: got none, expected at least one"),
        ("++style_units={spase: [fc8]}", "style_units: got 'spase'"),
    ],
)
def test_what_names_no_style_or_no_units_is_refused(override, said):
    with pytest.raises(SettingsError, match=said.replace("[", r"\[")):
        asked(override)


def test_an_address_that_is_not_there_is_named_with_its_setting():
    with pytest.raises(UnitError, match="style_units.sparse: layer fc9: not in network .*nearest: fc8"):
        asked("styles=[low_frequency,sparse]", "+style_units.sparse=[fc9]")
