"""The groups of an atlas that describe its network."""

from __future__ import annotations

import h5py
import numpy as np

from atlas_viewer import format
from pipeline.card import NetworkCard


def write_network(file: h5py.File, card: NetworkCard) -> dict[str, str]:
    """Write root attributes, preprocessing, layer table, graph and labels; return layer → name of its group."""
    format.ROOT.create(
        file,
        {
            "format": format.FORMAT,
            "version": format.VERSION,
            "model": card.name,
            "model_digest": card.digest,
        },
    )
    size: dict[str, int | str] = {"height": card.height, "width": card.width, "channels": card.order}
    if card.interpolation != "bilinear":
        size["interpolation"] = card.interpolation
    preprocessing = format.PREPROCESSING.create(file, size)
    format.PREPROCESSING["mean"].write(preprocessing, np.array(card.mean, np.float32))
    format.PREPROCESSING["gain"].write(preprocessing, np.array(card.gain, np.float32))
    network = format.NETWORK.create(file, {})
    format.NETWORK["labels"].write(network, list(card.labels))
    _write_layers(file, card)
    graph = format.GRAPH.create(file, {})
    number = {node: place for place, node in enumerate(card.nodes)}
    edges = [(number[parent], number[node]) for parent, node in card.edges]
    format.GRAPH["nodes"].write(graph, list(card.nodes))
    format.GRAPH["edges"].write(graph, np.array(edges, np.int32).reshape(-1, 2))
    return format.group_names(layer.name for layer in card.layers)


def _write_layers(file: h5py.File, card: NetworkCard) -> None:
    table, layers = format.LAYERS.create(file, {}), card.layers
    columns = {
        "name": [layer.name for layer in layers],
        "kind": [layer.kind for layer in layers],
        "channels": np.array([layer.channels for layer in layers], np.int32),
        "height": np.array([layer.height for layer in layers], np.int32),
        "width": np.array([layer.width for layer in layers], np.int32),
        "window_size": np.array([layer.window_size for layer in layers], np.int32),
        "window_stride": np.array([layer.window_stride for layer in layers], np.int32),
        "window_offset": np.array([layer.window_offset for layer in layers], np.int32),
        "window_status": [layer.window_status for layer in layers],
        "measure": [layer.measure for layer in layers],
        "shown": np.array([layer.shown for layer in layers], bool),
        "same_as": [layer.same_as for layer in layers],
        "has_units": np.array([layer.has_units for layer in layers], bool),
        "class_layer": np.array([layer.name == card.class_layer for layer in layers], bool),
    }
    for name, values in columns.items():
        format.LAYERS[name].write(table, values)
