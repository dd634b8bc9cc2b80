from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.methods.ascent.regularizers import blur, blur_matrix

SIZES = st.integers(1, 12)
RADII = st.floats(0.05, 9.0)  # reaches up to 36 pixels: the image is mirrored several times over


def noise(rows: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(rows * 100 + columns).normal(0, 10, (2, 3, rows, columns)))


@settings(max_examples=60, deadline=None)
@given(rows=SIZES, columns=SIZES, radius=RADII)
def test_blur_is_the_one_of_scipy(rows, columns, radius):
    image = noise(rows, columns)
    expected = scipy.ndimage.gaussian_filter(image.numpy(), (0, 0, radius, radius))
    np.testing.assert_allclose(blur(image, radius).numpy(), expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows=SIZES, columns=SIZES, radius=RADII)
def test_blur_keeps_the_sum_of_every_channel(rows, columns, radius):
    image = noise(rows, columns)
    torch.testing.assert_close(blur(image, radius).sum((2, 3)), image.sum((2, 3)), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("radius", "taps"),
    [
        (0.5, [0.0002638650827, 0.106450772, 0.7865707259]),
        (1.0, [0.0001338306246, 0.00443186162, 0.05399112742, 0.2419714457, 0.3989434694]),
    ],
)
def test_taps_are_the_published_ones(radius, taps):
    row = blur_matrix(21, radius)[10]
    np.testing.assert_allclose(row[11 - len(taps) : 11], taps, rtol=1e-9)
    np.testing.assert_allclose(row, row[::-1], rtol=0, atol=0)
    assert np.count_nonzero(row) == 2 * len(taps) - 1


def test_blur_of_float32_stays_float32_and_near():
    image = noise(11, 7)
    blurred = blur(image.float(), 1.3)
    assert blurred.dtype == torch.float32
    torch.testing.assert_close(blurred.double(), blur(image, 1.3), rtol=0, atol=1e-5)
