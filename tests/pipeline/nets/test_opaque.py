"""What functions without a rule read, as measured, and how tensors lie over maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.nets.interval import Interval, Part
from pipeline.nets.opaque import Elementwise, Opaque, Order, measured_spans
from pipeline.nets.operators import BOUND, EXACT, PROBED


def picture(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def spans(function, *operands: Tensor, cost: int = 1) -> dict[tuple[int, int], list[tuple[int, int]]] | None:
    found = measured_spans(function, operands, cost)
    return None if found is None else {key: [(one.start, one.stop) for one in each] for key, each in found.items()}


def test_a_sliding_function_reads_what_its_kernel_covers():
    found = spans(lambda x: F.lp_pool2d(x.abs() + 1, 2, (3, 1), (2, 1)), picture(2, 9, 4))
    assert found == {(0, 0): [(0, 3), (2, 5), (4, 7), (6, 9)], (0, 1): [(0, 1), (1, 2), (2, 3), (3, 4)]}


def test_each_operand_is_measured_by_itself():
    found = spans(lambda x, y, z: x + y[:, :, 2:-2].flip(3) + z[..., None, None], picture(2, 6, 5), picture(2, 10, 5),
                  picture(2))  # fmt: skip
    assert found is not None and set(found) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert found[1, 0] == [(at + 2, at + 3) for at in range(6)]
    assert found[1, 1] == [(4 - at, 5 - at) for at in range(5)]


def test_one_axis_may_be_local_and_the_other_not():
    found = spans(lambda x: x - x.mean(3, keepdim=True), picture(2, 6, 7))
    assert found == {(0, 0): [(at, at + 1) for at in range(6)]}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda x: x.flatten(1),
        lambda x: x.transpose(2, 3),
        lambda x: F.adaptive_avg_pool2d(x, 1),
    ],
    ids=["of all positions", "to a vector", "rows to columns", "to one position"],
)
def test_nothing_is_gained_where_everything_is_read(function):
    assert spans(function, picture(2, 6, 6)) is None


def test_what_is_switched_off_around_the_given_values_is_found_around_noise():
    """At the given image every value is below the threshold."""
    image = picture(1, 6, 6) * 0 - 5
    found = spans(lambda x: F.avg_pool2d(F.threshold(x, -4.5, 0.0), 3, 1), image)
    assert found is not None and found[0, 0][1] == (1, 4)


def test_values_that_are_no_numbers_do_not_hide_or_feign_dependence():
    found = spans(lambda x: torch.log(x), picture(2, 5, 5))
    assert found is not None and found[0, 0] == [(at, at + 1) for at in range(5)]


def test_an_output_that_reads_nothing_of_a_map_has_an_empty_interval():
    found = spans(torch.zeros_like, picture(2, 4, 3))
    assert found == {(0, 0): [(0, 0)] * 4, (0, 1): [(0, 0)] * 3}


def test_a_costly_function_is_measured_in_blocks_that_hold_what_it_reads():
    image, fine = picture(2, 64, 4), lambda x: F.avg_pool2d(x, (3, 1), 1, (1, 0))
    exact, coarse = spans(fine, image), spans(fine, image, cost=1 << 40)
    assert exact is not None and coarse is not None
    assert exact[0, 0][20] == (19, 22)
    for small, large in zip(exact[0, 0], coarse[0, 0], strict=True):
        assert large[0] <= small[0] and small[1] <= large[1]
        assert large[1] - large[0] <= 8, "two blocks of four rows"


def opaque(function, *operands: Tensor) -> Opaque:
    return Opaque(function, "f", [tuple(x.shape[1:]) for x in operands], measured_spans(function, operands, 1))


@given(first=st.integers(0, 5), last=st.integers(0, 5), column=st.integers(0, 6))
def test_a_part_is_computed_from_what_it_reads_alone(first, last, column):
    def function(x: Tensor, y: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1) * y[:, :, :6, :7] + y.mean((1,), keepdim=True)[:, :, 2:8, :7]

    x, y = picture(2, 8, 9), picture(2, 8, 7) + 3
    operator = opaque(function, x, y)
    assert operator.local and operator.status == PROBED
    rows, columns = Interval(min(first, last), max(first, last) + 1), Interval(column, column + 1)
    parts, inputs = [], []
    for place, operand in enumerate((x, y)):
        read = [operator.operand(place).touched(wanted, axis, operand.shape[2 + axis])
                for axis, wanted in enumerate((rows, columns))]  # fmt: skip
        inputs.append(operand[:, :, read[0].as_slice(), read[1].as_slice()])
        parts.append(read)
    given_parts = [
        Part(wanted, read, size) for wanted, read, size in zip((rows, columns), parts[0], (8, 9), strict=True)
    ]
    value = operator.on_part(inputs, *given_parts)
    assert torch.equal(value, operator(x, y)[:, :, rows.as_slice(), columns.as_slice()])


def test_a_part_that_reads_nothing_of_an_operand_does_without_it():
    operator = opaque(lambda x: F.pad(x, (0, 0, 3, 0), value=2.0).tanh(), picture(2, 4, 4))
    assert operator.operand(0).touched(Interval(0, 2), 0, 4) == Interval(0, 0)
    rows, columns = Part(Interval(0, 2), Interval(0, 0), 4), Part(Interval(0, 4), Interval(0, 4), 4)
    value = operator.on_part([torch.zeros(1, 2, 0, 4)], rows, columns)
    assert torch.equal(value, torch.full((1, 2, 2, 4), 2.0).tanh())


def test_statuses_tell_measured_from_unknown():
    assert opaque(lambda x: x - x.mean((2, 3), keepdim=True), picture(2, 4, 4)).status == BOUND
    assert opaque(lambda x: x.cumsum(2), picture(2, 4, 4)).status == PROBED
    assert Elementwise(torch.tanh, "tanh").status == EXACT and Elementwise(torch.tanh, "tanh").local


@pytest.mark.parametrize(
    "order, shape",
    [
        (Order("first", (6, 4, 5)), (6, 4, 5)),
        (Order("first", (6, 20)), (6, 4, 5)),
        (Order("first", (7,)), (7,)),
        (Order("first", (3, 4, 5), rows=2), (6, 4, 5)),
        (Order("copies", (3, 4, 5), rows=2), (6, 4, 5)),
        (Order("first", (4, 5), rows=6), (6, 4, 5)),
        (Order("last", (4, 5, 6)), (6, 4, 5)),
        (Order("last", (20, 6)), (6, 4, 5)),
        (Order("last", (5, 6), rows=4), (6, 4, 5)),
        (Order("last", (6,), rows=20), (6, 4, 5)),
        (Order("sequence", (20, 6)), (6, 4, 5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_tensor_over_a_map_is_laid_out_and_back(order, shape, batch):
    x = torch.randn(batch, *shape)
    laid = order.unrolled(x)
    assert torch.equal(order.rolled(laid, shape), x)
    axis = 1 if order.axes == "sequence" else 0
    assert laid.shape[axis] == batch * order.rows
    assert tuple(size for at, size in enumerate(laid.shape) if at != axis) == order.shape


def test_copies_of_a_batch_come_one_whole_batch_after_the_other():
    """As torch.cat([left, right], 0) makes them."""
    left, right = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    rolled = Order("copies", (2, 4, 4), rows=2).rolled(torch.cat([left, right]), (4, 4, 4))
    assert torch.equal(rolled, torch.cat([left, right], 1))
