"""Counts and moments of all positions against those of the values in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.methods.tops import positions
from pipeline.methods.tops.positions import Memory, Positions

CPU = torch.device("cpu")
SIZES = [(4, (5, 7)), (4, (1, 2)), (4, (400, 500)), (40, (120, 119)), (1, (3, 3))]


def added(maps: torch.Tensor, batches: int = 1) -> Positions:
    units, _, width = maps.shape[1:]
    found = Positions(units, width, Memory(CPU), rectified=True)
    for part in maps.contiguous(memory_format=torch.channels_last).chunk(batches):
        found.add(part, part.flatten(2).amax(dim=2), range(len(part)))
    return found


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize(("units", "size"), SIZES)
def test_moments_and_counts_are_those_of_all_values_of_the_chosen_images(units, size, host):
    """Of many small maps at once, and of large ones in parts; on a CPU, and as other devices compute it."""
    maps = torch.randn(4, units, *size, generator=torch.Generator().manual_seed(0)) * 10 - 5
    kept, found = maps.clone(), Positions(units, size[1], Memory(CPU), rectified=True)
    found._host = host
    for part in maps.contiguous(memory_format=torch.channels_last).chunk(2):
        found.add(part, part.flatten(2).amax(dim=2), [1])
    assert torch.equal(maps, kept)
    chosen = maps[1::2].numpy().astype(np.float64).swapaxes(0, 1).reshape(units, -1)
    assert (found.counts().sum(axis=1) == chosen.shape[1]).all()
    for rectified, want in ((False, chosen), (True, np.maximum(chosen, 0))):
        moments = found.moments(rectified=rectified)
        assert (moments.count == chosen.shape[1]).all()
        assert (moments.least == want.min(axis=1)).all() and (moments.most == want.max(axis=1)).all()
        np.testing.assert_allclose(moments.mean, want.mean(axis=1), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(moments.variance, want.var(axis=1), rtol=1e-5)


def test_moments_keep_their_digits_far_from_zero_and_of_a_constant_nothing_varies():
    maps = 1000 + torch.randn(3, 2, 30, 30, generator=torch.Generator().manual_seed(0)) / 10
    maps[:, 1] = 0.1
    found = added(maps, batches=3).moments()
    assert found.variance[0] == pytest.approx(maps[:, 0].numpy().var(dtype=np.float64), rel=1e-3)
    assert found.variance[1] == 0 and found.mean[1] == np.float32(0.1)


@pytest.mark.parametrize("size", [(3, 3), (300, 600)])  # held with others, and counted in parts
def test_a_map_with_a_value_that_is_no_number_is_counted_nowhere(size):
    maps = torch.ones(3, 2, *size)
    maps[0, 1, -1, -1] = float("nan")
    maps[1, 0, 0, 0] = 5.0
    found, area = added(maps), size[0] * size[1]
    assert found.counts().sum(axis=1).tolist() == [3 * area, 2 * area]
    for rectified in (False, True):
        moments = found.moments(rectified=rectified)
        assert moments.count.tolist() == [3 * area, 2 * area]
        assert moments.mean == pytest.approx([1 + 4 / (3 * area), 1]) and moments.most.tolist() == [5, 1]
        assert moments.least.tolist() == [1, 1]


def test_no_values_have_no_moments_and_a_unit_that_is_never_a_number_none_either():
    nothing = Positions(2, 3, Memory(CPU), rectified=True)
    assert nothing.moments().count.tolist() == [0, 0] and nothing.counts().sum() == 0
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 1] = float("nan")
    found = added(maps).moments(rectified=True)
    assert found.count.tolist() == [9, 0] and found.least[1] == np.inf and found.most[1] == -np.inf


def test_infinities_are_kept_and_spread_without_end():
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 0, 0, 0], maps[0, 1, 0, 1] = float("inf"), float("-inf")
    found = added(maps).moments()
    assert found.most.tolist() == [np.inf, 0] and found.least.tolist() == [0, -np.inf]
    assert found.mean.tolist() == [np.inf, -np.inf] and np.isnan(found.variance).all()


def test_host_and_device_agree():
    lines = torch.randint(-3, 4, (5, 6, 7), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(positions.least_on_host(lines), positions.least_on_device(lines))
    spreads = (
        spread(lines, lines[0, 0], torch.empty_like(lines))
        for spread in (positions.spread_on_host, positions.spread_on_device)
    )
    for a, b in zip(*spreads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
