"""A torch.fx graph whose nodes are operators, with the shape of every value: the form of networks and generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from pipeline.errors import DefinitionError
from pipeline.nets.interval import Interval
from pipeline.nets.operators import Operator
from pipeline.nets.rearranging import Constant


class Graph:
    """Operators in their order, with what each reads.

    The nodes of the torch.fx graph are one placeholder, one call_module for each operator, and the output.
    input, output : names of the node that the graph reads and of the one that it returns.
    """

    def __init__(self, graph: fx.GraphModule, given: Tensor, title: str) -> None:
        """A graph with its shapes.

        given : an input; the shapes of all values are those for it.
        title : what the graph is, for errors.
        Raises DefinitionError if an operator cannot take its inputs.
        """
        self.graph = graph.eval().requires_grad_(False)
        self._operators: dict[str, Operator] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._targets: dict[str, str] = {}  # node → its module's name in the graph, which survives pickling
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                self.input = node.name
            elif node.op == "call_module":
                self._targets[node.name] = node.target
                self._operators[node.name] = graph.get_submodule(node.target)
                self._parents[node.name] = tuple(parent.name for parent in node.args)
            elif node.op == "output":
                self.output = node.args[0].name
            else:
                raise DefinitionError(f"{title}: node {node.name} is a {node.op}, expected an operator")
        self.reads: dict[tuple, Interval] = {}  # what `window.read_interval` has found
        self._shapes = self._measure(given, title)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of all operator nodes, parents first."""
        return tuple(self._operators)

    def operator(self, node: str) -> Operator:
        return self._operators[node]

    def parents(self, node: str) -> tuple[str, ...]:
        return self._parents[node]

    def shape(self, node: str) -> tuple[int, ...]:
        """Shape of a node's value without the batch: (channel, row, column) or (unit,)."""
        return self._shapes[node]

    def macs(self, node: str) -> int:
        """Multiply-accumulates of a node alone for one input."""
        operator = self._operators.get(node)
        weight = getattr(operator, "weight", None)
        if weight is None or weight.dim() < 2 or isinstance(operator, Constant):
            return 0
        shape = self._shapes[node]
        positions = _area(self._shapes[self._parents[node][0]] if operator.kind == "deconv" else shape)
        return weight.numel() * positions

    def ancestors(self, targets: Sequence[str]) -> tuple[str, ...]:
        """The operator nodes that the target nodes depend on, themselves included, parents first."""
        needed = set(targets)
        for node in reversed(self.nodes):
            if node in needed:
                needed.update(self._parents[node])
        return tuple(node for node in self.nodes if node in needed)

    def _measure(self, given: Tensor, title: str) -> dict[str, tuple[int, ...]]:
        values = {self.input: given}
        with torch.no_grad():
            for node, operator in self._operators.items():
                parents = self._parents[node]
                try:
                    values[node] = operator(*(values[parent] for parent in parents))
                except (RuntimeError, ValueError, IndexError) as error:
                    shapes = ", ".join(str(tuple(values[parent].shape[1:])) for parent in parents)
                    reason = str(error).splitlines()[0]
                    raise DefinitionError(f"{title}: {node} cannot take inputs of shape {shapes}: {reason}") from None
        return {node: tuple(value.shape[1:]) for node, value in values.items()}


def _area(shape: tuple[int, ...]) -> int:
    return shape[1] * shape[2] if len(shape) == 3 else 1
