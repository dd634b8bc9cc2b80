"""The fast transpose of an image's strided convolution equals the plain one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pipeline.nets.interval import Interval, Part
from pipeline.nets.sliding import Convolution
from pipeline.nets.transposed import ImageConvolution, of_image, transposed_convolution

SHAPES = [((5, 3, 11, 11), (4, 4)), ((4, 1, 7, 5), (2, 3)), ((4, 3, 2, 3), (3, 3)), ((6, 4, 3, 1), (1, 2))]


@pytest.mark.parametrize(("shape", "stride"), SHAPES)
@pytest.mark.parametrize("padding", [(0, 0), (1, 0)])
def test_the_fast_form_is_torchs_transposed_convolution(shape, stride, padding):
    torch.manual_seed(1)
    weight = torch.randn(shape, dtype=torch.float64)
    above = torch.randn(2, shape[0], 4, 5, dtype=torch.float64)
    assert of_image(weight, stride, (1, 1), 1)
    found = transposed_convolution(above, weight, stride, padding, (1, 1), 1)
    expected = functional.conv_transpose2d(above, weight, None, stride, padding)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("shape", "stride"), SHAPES)
def test_an_image_convolutions_gradient_is_torchs(shape, stride):
    torch.manual_seed(2)
    weight, bias = torch.randn(shape, dtype=torch.float64), torch.randn(shape[0], dtype=torch.float64)
    size = [shape[2 + a] + 3 * stride[a] for a in (0, 1)]
    x = torch.randn(2, shape[1], *size, dtype=torch.float64, requires_grad=True)
    above = torch.randn(2, shape[0], 4, 4, dtype=torch.float64)
    value = functional.conv2d(x, weight, bias, stride)
    (expected,) = torch.autograd.grad(value, x, above)
    found = ImageConvolution.apply(x, weight, bias, stride)
    assert torch.equal(found, value)
    torch.testing.assert_close(torch.autograd.grad(found, x, above)[0], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (1, 5), (4, 7), (0, 7)])
def test_a_parts_transposed_map_is_its_gradient(groups, start, stop):
    torch.manual_seed(3)
    operator = Convolution(torch.randn(4, 6 // groups, 3, 2), None, (2, 1), (2, 1), (1, 2), groups)
    rows, columns = (
        Part(Interval(start, stop), operator.touched(Interval(start, stop), axis, size), size)
        for axis, size in ((0, 13), (1, 8))
    )
    x = torch.randn(2, 6, len(rows.given), len(columns.given), requires_grad=True)
    value = operator.on_part([x], rows, columns)
    above = torch.randn_like(value)
    (expected,) = torch.autograd.grad(value, x, above)
    torch.testing.assert_close(operator.transposed(above, rows, columns), expected)
