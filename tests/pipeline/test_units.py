from __future__ import annotations

import pytest
from cards import network_card
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UnitError
from pipeline.units import address, select_units

CARD = network_card()


def test_without_addresses_every_unit_of_convolutional_fully_connected_and_class_layers_is_meant():
    found = select_units(CARD, None)
    assert list(found) == ["conv1", "fire2/expand", "fc8"]
    assert found["fire2/expand"] == tuple(range(7))


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["conv1:0-2,7", "fc8:*"], {"conv1": (0, 1, 2, 7), "fc8": (0, 1, 2, 3)}),
        (["fire2/expand"], {"fire2/expand": tuple(range(7))}),
        (["fire*:3"], {"fire2/expand": (3,)}),
        (["conv1:1", "conv1:0"], {"conv1": (0, 1)}),
        (["fc8:school bus", "fc8:goldfish"], {"fc8": (0, 2)}),
        (["fc8:Goldfish, Carassius auratus"], {"fc8": (0,)}),
        (["fc8:Carassius auratus,school bus"], {"fc8": (0, 2)}),
        (["f*:0"], {"fire2/expand": (0,), "fc8": (0,)}),
    ],
)
def test_addresses_mean_ranges_lists_globs_and_labels_in_the_networks_order(addresses, expected):
    found = select_units(CARD, addresses)
    assert found == expected
    assert list(found) == [layer.name for layer in CARD.layers if layer.name in expected]


def test_a_star_means_every_layer_with_units():
    assert list(select_units(CARD, ["*"])) == ["conv1", "relu1", "fire2/expand", "fc8", "prob"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("conv2:1", "nearest: conv1"),
        ("conv1:20", "has units 0-19"),
        ("conv1:5-3", "has units 0-19"),
        ("fc8:goldfsh", "not a number"),
        ("zebra*", "matches no layer"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wrong, says):
    with pytest.raises(UnitError, match=says):
        select_units(CARD, [wrong])


@given(st.sets(st.integers(0, 19), min_size=1))
def test_an_address_means_the_units_that_it_was_made_from(units):
    assert select_units(CARD, [address("conv1", units)]) == {"conv1": tuple(sorted(units))}


@pytest.mark.parametrize(
    "address", ["conv1:" + "9" * 5000, "conv1:0-" + "9" * 5000, "[" * 100_000, "conv1\0\n", "*" * 2000]
)
def test_absurd_addresses_are_refused_on_one_line(address):
    with pytest.raises(UnitError) as error:
        select_units(network_card(), [address])
    assert str(error.value).isprintable() and len(str(error.value)) < 3000
