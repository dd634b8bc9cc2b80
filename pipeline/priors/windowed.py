"""A generator on a window: only the rows and columns of each of its maps that the window needs.

A unit with a small receptive field sees a few pixels of the generator's images. Intervals are followed from these
pixels down to the code, as cones follow them from a unit to the pixels (`pipeline.nets.portion`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from pipeline.nets.graph import Graph
from pipeline.nets.interval import Interval
from pipeline.nets.network import GraphBuilder
from pipeline.nets.operators import InnerProduct, Operator, Pointwise, Power, Relu, Reshape
from pipeline.nets.portion import Portion
from pipeline.nets.rearranging import Resize
from pipeline.nets.sliding import Convolution
from pipeline.priors.generator import Generator, Lowered
from pipeline.priors.operators import NeighbourMean, Notch, SubPixels


def windowed(
    generator: nn.Module, code_shape: tuple[int, ...], rows: Interval, columns: Interval
) -> Callable[[Tensor], Tensor]:
    """A function from codes (batch, *code_shape) to these rows and columns of the generator's images.

    generator : of a prior, in evaluation mode, where it is to run; its weights are shared, not copied. Of one that is
        neither the project's own nor a graph of operators, the images are drawn whole and cut.
    rows, columns : inside the images.
    The values are those of the generator itself but for rounding; for whole images it is the generator itself.
    """
    if isinstance(generator, Lowered):
        draw = windowed(generator.generator, code_shape, rows, columns)
        return lambda code: draw(code.bfloat16()).float()
    graph = generator_graph(generator, code_shape)
    whole = None if graph is None else tuple(Interval(0, size) for size in graph.shape(graph.output)[1:])
    if graph is None or whole == (rows, columns):
        inside = (slice(None), slice(None), rows.as_slice(), columns.as_slice())
        return lambda code: generator(code)[inside]
    return Portion(graph, rows, columns)


def generator_graph(generator: nn.Module, code_shape: tuple[int, ...]) -> Graph | None:
    """A generator as a graph of operators that share its weights; None for one of another form."""
    if isinstance(generator, Generator):
        module = _graph_of(generator)
    elif isinstance(generator, fx.GraphModule) and all(isinstance(part, Operator) for part in generator.children()):
        module = generator
    else:
        return None
    weight = next(generator.parameters())
    nothing = torch.zeros(0, *code_shape, dtype=weight.dtype, device=weight.device)  # no code takes no time to measure
    return Graph(module, nothing, "generator")


@torch.no_grad()
def _graph_of(generator: Generator) -> fx.GraphModule:
    """The operators of the project's own generator, in evaluation mode. See `Generator.forward`."""
    shape, builder = generator.shape, GraphBuilder(None)
    at = builder.input

    def add(operator: Operator) -> None:
        nonlocal at
        at = builder.add("part", operator, [at], None)

    def convolve(layer: nn.Conv2d) -> None:
        add(Convolution(layer.weight, layer.bias, padding=(1, 1)))
        add(Relu(shape.slope))

    add(Power(1.0, 1 / shape.scale, 0.0))
    if len(shape.code) == 1:
        for product in (generator.first, generator.second):
            add(InnerProduct(product.weight, product.bias))
            add(Relu(shape.slope))
        add(Reshape((shape.channels[0], *shape.grid)))
    else:
        convolve(generator.first)
        convolve(generator.second)
        if shape.code[1:] != shape.grid:
            sizes = zip(shape.code[1:], shape.grid, strict=True)
            add(Resize(*(_stretched(size, wanted, generator.first.weight) for size, wanted in sizes)))
    for up, second in zip(generator.ups, generator.seconds, strict=True):
        add(Convolution(up.weight, up.bias.repeat_interleave(4), padding=(1, 1)))
        add(SubPixels())
        add(NeighbourMean())
        add(Relu(shape.slope))
        if not isinstance(second, nn.Identity):
            convolve(second)
    last = generator.last
    add(Convolution(last.kernels(), last.bias.repeat_interleave(4), padding=(1, 1)))
    add(SubPixels())
    if shape.notch:
        add(Notch())
    add(Pointwise(nn.Tanh(), "tanh"))
    return builder.module(at)


def _stretched(size: int, wanted: int, like: Tensor) -> Tensor:
    """Linear interpolation along an axis, as the generator's, as a matrix (output, input)."""
    unit = torch.eye(size, dtype=like.dtype, device=like.device)[None]
    return functional.interpolate(unit, wanted, mode="linear", align_corners=False)[0].T
