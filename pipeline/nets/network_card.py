"""The card of a network: its layer table with windows, costs and measures, without the weights."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from pipeline.card import LayerCard, NetworkCard
from pipeline.nets.cone import Cone, FullPass
from pipeline.nets.network import HIDDEN, Layer, Network, normalization, shown_layers, stream
from pipeline.nets.operators import BOUND, EXACT, PROBED, WHOLE, Concat, Pointwise, Sum
from pipeline.nets.rearranging import Tokens
from pipeline.nets.window import is_local, open_window, receptive_fields, window

_NONLINEARITIES = {"relu": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU", "elu": "ELU", "selu": "SELU"}
_BORDER = 16  # a border that is perturbed is a sixteenth of the image


def network_card(network: Network) -> NetworkCard:
    """The description of the network that is stored in an atlas."""
    size = network.preprocessing
    names = {layer.node: layer.name for layer in network.layers.values() if not layer.same_as}
    titles = {node: names.get(node, node) for node in (network.input, *network.nodes)}
    shown, statuses = frozenset(shown_layers(network)), window_statuses(network)
    return NetworkCard(
        name=network.name,
        digest=network.digest,
        layers=tuple(_layer_card(network, layer, shown, statuses[layer.name]) for layer in network.layers.values()),
        nodes=tuple(titles.values()),
        edges=tuple((titles[parent], titles[node]) for node in network.nodes for parent in network.parents(node)),
        labels=network.labels,
        class_layer=network.class_layer,
        height=size.height,
        width=size.width,
        order=size.order,
        mean=tuple(tuple(tuple(row) for row in plane) for plane in size.mean.astype(np.float32).tolist()),
        gain=tuple(size.gain.tolist()),
        class_layer_guessed=network.class_layer_guessed,
        interpolation=size.interpolation,
    )


def _layer_card(network: Network, layer: Layer, shown: Collection[str], status: str) -> LayerCard:
    rows, columns = receptive_fields(network, layer.name)
    cone, full = Cone(network, layer.name), FullPass(network, layer.name)
    inside, outside = window(network, layer.name, *layer.centre), open_window(network, layer.name, *layer.centre)
    return LayerCard(
        name=layer.name,
        kind=layer.kind,
        channels=layer.channels,
        height=layer.height,
        width=layer.width,
        centre=layer.centre,
        window_size=(rows.size, columns.size),
        window_stride=(rows.stride, columns.stride),
        window_offset=(rows.first, columns.first),
        window=(inside.top, inside.left, inside.bottom, inside.right),
        open_window=(outside.top, outside.left, outside.bottom, outside.right),
        measure=_measure(network, layer, cone),
        has_units=layer.kind not in HIDDEN and not layer.same_as,
        macs={"window": cone.macs(), "image": full.macs()},
        bytes={"window": cone.map_bytes(), "image": full.map_bytes()},
        shown=layer.name in shown,
        same_as=layer.same_as,
        window_status=status,
    )


def _measure(network: Network, layer: Layer, cone: Cone) -> str:
    """The value that an activation of the layer is, in words."""
    source, names = network.source(layer.name), {each.node: each.name for each in network.layers.values()}
    operator, words = network.operator(source), [layer.name]
    if isinstance(network.operator(layer.node), Tokens):
        words.append("at the patches" if layer.spatial else "at the class token")
    below = _normalized(network, source)
    if below:
        words.append(f"the normalization of {names.get(below, below)}")
    elif isinstance(operator, Sum) and len(network.parents(source)) > 1:
        words.append("a sum of branches")
    elif isinstance(operator, Concat):
        words.append("a concatenation of branches")
    readers = [network.operator(node) for node in network.readers(source)]
    bends = {reader.kind for reader in readers if isinstance(reader, Pointwise)}
    if cone.gates:
        words.append("before its ReLU")
    elif cone.rectified:
        words.append("after the ReLU")
    elif normalization(network, source):
        words.append("before its normalization")
    elif readers and len(bends) == 1 and all(isinstance(reader, Pointwise) for reader in readers):
        kind = bends.pop()
        words.append(f"before its {_NONLINEARITIES.get(kind, kind)}")
    return ", ".join(words)


def _normalized(network: Network, node: str) -> str:
    """The convolution or the like whose fixed normalization a node is the end of, or ""."""
    at = node
    while at != network.input and network.operator(at).kind == "affine":
        at = network.parents(at)[0]
    return at if at not in (node, network.input) and normalization(network, at)[-1:] == (node,) else ""


def window_statuses(network: Network) -> dict[str, str]:
    """What is known of each layer's windows, by the name of the layer.

    exact : every operator below says what it reads.
    probed : what some read was measured, which proves no bound.
    whole image : the layer depends on all positions of a map; where no rule says so, a change near each border of
        the image was seen to change the value at the centre.
    upper bound : the whole image, because an operator has no rule, though no such change was seen.
    """
    found = {}
    for layer in network.layers.values():
        operators = [network.operator(node) for node in network.ancestors([layer.node])]
        kinds = {operator.status for operator in operators}
        if is_local(network, layer.name):
            found[layer.name] = PROBED if PROBED in kinds else EXACT
        else:
            found[layer.name] = BOUND if BOUND in kinds or PROBED in kinds else WHOLE
    doubtful = [name for name, status in found.items() if status == BOUND]
    for name in _seeing_all_borders(network, doubtful) if doubtful else ():
        found[name] = WHOLE
    return found


@torch.no_grad()
def _seeing_all_borders(network: Network, layers: list[str]) -> list[str]:
    """The layers whose value at the centre changes with the top, the bottom, the left and the right of the image."""
    size = network.preprocessing
    generator = torch.Generator().manual_seed(0)
    shape = (size.channels, size.height, size.width)
    image, other = (50 * torch.randn(shape, generator=generator) for _ in range(2))
    images = image.repeat(5, 1, 1, 1)
    rows, columns = max(1, size.height // _BORDER), max(1, size.width // _BORDER)
    for place, cut in enumerate(
        (
            (slice(None), slice(0, rows)),
            (slice(None), slice(-rows, None)),
            (slice(None), slice(None), slice(0, columns)),
            (slice(None), slice(None), slice(-columns, None)),
        ),
        start=1,
    ):
        images[place][cut] = other[cut]
    seeing = []
    for name, value in stream(network, images, layers):
        row, column = network.layer(name).centre
        centre = value if value.dim() == 2 else value[:, :, row, column]
        if bool((centre[1:] != centre[:1]).any(dim=1).all()):
            seeing.append(name)
    return seeing
