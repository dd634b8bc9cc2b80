"""One layer of a definition that reads an image of four channels, and its value."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.nets.caffe import caffe_function

SHAPE = (4, 9, 7)  # channels, rows, columns of the input of every case
DRAW = np.random.default_rng(5)
IMAGE = DRAW.normal(0, 1, SHAPE)


def normal(*shape: int) -> np.ndarray:
    return DRAW.normal(0, 1, shape).astype(np.float32)


def one(kind: str, settings: str) -> str:
    return f'layer {{ name: "layer" type: "{kind}" bottom: "data" top: "layer" {settings} }}'


def network_of(folder, layers: str, weights=None) -> tuple[torch.fx.GraphModule, dict[str, str]]:
    """The graph of layers that read `data`, and the node of each."""
    path = folder / "net.prototxt"
    dims = " ".join(f"dim: {size}" for size in (1, *SHAPE))
    path.write_text(f'input: "data" input_shape {{ {dims} }} {layers}')
    graph, shape, names = caffe_function(path, weights)
    assert shape == SHAPE
    return graph, names


def run(network: tuple[torch.fx.GraphModule, dict[str, str]]) -> dict[str, np.ndarray]:
    """The value of every layer."""
    graph, names = network
    interpreter = torch.fx.Interpreter(graph, garbage_collect_values=False)
    interpreter.run(torch.from_numpy(IMAGE[None].astype(np.float32)))
    found = {node.name: value for node, value in interpreter.env.items()}
    return {layer: found[node].numpy()[0] for layer, node in names.items()}


def close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2e-5 * max(1e-6, np.abs(expected).max())
