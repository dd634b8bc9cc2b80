"""Generators: what they give for codes and images of any form, and the doubling that is computed before it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.errors import SettingsError
from pipeline.priors.generator import LARGEST_GRID, SMALLEST_GRID, DoublingConvolution, Generator, GeneratorShape

SHAPE = GeneratorShape(
    code=(10,), image=(64, 64), hidden=12, grid_channels=16, least_channels=4, twice_up_to=8, slope=0.2, scale=2.0
)


@given(rows=st.integers(4, 300), columns=st.integers(4, 300))
def test_the_grid_is_small_and_the_image_large_enough(rows, columns):
    shape = replace(SHAPE, image=(rows, columns))
    assert max(shape.grid) <= LARGEST_GRID
    if max(rows, columns) > LARGEST_GRID:
        assert max(shape.grid) >= SMALLEST_GRID
    for side, wanted in zip(shape.size, (rows, columns), strict=True):
        assert wanted <= side < wanted + 2**shape.doublings


@pytest.mark.parametrize(
    ("image", "grid", "doublings"), [(64, 4, 4), (96, 6, 4), (128, 4, 5), (224, 7, 5), (227, 4, 6)]
)
def test_known_sizes(image, grid, doublings):
    shape = replace(SHAPE, image=(image, image))
    assert (shape.grid, shape.doublings) == ((grid, grid), doublings)


@settings(deadline=None, max_examples=20)
@given(code=st.sampled_from([(10,), (3, 6, 6), (5, 13, 13), (4, 1, 1)]), image=st.sampled_from([(16, 16), (40, 24)]))
def test_codes_of_any_form_become_images(code, image):
    shape = replace(SHAPE, code=code, image=image)
    with torch.no_grad():
        made = Generator(shape)(torch.randn(2, *code))
    assert tuple(made.shape) == (2, 3, *shape.size)
    assert float(made.abs().max()) < 1


@settings(deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_doubling_convolution_is_repetition_and_convolution(rows, columns, seed):
    torch.manual_seed(seed)
    layer = DoublingConvolution(3, 2).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    value = torch.randn(2, 3, rows, columns, dtype=torch.float64)
    repeated = value.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = functional.conv2d(repeated, layer.weight, layer.bias, padding=2)
    torch.testing.assert_close(layer(value), expected, rtol=1e-10, atol=1e-10)


def test_a_flat_grid_becomes_a_flat_image():
    """No checkerboard is built in: where the grid's pixels are alike, so are the image's whose cone meets no border."""
    torch.manual_seed(0)
    generator = Generator(replace(SHAPE, code=(3, 7, 7), image=(112, 112)))
    with torch.no_grad():
        made = generator(torch.ones(1, 3, 7, 7) * torch.randn(1, 3, 1, 1))
    inner = made[0, :, 55:57, 55:57]  # of the grid they see the rows 0 to 6, all there are
    torch.testing.assert_close(inner, inner[:, :1, :1].expand_as(inner), rtol=0, atol=1e-6)
    assert float(made.std()) > 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"code": (3, 4)}, "expected \\(entry"), ({"image": (3, 64)}, "at least 4"), ({"scale": 0.0}, "all codes zero")],
)
def test_forms_that_cannot_be_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        replace(SHAPE, **changes)
