from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.tops.reading import Readings, first_of, first_on_device, first_on_host

CPU = torch.device("cpu")
FEW = [-1.0, -0.0, 0.0, 0.5, float("inf"), float("-inf"), float("nan")]  # ties are the rule


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_a_reading_is_the_largest_value_and_the_first_of_its_places(height, width, data):
    """On a CPU and as other devices compute it, with channels adjacent or apart, for few and for many units."""
    units = data.draw(st.sampled_from([1, 2, 17]))
    values = data.draw(st.lists(st.sampled_from(FEW), min_size=height * width, max_size=height * width))
    maps = torch.tensor(values).view(1, 1, height, width).repeat(2, units, 1, 1)
    maps[1] = maps[1].flip(1, 2)
    flat = maps.flatten(2).numpy()
    ways = [first_of, first_on_device, first_on_host] if height * width > 1 else [first_of]
    for given_maps in (maps, maps.contiguous(memory_format=torch.channels_last)):
        for way in ways:
            value, place = way(given_maps)
            np.testing.assert_array_equal(value.numpy(), flat.max(axis=2))
            where = np.zeros(value.shape, int) if place is None else place.numpy()
            assert (where == flat.argmax(axis=2))[~np.isnan(value.numpy())].all()
            assert ((where >= 0) & (where < height * width)).all()


@pytest.mark.parametrize("size", [(5, 51), (181, 181), (256, 257)])
def test_places_are_found_in_maps_of_any_size(size):
    maps = torch.zeros(1, 3, *size)
    maps[0, 0, -1, -1] = maps[0, 1, 0, -1] = maps[0, 1, -1, 0] = 1
    for value, place in (first_of(maps), first_on_device(maps)):
        assert value.tolist() == [[1, 1, 0]]
        assert place.tolist() == [[size[0] * size[1] - 1, size[1] - 1, 0]]


def test_readings_of_several_layers_lie_side_by_side_and_negative_zero_is_zero():
    readings = Readings({"map": 2, "vector": 3}, 4, CPU)
    maps = torch.tensor([[[[-2.0, -0.0]], [[1.0, 3.0]]]])
    returned = readings.read("map", maps, 1)
    readings.read("vector", torch.tensor([[-0.0, 7.0, -7.0]]), 1)
    value, place = readings.taken(2)
    assert returned.tolist() == [[0, 3]] and readings.columns == {"map": slice(0, 2), "vector": slice(2, 5)}
    assert value[1].tolist() == [0, 3, 0, 7, -7] and not np.signbit(value[1, [0, 2]]).any()
    assert place[1].tolist() == [1, 1, 0, 0, 0]
