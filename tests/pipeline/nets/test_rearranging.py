"""Operators that move values: any part equals the cut of the whole, and reads no more than it needs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nets.interval import Interval, Part
from pipeline.nets.operators import BOUND, EXACT
from pipeline.nets.rearranging import (
    FILLED,
    Constant,
    Detach,
    LayerNorm,
    Moved,
    Resize,
    TokenConcat,
    Tokens,
    UnevenMaxPool,
)

HEIGHT, WIDTH = 7, 9


def matrix(outputs: int, size: int, reach: int) -> torch.Tensor:
    rows = torch.zeros(outputs, size)
    for at in range(outputs):
        first = min(at * size // outputs, size - reach)
        rows[at, first : first + reach] = torch.arange(1.0, reach + 1)
    return rows


OPERATORS = {
    "crop": Moved([0, 1, 2], range(2, 6), range(1, 9), 0.0),
    "padding": Moved([0, 1, 2], [FILLED, *range(7), FILLED], [FILLED] * 2 + [*range(9)], 0.5),
    "reflected": Moved([2, 0], [2, 1, 0, 1, 2, 3], [8, 7, 6], 0.0),
    "shift": Moved([0, 1, 2], [5, 6, 0, 1, 2, 3, 4], range(9), 0.0),
    "strided": Moved([1], range(0, 7, 2), range(1, 9, 3), 0.0),
    "repeated": Moved([0, 0, 1, 1], [0, 0, 0, 3, 3], [FILLED, 4, 4], 2.0),
    "resized": Resize(matrix(11, 7, 2), matrix(4, 9, 3)),
    "uneven maximum": UnevenMaxPool((3, 5)),
    "constant": Constant(torch.randn(3, 7, 9)),
    "detached": Detach(),
    "layer norm": LayerNorm(torch.rand(3), torch.rand(3), 1e-5),
}


@pytest.mark.parametrize("name", OPERATORS)
@given(cuts=st.tuples(*[st.floats(0, 0.999)] * 4))
def test_any_part_is_the_cut_of_the_whole_and_depends_on_nothing_else(name, cuts):
    operator, x = OPERATORS[name], torch.randn(2, 3, HEIGHT, WIDTH)
    whole, parts = operator(x), []
    for axis, (one, other) in enumerate((cuts[:2], cuts[2:])):
        ends = sorted(int(cut * whole.shape[2 + axis]) for cut in (one, other))
        wanted, size = Interval(ends[0], ends[1] + 1), x.shape[2 + axis]
        parts.append(Part(wanted, operator.touched(wanted, axis, size), size))
    given_part = x[:, :, parts[0].given.as_slice(), parts[1].given.as_slice()]
    value = operator.on_part([given_part], *parts)
    expected = whole[:, :, parts[0].wanted.as_slice(), parts[1].wanted.as_slice()]
    assert value.shape == expected.shape and torch.allclose(value, expected, atol=1e-6)
    changed = x + 100  # everything else may be anything
    changed[:, :, parts[0].given.as_slice(), parts[1].given.as_slice()] = given_part
    again = operator(changed)[:, :, parts[0].wanted.as_slice(), parts[1].wanted.as_slice()]
    assert torch.allclose(again, expected, atol=1e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_parts_of_equal_alignment_run_in_one_batch(name):
    """Two parts of equal lengths and alignment give each its own values with the other's part in hand."""
    operator, x = OPERATORS[name], torch.randn(1, 3, HEIGHT, WIDTH)
    whole, seen = operator(x), {}
    everywhere = Part(Interval(0, whole.shape[3]), operator.touched(Interval(0, whole.shape[3]), 1, WIDTH), WIDTH)
    for row in range(whole.shape[2]):
        wanted = Interval(row, row + 1)
        part = Part(wanted, operator.touched(wanted, 0, HEIGHT), HEIGHT)
        key = (len(part.given), operator.alignment(part, 0))
        first = seen.setdefault(key, part)
        cut = x[:, :, part.given.as_slice(), everywhere.given.as_slice()]
        value = operator.on_part([cut], first, everywhere)
        assert torch.allclose(value, whole[:, :, row : row + 1], atol=1e-6), row


def test_what_is_moved_alike_everywhere_is_regular_and_may_stick_out():
    crop, padding, shift = (OPERATORS[name] for name in ("crop", "padding", "shift"))
    assert crop.regular and padding.regular and not shift.regular
    assert crop.needed(Interval(0, 2), 0, HEIGHT) == Interval(2, 4)
    assert padding.needed(Interval(0, 1), 0, HEIGHT) == Interval(-1, 0)
    assert padding.touched(Interval(0, 1), 0, HEIGHT) == Interval(0, 0)
    assert shift.needed(Interval(1, 3), 0, HEIGHT) == Interval(0, 7)


def test_resampling_by_matrices_is_torchs():
    x = torch.randn(1, 2, 7, 9)
    rows = F.interpolate(torch.eye(7)[:, None, :, None].expand(7, 1, 7, 9), (14, 9), mode="bilinear")[:, 0, :, 0].T
    columns = torch.eye(9)
    expected = F.interpolate(x, (14, 9), mode="bilinear")
    assert torch.allclose(Resize(rows, columns)(x), expected, atol=1e-5)


def test_the_uneven_maximum_is_torchs_with_the_windows_of_its_definition():
    x = torch.randn(2, 3, HEIGHT, WIDTH)
    operator = OPERATORS["uneven maximum"]
    assert torch.equal(operator(x), F.adaptive_max_pool2d(x, (3, 5)))
    assert [operator.needed(Interval(at, at + 1), 0, 7) for at in range(3)] == [
        Interval(0, 3), Interval(2, 5), Interval(4, 7),
    ]  # fmt: skip


def test_tokens_are_put_together_and_taken_apart():
    token, patches = torch.randn(2, 4, 1, 1), torch.randn(2, 4, 3, 5)
    sequence = TokenConcat()(token, patches)
    assert sequence.shape == (2, 4, 16, 1)
    assert torch.equal(Tokens(0, (4,))(sequence), token[:, :, 0, 0])
    assert torch.equal(Tokens(1, (4, 3, 5))(sequence), patches)
    assert TokenConcat().status == Tokens(0, (4,)).status == BOUND and Detach().status == EXACT


def test_layer_norm_is_torchs_at_every_position_and_of_vectors():
    weight, bias, x = torch.rand(3), torch.rand(3), torch.randn(2, 3, 4, 5)
    operator = LayerNorm(weight, bias, 1e-5)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (3,), weight, bias).permute(0, 3, 1, 2)
    assert torch.equal(operator(x), expected)
    assert torch.equal(operator(x[:, :, 1, 2]), operator(x)[:, :, 1, 2])
    assert LayerNorm(None, None, 1e-5)(x).mean(1).abs().max() < 1e-6


def test_no_gradient_passes_where_a_value_is_detached_or_constant():
    x = torch.randn(1, 3, HEIGHT, WIDTH, requires_grad=True)
    assert not Detach()(x).requires_grad and not OPERATORS["constant"](x).requires_grad
    assert OPERATORS["constant"](x).shape == (1, 3, HEIGHT, WIDTH)
