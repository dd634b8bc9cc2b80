"""A part of a graph's map equals the whole map, cut: values, gradients, at every border and through every operator."""

from __future__ import annotations

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.nets.graph import Graph
from pipeline.nets.interval import Interval
from pipeline.nets.network import GraphBuilder
from pipeline.nets.operators import InnerProduct, Operator, Relu, Reshape, Sum
from pipeline.nets.portion import Portion
from pipeline.nets.rearranging import Moved, Resize
from pipeline.nets.sliding import AveragePool, Convolution, Deconvolution, Enlarged, Interpolation, MaxPool
from pipeline.nets.window import intervals_below
from pipeline.priors.operators import NeighbourMean, Notch, SubPixels

MOST = 40  # rows or columns of a map in these tests
CHANNELS = 4

pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


class Values:
    """Reproducible numbers, all positive where the reach of an operator is to be seen."""

    def __init__(self, seed: int, positive: bool = False) -> None:
        self._random, self._positive = torch.Generator().manual_seed(seed), positive

    def __call__(self, *shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=self._random, dtype=torch.float64)
        return drawn.abs() + 0.1 if self._positive else drawn


@st.composite
def deconvolution(draw, values: Values) -> Deconvolution:
    stride, dilation = draw(pair), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    kernel, padding = draw(st.tuples(st.integers(1, 5), st.integers(1, 5))), draw(st.tuples(*[st.integers(0, 2)] * 2))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    groups = draw(st.sampled_from([1, 2]))
    bias = draw(st.sampled_from([None, CHANNELS]))
    weight = values(CHANNELS, CHANNELS // groups, *kernel)
    return Deconvolution(weight, None if bias is None else values(bias), stride, padding, dilation, groups, extra)


@st.composite
def convolution(draw, values: Values) -> Convolution:
    kernel, stride, padding = draw(pair), draw(st.sampled_from([(1, 1), (2, 1), (2, 2)])), draw(pair)
    groups, dilation = draw(st.sampled_from([1, 2])), draw(st.sampled_from([(1, 1), (2, 1)]))
    return Convolution(
        values(CHANNELS, CHANNELS // groups, *kernel), values(CHANNELS), stride, padding, dilation, groups
    )


@st.composite
def operators(draw, values: Values, size: tuple[int, int]) -> tuple[Operator, ...]:
    """One step up from a map of CHANNELS channels to another."""
    kind = draw(st.sampled_from(["up-convolution", "convolution", "enlarged", "interpolated", "mixed", "sub-pixels",
                                 "neighbours", "notch", "pool", "mean", "moved"]))  # fmt: skip
    if kind == "up-convolution":
        return (draw(deconvolution(values)),)
    if kind == "convolution":
        return (draw(convolution(values)),)
    if kind == "enlarged":
        return (Enlarged(draw(pair), draw(st.tuples(st.integers(0, 1), st.integers(0, 1)))),)
    if kind == "interpolated":
        return (Interpolation(tuple(draw(st.integers(1, 2 * side)) for side in size)),)
    if kind == "mixed":
        return (Resize(*(values(draw(st.integers(1, 6)), side) for side in size)),)
    if kind == "sub-pixels":
        return Convolution(values(4 * CHANNELS, CHANNELS, 3, 3), values(4 * CHANNELS), padding=(1, 1)), SubPixels()
    if kind == "moved":  # replicated borders
        return (Moved(range(CHANNELS), *([0, *range(side), side - 1] for side in size), 0.0),)
    return {
        "neighbours": (NeighbourMean(),),
        "notch": (Notch(),),
        "pool": (MaxPool((2, 3), (2, 1), (1, 1), "torch"),),
        "mean": (AveragePool((3, 2), (1, 2), (1, 0), "caffe", count_padding=False),),
    }[kind]


@st.composite
def generators(draw) -> Graph:
    """A graph from a vector or a map to a map, with a branch now and then."""
    values, builder = Values(draw(st.integers(0, 5))), GraphBuilder(None)
    size, at = draw(pair), builder.input
    beginning = draw(st.sampled_from(["vector", "map"]))
    if beginning == "vector":
        code: tuple[int, ...] = (5,)
        at = builder.add("product", InnerProduct(values(CHANNELS * size[0] * size[1], 5), values(1)), [at], None)
        at = builder.add("map", Reshape((CHANNELS, *size)), [at], None)
    else:
        code = (CHANNELS, *size)
    given_code = torch.zeros(1, *code, dtype=torch.float64)

    def size_now() -> tuple[int, int]:
        try:
            height, width = builder.values(given_code)[at].shape[2:]
        except RuntimeError:  # a kernel larger than the map, or an output of no size
            assume(False)
        assume(1 <= height <= MOST and 1 <= width <= MOST)
        return height, width

    for _ in range(draw(st.integers(1, 3))):
        for operator in draw(operators(values, size_now())):
            at = builder.add("part", operator, [at], None)
        if draw(st.booleans()):
            at = builder.add("relu", Relu(0.3), [at], None)
        size_now()
        if draw(st.integers(0, 4)) == 0:
            beside = Convolution(values(CHANNELS, CHANNELS, 3, 3), None, padding=(1, 1))
            at = builder.add("sum", Sum(), [at, builder.add("beside", beside, [at], None)], None)
    size_now()
    return Graph(builder.module(at), given_code, "generator")


@st.composite
def parts(draw, graph: Graph) -> tuple[Interval, Interval]:
    found = []
    for size in graph.shape(graph.output)[1:]:
        start = draw(st.integers(0, size - 1))
        found.append(Interval(start, draw(st.integers(start + 1, size))))
    return found[0], found[1]


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_part_equals_the_whole_map_cut_and_so_does_its_gradient(data):
    graph = data.draw(generators())
    rows, columns = data.draw(parts(graph))
    code = Values(9)(2, *graph.shape(graph.input)).requires_grad_()
    above = Values(10)(2, graph.shape(graph.output)[0], len(rows), len(columns))
    whole = graph.graph(code)[:, :, rows.as_slice(), columns.as_slice()]
    part = Portion(graph, rows, columns)(code)
    assert part.shape == whole.shape
    scale = graph.graph(code).detach().abs().max()
    assert (part - whole).abs().max() <= 1e-10 * scale
    expected, got = (torch.autograd.grad(value, code, above)[0] for value in (whole, part))
    assert (got - expected).abs().max() <= 1e-10 * max(1.0, float(expected.abs().max()))
    graph.graph.float()
    with torch.no_grad():
        single = Portion(graph, rows, columns)(code.float())
    assert (single - whole).abs().max() <= 1e-5 * max(1.0, float(scale))


@settings(deadline=None, max_examples=60)
@given(
    axis=st.integers(0, 1), kernel=st.integers(1, 5), stride=st.integers(1, 3), padding=st.integers(0, 2),
    dilation=st.integers(1, 3), extra=st.integers(0, 2), size=st.integers(1, 4), data=st.data(),
)  # fmt: skip
def test_an_up_convolution_reads_what_its_gradient_reaches_and_nothing_else(
    axis, kernel, stride, padding, dilation, extra, size, data
):
    count = (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + extra
    assume(count > 0 and extra < max(stride, dilation))
    one, none = [1, 1], [0, 0]
    form = [one[:], one[:], none[:], one[:], none[:]]
    for numbers, number in zip(form, (kernel, stride, padding, dilation, extra), strict=True):
        numbers[axis] = number
    shape, strides, paddings, dilations, extras = map(tuple, form)
    operator = Deconvolution(Values(3, positive=True)(1, 1, *shape), None, strides, paddings, dilations, 1, extras)
    x = torch.ones(1, 1, *(size if at == axis else 1 for at in (0, 1)), dtype=torch.float64, requires_grad=True)
    value, start = operator(x), data.draw(st.integers(0, count - 1))
    wanted = Interval(start, data.draw(st.integers(start + 1, count)))
    (slope,) = torch.autograd.grad(value.narrow(2 + axis, wanted.start, len(wanted)).sum(), x)
    reached = slope.flatten().nonzero().flatten().tolist()
    hull = Interval(reached[0], reached[-1] + 1) if reached else Interval(0, 0)
    assert operator.touched(wanted, axis, size) == hull


def test_a_part_costs_what_it_computes():
    values, builder = Values(0), GraphBuilder(None)
    at = builder.add("up", Deconvolution(values(4, 4, 2, 2), None, (2, 2)), [builder.input], None)
    at = builder.add("conv", Convolution(values(3, 4, 1, 1), None), [at], None)
    graph = Graph(builder.module(at), torch.zeros(0, 4, 8, 8, dtype=torch.float64), "generator")
    whole = Portion(graph, Interval(0, 16), Interval(0, 16))
    part = Portion(graph, Interval(2, 6), Interval(0, 16))
    assert whole.macs() == 64 * 4 * 4 * 4 + 256 * 3 * 4 == 4 * part.macs()
    assert whole.map_bytes() == 4 * 256 * (4 + 3) == 4 * part.map_bytes()
    assert intervals_below(graph, graph.output, Interval(2, 6), 0)[graph.input] == Interval(1, 3)
