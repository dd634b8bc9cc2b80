"""A part of a graph's value: each node runs on the rows and columns that the part needs, exactly.

An interval is cut at the border of its map; what sticks out is padded explicitly, and the operator runs without
padding. The values therefore equal those of the whole map, also at borders and through branches.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.nets.graph import Graph
from pipeline.nets.interval import Interval, Part
from pipeline.nets.operators import (
    Affine,
    Concat,
    Identity,
    InnerProduct,
    OpenRelu,
    Operator,
    Relu,
    Reshape,
    Sum,
)
from pipeline.nets.sliding import Convolution, MaxPool
from pipeline.nets.window import Intervals, extent, intervals_below, read_interval

MULTIPLYING = (Convolution, InnerProduct)  # operators that lower precision makes faster
_LOWERED = (*MULTIPLYING, Affine, Sum)  # operators that compute in bfloat16 in a lowered step
_EITHER = (Relu, OpenRelu, MaxPool, Concat, Identity, Reshape)  # operators that only choose among their values

Needs = tuple[Intervals, Intervals]  # node → its rows, node → its columns


@dataclass(frozen=True)
class Step:
    """The part of one node: what it reads of its parents' parts, and what it computes.

    cuts : (rows, columns) to read, for each parent, within the part that was computed of it.
    rows, columns : what to compute, in terms of the first parent; only sliding operators use them, and these have one
        parent.
    channels : of the value.
    dtype : type to which what it reads is converted; None for as it is.
    """

    node: str
    operator: Operator
    parents: tuple[str, ...]
    cuts: tuple[tuple[slice, slice], ...]
    rows: Part
    columns: Part
    channels: int
    dtype: torch.dtype | None = None

    def inputs(self, values: dict[str, Tensor]) -> list[Tensor]:
        """What the node reads: cuts out of the parts that were computed for all readers of its parents."""
        read = []
        for parent, (rows, columns) in zip(self.parents, self.cuts, strict=True):
            value = values[parent]
            read.append(value[:, :, rows, columns] if value.dim() == 4 else value)
        return read

    def run(self, inputs: list[Tensor]) -> Tensor:
        inputs = self.converted(inputs)
        shape = len(self.rows.wanted), len(self.columns.wanted)
        if 0 in shape:  # the readers of this node read only padding
            return inputs[0].new_zeros(len(inputs[0]), self.channels, *shape)
        return self.operator.on_part(inputs, self.rows, self.columns)

    def converted(self, inputs: list[Tensor]) -> list[Tensor]:
        return inputs if self.dtype is None else [x.to(self.dtype) for x in inputs]

    def lowered(self) -> Step:
        """The step in bfloat16 if it gains by it; one that only passes values on takes them as they come."""
        if isinstance(self.operator, _LOWERED):
            return replace(self, operator=copy.deepcopy(self.operator).bfloat16(), dtype=torch.bfloat16)
        return self if isinstance(self.operator, _EITHER) else self.raised()

    def raised(self) -> Step:
        """The step in float32, whatever the steps below it compute in."""
        return replace(self, dtype=torch.float32)


def part_steps(graph: Graph, nodes: Sequence[str], needs: Needs) -> tuple[Step, ...]:
    """The steps that compute the needed parts of the nodes, parents first."""
    return tuple(_step(graph, node, needs) for node in nodes)


def _step(graph: Graph, node: str, needs: Needs) -> Step:
    parents = graph.parents(node)
    cuts, parts = [], []
    for axis, intervals in enumerate(needs):
        read = [read_interval(graph, node, place, intervals[node], axis) for place in range(len(parents))]
        cuts.append([part.within(intervals[parent]) for part, parent in zip(read, parents, strict=True)])
        parts.append(Part(intervals[node], read[0], extent(graph, parents[0], axis)))
    channels = graph.shape(node)[0]
    return Step(node, graph.operator(node), parents, tuple(zip(*cuts, strict=True)), *parts, channels)


def part_macs(graph: Graph, node: str, needs: Needs) -> int:
    """Multiply-accumulates of the needed part of a node, for one input."""
    area = len(needs[0][node]) * len(needs[1][node])
    return graph.macs(node) * area // (extent(graph, node, 0) * extent(graph, node, 1))


def part_bytes(graph: Graph, node: str, needs: Needs) -> int:
    """Bytes of the needed part of a node's float32 value, for one input."""
    shape = graph.shape(node)
    return 4 * shape[0] * (len(needs[0][node]) * len(needs[1][node]) if len(shape) == 3 else 1)


class Portion:
    """Some rows and columns of the map that a graph returns, as a function of the graph's whole input."""

    def __init__(self, graph: Graph, rows: Interval, columns: Interval) -> None:
        wanted = (rows, columns)
        self._graph = graph
        self._needs: Needs = tuple(  # type: ignore[assignment]
            intervals_below(graph, graph.output, wanted[axis], axis) for axis in (0, 1)
        )
        self._nodes = graph.ancestors([graph.output])
        self._steps = part_steps(graph, self._nodes, self._needs)
        uses = {parent: place for place, step in enumerate(self._steps) for parent in step.parents}
        self._last = [[node for node, last in uses.items() if last == place] for place in range(len(self._steps))]

    def __call__(self, given: Tensor) -> Tensor:
        """The rows × columns, (batch, channel, row, column).

        given : the graph's input, as a whole.
        """
        rows, columns = (needs[self._graph.input].as_slice() for needs in self._needs)
        value = given if given.dim() == 2 else given[:, :, rows, columns]
        values = {self._graph.input: value}
        for step, unused in zip(self._steps, self._last, strict=True):
            value = values[step.node] = step.run(step.inputs(values))
            for node in unused:
                del values[node]
        if given.requires_grad and not value.requires_grad:  # it reads nothing; a gradient must exist nevertheless
            value = value + given.flatten(1)[:, :0].sum()
        return value

    def macs(self) -> int:
        """Multiply-accumulates for one input."""
        return sum(part_macs(self._graph, node, self._needs) for node in self._nodes)

    def map_bytes(self) -> int:
        """Bytes of the float32 values of all nodes for one input, which a backward pass keeps."""
        return sum(part_bytes(self._graph, node, self._needs) for node in self._nodes)
