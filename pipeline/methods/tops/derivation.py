"""Decide which layers have to be measured, and which follow exactly from measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.methods.tops.blocks import JOIN, RELU, Source
from pipeline.nets.network import Network
from pipeline.nets.operators import Relu


@dataclass(frozen=True)
class Derivation:
    """Which layers are measured, and how the others follow from them.

    measured : measured layers, in the order of the graph.
    sources : other layer → what it follows from, in the order of the graph.
    relu_of : measured layer → the ReLU layer whose reading follows from its own.
    """

    measured: tuple[str, ...]
    sources: Mapping[str, Source]
    relu_of: Mapping[str, str]

    def joins(self, name: str) -> bool:
        """Whether the layer's units are unchanged units of other layers."""
        return name in self.sources and self.sources[name].rule == JOIN


def derive(network: Network, layers: Sequence[str]) -> Derivation:
    """How the named layers follow from one another.

    The maximum of a plain ReLU is the ReLU of the maximum. Copies and concatenations repeat the units of their inputs.
    This is used if the layers below are among the named ones. The class layer is always measured itself.
    """
    by_node: dict[str, str] = {}
    sources: dict[str, Source] = {}
    relu_of: dict[str, str] = {}
    measured: list[str] = []
    for name in sorted(layers, key=lambda name: network.nodes.index(network.layer(name).node)):
        node = network.layer(name).node
        operator = network.operator(node)
        below = tuple(by_node.get(parent, "") for parent in network.parents(node))
        if name != network.class_layer and node in by_node:
            sources[name] = Source(JOIN, (by_node[node],))
        elif name != network.class_layer and all(below) and operator.kind in ("identity", "concat"):
            sources[name] = Source(JOIN, below)
        elif below[0] in measured and below[0] not in relu_of and isinstance(operator, Relu) and operator.slope == 0:
            sources[name], relu_of[below[0]] = Source(RELU, below), name
        else:
            measured.append(name)
        by_node.setdefault(node, name)
    return Derivation(tuple(measured), sources, relu_of)
