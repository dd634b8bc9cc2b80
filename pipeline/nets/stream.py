"""All layers of a network in one pass, each value as it is computed, so that few are held at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from pipeline.nets.network import Network
from pipeline.nets.operators import Relu

_FRESH = frozenset({"conv", "deconv", "affine", "fc"})  # operators that always compute into memory of their own


def stream(network: Network, image: Tensor, layers: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield (layer, value) of the named layers in the order of the graph, as `Network.run` computes them.

    A value holds only until the next is asked for: a ReLU that alone reads a convolution (or the like) writes over
    it, which spares memory and time where maps are large. Not for use with gradients.
    """
    names: dict[str, list[str]] = {}
    for name in layers:
        names.setdefault(network.layer(name).node, []).append(name)
    order = network.ancestors(list(names))
    uses = dict.fromkeys((network.input, *order), 0)
    for node in order:
        for parent in network.parents(node):
            uses[parent] += 1
    values = {network.input: image}
    for node in order:
        parents, operator = network.parents(node), network.operator(node)
        inputs = [values[parent] for parent in parents]
        for parent in parents:
            uses[parent] -= 1
            if uses[parent] == 0:
                values.pop(parent, None)
        plain = isinstance(operator, Relu) and operator.slope == 0
        if plain and uses[parents[0]] == 0 and parents[0] != network.input and _is_fresh(network, parents[0]):
            values[node] = inputs[0].relu_()
        else:
            values[node] = operator(*inputs)
        del inputs
        for name in names.get(node, ()):
            yield name, values[node]
        if uses[node] == 0:
            del values[node]


def _is_fresh(network: Network, node: str) -> bool:
    return network.operator(node).kind in _FRESH
