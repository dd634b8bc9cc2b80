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


@pytest.mark.parametrize("batches", [1, 3])
def test_readings_of_several_batches_are_taken_layer_by_layer_and_negative_zero_is_zero(batches):
    readings, maps = Readings(["map", "vector", "unread"]), torch.tensor([[[[-2.0, -0.0]], [[1.0, 3.0]]]])
    vector = torch.tensor([[-0.0, 7.0, -7.0]])
    for _ in range(batches):
        assert readings.read("map", maps).tolist() == [[0, 3]]
        readings.read("vector", vector)
    vector += 1  # what is read later may lie in the same memory
    taken = {name: (value, place) for name, value, place in readings.taken()}
    assert list(taken) == ["map", "vector"] and not list(readings.taken())
    (value, place), (level, nowhere) = taken.values()
    assert value.tolist() == [[0, 3]] * batches and place.tolist() == [[1, 1]] * batches
    assert level.tolist() == [[0, 7, -7]] * batches and nowhere.tolist() == [[0, 0, 0]] * batches
    assert not np.signbit(value[:, 0]).any() and not np.signbit(level[:, 0]).any()
    assert place.dtype == nowhere.dtype == np.uint16


@pytest.mark.parametrize(("size", "kind"), [((256, 256), np.uint16), ((256, 257), np.int32)])
def test_places_are_kept_in_two_bytes_where_they_fit(size, kind):
    maps, readings = torch.zeros(1, 1, *size), Readings(["map"])
    maps[..., -1, -1] = 1
    readings.read("map", maps)
    ((_, _, place),) = readings.taken()
    assert place.dtype == kind and place.tolist() == [[size[0] * size[1] - 1]]
