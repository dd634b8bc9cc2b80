from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.methods.tops import positions
from pipeline.methods.tops.histogram import Counter
from pipeline.methods.tops.positions import Memory, first_of
from pipeline.methods.tops.reading import MapReader, Reading

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(2, 2), (1, 4), (4, 1)])
def test_the_first_of_equal_values_is_found_and_what_is_no_number_goes_before_all(size):
    nan, inf = float("nan"), float("inf")
    maps = torch.tensor([[[0.0, 2, 2, 1], [-1, -1, -1, -1], [1, nan, inf, nan], [-inf, -inf, -inf, -inf]]])
    value, place = first_of(maps.view(1, 4, *size).permute(0, 2, 3, 1).contiguous(), Memory(CPU))
    np.testing.assert_array_equal(value, [[2, -1, nan, -inf]])
    assert place.tolist() == [[1, 0, 1, 0]]


@pytest.mark.parametrize("size", [(5, 51), (16, 16), (181, 181), (182, 181), (256, 256)])  # of 1, 2 and 4 bytes
def test_places_are_found_in_maps_of_any_size(size):
    maps = torch.zeros(1, 3, *size)
    maps[0, 0, -1, -1] = maps[0, 1, 0, -1] = maps[0, 1, -1, 0] = 1
    value, place = first_of(maps.permute(0, 2, 3, 1).contiguous(), Memory(CPU))
    assert value.tolist() == [[1, 1, 0]]
    assert place.tolist() == [[size[0] * size[1] - 1, size[1] - 1, 0]]


def read(maps: torch.Tensor) -> tuple[Reading, Reading, np.ndarray]:
    images, units = maps.shape[:2]
    own, over, counter = Reading.blank(images, units), Reading.blank(images, units), Counter(units, CPU)
    MapReader(CPU).read(maps, own, over, counter)
    return own, over, counter.counts()


@pytest.mark.parametrize(("units", "size"), [(4, (5, 7)), (4, (1, 1)), (4, (400, 500)), (40, (120, 119))])
def test_a_reading_and_that_of_the_relu_above_are_those_of_the_maps(units, size):
    """Of many small maps at once, and of an image at a time."""
    maps = torch.randn(3, units, *size, generator=torch.Generator().manual_seed(0)) * 10 - 5
    kept = maps.clone()
    own, over, counts = read(maps.contiguous(memory_format=torch.channels_last))
    assert torch.equal(maps, kept)
    assert (counts.sum(axis=1) == 3 * size[0] * size[1]).all()
    for reading, want in ((own, maps.numpy()), (over, np.maximum(maps.numpy(), 0))):
        flat = want.reshape(3, units, -1)
        assert (reading.value == flat.max(axis=2)).all() and (reading.place == flat.argmax(axis=2)).all()
        assert (reading.least == flat.min(axis=2)).all()
        np.testing.assert_allclose(reading.mean, flat.mean(axis=2, dtype=np.float64), rtol=1e-5, atol=1e-5)
        squares = flat.var(axis=2, dtype=np.float64) * flat.shape[2]
        np.testing.assert_allclose(reading.squares, squares, rtol=1e-5, atol=1e-9)


def test_moments_keep_their_digits_far_from_zero():
    maps = 1000 + torch.randn(1, 1, 30, 30, generator=torch.Generator().manual_seed(0)) / 10
    own, _, _ = read(maps)
    assert own.squares[0, 0] == pytest.approx(maps.numpy().var(dtype=np.float64) * 900, rel=1e-3)


def test_a_map_with_a_value_that_is_no_number_is_counted_nowhere():
    maps = torch.ones(2, 2, 3, 3)
    maps[0, 1, 1, 1] = float("nan")
    own, over, counts = read(maps)
    np.testing.assert_array_equal(own.value, [[1, np.nan], [1, 1]])
    np.testing.assert_array_equal(over.value, own.value)
    assert counts.sum(axis=1).tolist() == [18, 9]


def test_host_and_device_agree():
    part = torch.randint(-3, 4, (5, 6, 7, 9), generator=torch.Generator().manual_seed(0)).float()
    falling = positions._falling(6, 7, 9)
    host, device = positions.first_on_host(part, falling, Memory(CPU)), positions.first_on_device(part, falling)
    assert all((a == b).all() for a, b in zip(host, device, strict=True))
    spreads = (
        spread(part, torch.empty_like(part)) for spread in (positions.spread_on_host, positions.spread_on_device)
    )
    for a, b in zip(*spreads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
