"""The card of a network: its layer table with windows, costs and measures, without the weights."""

from __future__ import annotations

import numpy as np

from pipeline.card import LayerCard, NetworkCard
from pipeline.nets.cone import Cone, FullPass
from pipeline.nets.network import HIDDEN, Layer, Network
from pipeline.nets.window import open_window, receptive_fields, window


def network_card(network: Network) -> NetworkCard:
    """The description of the network that is stored in an atlas."""
    size = network.preprocessing
    names = {layer.node: layer.name for layer in network.layers.values()}
    titles = {node: names.get(node, node) for node in (network.input, *network.nodes)}
    return NetworkCard(
        name=network.name,
        digest=network.digest,
        layers=tuple(_layer_card(network, layer) for layer in network.layers.values()),
        nodes=tuple(titles.values()),
        edges=tuple((titles[parent], titles[node]) for node in network.nodes for parent in network.parents(node)),
        labels=network.labels,
        class_layer=network.class_layer,
        height=size.height,
        width=size.width,
        order=size.order,
        mean=tuple(tuple(tuple(row) for row in plane) for plane in size.mean.astype(np.float32).tolist()),
        gain=tuple(size.gain.tolist()),
        interpolation=size.interpolation,
    )


def _layer_card(network: Network, layer: Layer) -> LayerCard:
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
        has_units=layer.kind not in HIDDEN,
        macs={"window": cone.macs(), "image": full.macs()},
        bytes={"window": cone.map_bytes(), "image": full.map_bytes()},
    )


def _measure(network: Network, layer: Layer, cone: Cone) -> str:
    """The value that an activation of the layer is, in words."""
    if cone.gates:
        return f"{layer.name}, before its ReLU"
    return f"{layer.name}, after the ReLU" if cone.rectified else layer.name
