"""Which layers have an off state: zero or less, because a ReLU stands right behind or before."""

from __future__ import annotations

from pipeline.nets.network import HIDDEN, Network


def is_rectified(network: Network, layer: str) -> bool:
    """Whether the layer's values are what ReLUs have passed, so that zero means off."""
    return bool(network.last_relus(layer))


def is_gated(network: Network, layer: str) -> bool:
    """Whether everything above reads the layer through a ReLU, so that a value of zero or less means off."""
    node = network.layer(layer).node
    readers = [above for above in network.nodes if node in network.parents(above)]
    passed: list[str] = []
    while readers:  # batch normalisation and the like stand between: then the sign says nothing
        reader = readers.pop()
        kind = network.operator(reader).kind
        if kind in HIDDEN:
            readers += [above for above in network.nodes if reader in network.parents(above)]
        else:
            passed.append(kind)
    return bool(passed) and all(kind == "relu" for kind in passed)
