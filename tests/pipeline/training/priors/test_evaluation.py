"""The strength of grid artifacts: high at the period of a grid, low at longer periods and without a grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.priors.evaluation import PERIODS, axis_power, grid_decibels, periods


def noise(seed: int, rows: int = 64, columns: int = 64, count: int = 40) -> torch.Tensor:
    return torch.randn(count, 3, rows, columns, generator=torch.Generator().manual_seed(seed))


def lines(period: int, rows: int = 64, columns: int = 64) -> torch.Tensor:
    """Bright lines of one pixel, a period apart, over all columns."""
    return ((torch.arange(rows) % period == 0).float()[:, None]).expand(rows, columns)


def test_noise_has_no_grid():
    decibels = grid_decibels(axis_power(noise(0)))
    assert tuple(decibels) == PERIODS
    assert all(abs(value) < 2.5 for value in decibels.values()), decibels


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_faint_grid_is_found_at_its_period(period, turned):
    mask = lines(period)
    images = noise(1) + 0.1 * period * (mask.T if turned else mask)
    decibels = grid_decibels(axis_power(images))
    assert decibels[period] > 10
    for longer in (other for other in PERIODS if other > period):
        assert decibels[longer] < 2.5, decibels


def test_the_power_is_the_discrete_fourier_transform_of_means_over_the_other_axis():
    images = noise(2, count=2)
    whole = np.abs(np.fft.fft2(images.double().numpy())) ** 2
    power = axis_power(images)
    np.testing.assert_allclose(power[0] * 64**2, whole[:, :, :33, 0].sum((0, 1)))
    np.testing.assert_allclose(power[1] * 64**2, whole[:, :, 0, :33].sum((0, 1)))


@given(rows=st.integers(8, 80), columns=st.integers(8, 80))
def test_any_size_has_its_periods_and_batches_add(rows, columns):
    images = noise(3, rows, columns, count=4)
    together = axis_power(images)
    np.testing.assert_allclose(axis_power(images[:1]) + axis_power(images[1:]), together)
    assert tuple(grid_decibels(together)) == periods((rows, columns))
    assert grid_decibels(0 * together) == dict.fromkeys(periods((rows, columns)), 0.0)
