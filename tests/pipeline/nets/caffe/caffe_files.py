"""Definitions with random weights as Caffe files, and their values as computed by OpenCV."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.nets.caffe import read_definition, weight_shapes
from pipeline.nets.caffe.schema import NetParameter
from pipeline.nets.network import Network


def random_weights(definition: Path, seed: int = 0) -> dict[str, tuple[np.ndarray, ...]]:
    """Weights that preserve the scale of activations across layers (He et al. 2015), with small biases."""
    draw = np.random.default_rng(seed)
    types = {layer.name: layer.type for layer in read_definition(definition).layers}
    weights = {}
    for layer, shapes in weight_shapes(definition).items():
        if types[layer] == "BatchNorm":
            mean = draw.normal(0, 20, shapes[0])
            blobs = (mean * 998, draw.uniform(100, 900, shapes[1]) * 998, np.full(shapes[2], 998))
        elif len(shapes[0]) > 1:
            gain = np.float32(np.sqrt(2 / max(1, np.prod(shapes[0][1:]))))
            blobs = (draw.standard_normal(shapes[0], np.float32) * gain, *(draw.normal(0, 5, s) for s in shapes[1:]))
        else:  # scales and slopes
            blobs = (draw.uniform(0.5, 1.5, shapes[0]), *(draw.normal(0, 5, s) for s in shapes[1:]))
        weights[layer] = tuple(blob.astype(np.float32) for blob in blobs)
    return weights


def write_caffemodel(path: Path, weights: Mapping[str, Sequence[np.ndarray]], definition: Path) -> Path:
    """Write weights in the current binary form, with the type of each layer, which OpenCV requires."""
    types = {layer.name: layer.type for layer in read_definition(definition).layers}
    net = NetParameter(name="random")
    for name, blobs in weights.items():
        layer = net.layer.add(name=name, type=types[name])
        for blob in blobs:
            layer.blobs.add(data=[blob.tobytes()]).shape.dim.extend(blob.shape)
    path.write_bytes(net.SerializeToString())
    return path


def opencv_values(definition: Path, weights: Path, image: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """The values of the named layers as computed by OpenCV, without fusion."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net = cv2.dnn.readNetFromCaffe(str(definition), str(weights))
    net.enableFusion(False)
    net.enableWinograd(False)
    cv2.setNumThreads(1)
    net.setInput(image)
    return dict(zip(layers, net.forward(list(layers)), strict=True))


def values(network: Network, image: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {
            name: value.numpy() for name, value in network.run(torch.from_numpy(image), list(network.layers)).items()
        }


def worst(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """The largest difference relative to the largest value of its layer, and the layer."""
    shares = []
    for name, value in expected.items():
        assert found[name].size == value.size, f"{name}: {found[name].shape}, expected {value.shape}"
        difference = np.abs(found[name].reshape(value.shape) - value).max()
        shares.append((float(difference / max(np.abs(value).max(), 1e-30)), name))
    return max(shares)


def random_image(network: Network, seed: int = 0, batch: int = 1) -> np.ndarray:
    size = network.preprocessing
    draw = np.random.default_rng(seed)
    return draw.normal(0, 60, (batch, size.channels, size.height, size.width)).astype(np.float32)
