from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.methods.tops.histogram import BINS, EDGES, ZERO, Counter, positive_share, quantiles, rectified


def count(values: np.ndarray) -> np.ndarray:
    """Counts of float32 values (batch, channel, position)."""
    counter = Counter(values.shape[1], torch.device("cpu"))
    counter.add(beside(values), torch.empty(values.size, dtype=torch.float16))
    return counter.counts()


def beside(values: np.ndarray) -> torch.Tensor:
    """The values with the channels side by side."""
    return torch.from_numpy(np.ascontiguousarray(values.swapaxes(1, 2)))


def bin_of(value: float) -> int:
    """By the edges, the slow way: the lower edge is outside above zero, the upper one below it."""
    if value < 0:
        return BINS - 1 - bin_of(-value)
    return max(int(np.searchsorted(EDGES, value, side="left")) - 1, ZERO)


def test_edges_rise_and_mirror_one_another():
    assert len(EDGES) == BINS + 1
    assert (np.diff(EDGES) > 0).all()
    assert (-EDGES[::-1] == EDGES).all()
    inner = EDGES[(EDGES > 1e-4) & (EDGES < 5e4)]
    assert (inner[4:] / inner[:-4] == 2).all()  # four bins an octave


@given(st.floats(width=32, allow_nan=False))
def test_a_value_lies_in_the_bin_that_its_edges_say(value):
    counts = count(np.array([[[value]]], np.float32))[0]
    assert counts.sum() == 1
    assert counts.argmax() == bin_of(value)


def test_values_on_and_beside_every_edge_lie_where_the_edges_say():
    edges = EDGES[1:-1].astype(np.float32)
    assert (edges == EDGES[1:-1]).all()  # each edge is itself a float32
    for values in (edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))):
        want = np.bincount([bin_of(float(value)) for value in values], minlength=BINS)
        assert (count(values[None, None])[0] == want).all()


def test_zeros_of_both_signs_are_one_and_what_is_no_number_is_not_counted():
    counts = count(np.array([[[0.0, -0.0, np.nan, np.inf, -np.inf]]], np.float32))[0]
    assert counts[ZERO] == 2 and counts[0] == counts[-1] == 1 and counts.sum() == 4


def test_channels_are_counted_apart_beyond_the_first_group_and_over_calls():
    values = np.zeros((2, 300, 3), np.float32)
    values[:] = np.arange(300)[None, :, None] - 150
    counter = Counter(300, torch.device("cpu"))
    for _ in range(2):
        counter.add(beside(values), torch.empty(2 * 128 * 3, dtype=torch.float16))
    counts = counter.counts()
    assert (counts.sum(axis=1) == 12).all()
    assert (counts.argmax(axis=1) == [bin_of(float(at - 150)) for at in range(300)]).all()


def test_the_histogram_of_a_rectified_layer_follows_from_that_below():
    values = np.random.default_rng(0).normal(0, 3, (2, 5, 40)).astype(np.float32)
    assert (rectified(count(values)) == count(np.maximum(values, 0))).all()
    assert positive_share(count(values)) == pytest.approx((values > 0).mean(axis=(0, 2)))


def test_quantiles_are_as_near_as_the_bins_are_narrow():
    values = np.random.default_rng(0).gamma(2, 5, (1, 3, 4000)).astype(np.float32)
    levels = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    found = quantiles(count(values), values.min(axis=(0, 2)), values.max(axis=(0, 2)), levels)
    assert found == pytest.approx(np.quantile(values[0], levels, axis=1).T, rel=0.05)
    assert found[:, 0] == pytest.approx(values.min(axis=(0, 2)))


def test_quantiles_of_nothing_of_one_value_and_of_infinities():
    values = np.array([[[np.nan] * 3, [7.0] * 3, [np.inf] * 3, [0.0] * 3]], np.float32)
    least = np.array([np.inf, 7, np.inf, 0])
    found = quantiles(count(values), least, np.array([-np.inf, 7, np.inf, 0]), np.array([0.25, 0.75]))
    assert np.isnan(found[0]).all()
    assert found[1:].tolist() == [[7, 7], [np.inf, np.inf], [0, 0]]
