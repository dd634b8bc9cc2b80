"""Networks and generators of published shapes with generated weights: speed does not depend on their values."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.nets.caffe import caffe_function, caffe_network, weight_shapes
from pipeline.nets.network import Network

MEAN = (104.00699, 116.66877, 122.67891)
_WIDE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "first" type: "Convolution" bottom: "data" top: "first"
    convolution_param { num_output: 16 kernel_size: 5 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "first" top: "first" }
layer { name: "wide" type: "Convolution" bottom: "first" top: "wide"
    convolution_param { num_output: %d kernel_size: 5 stride: 2 } }
"""


def caffenet_shaped() -> Network:
    """CaffeNet."""
    return shaped("caffenet")


def shaped(name: str, size: int | None = None) -> Network:
    """A network that has a definition among the project's. size : side of the image; None for the definition's."""
    definition = _definition(name)
    sides = None if size is None else (size, size)
    return caffe_network(name, definition, _generated(definition), order="BGR", mean=MEAN, size=sides)


def wide(units: int) -> Network:
    """A small network whose layer `wide` has this many units, with windows of 13 of the image's 32 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        definition = Path(folder) / "wide.prototxt"
        definition.write_text(_WIDE % units)
        return caffe_network("wide", definition, _generated(definition), order="BGR", mean=MEAN)


@dataclass
class ShapedPrior:
    """A published generator, with what an adapter needs of a prior."""

    generator: nn.Module
    code_shape: tuple[int, ...]
    name: str = "bench"
    height: int = 256
    width: int = 256
    order: str = "BGR"
    mean: np.ndarray = field(default_factory=lambda: np.array(MEAN))
    gain: np.ndarray = field(default_factory=lambda: np.ones(3))

    def generator_on(self, device: torch.device) -> nn.Module:
        """A copy of the generator on a device."""
        return copy.deepcopy(self.generator).to(device)


def generator_shaped() -> ShapedPrior:
    """The published generator of fc6."""
    definition = _definition("deepsim_fc6")
    generator, code_shape, _ = caffe_function(definition, _generated(definition))
    return ShapedPrior(generator, tuple(code_shape))


def _definition(name: str) -> Path:
    """A definition of the project's."""
    return Path(str(files("pipeline.nets") / "definitions" / f"{name}.prototxt"))


def _generated(definition: Path) -> dict[str, tuple[np.ndarray, ...]]:
    """Random weights for a definition."""
    random, weights = np.random.RandomState(0), {}
    for layer, shapes in weight_shapes(definition).items():
        drawn = [random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:]))) for shape in shapes]
        if len(shapes) == 3:  # of a batch normalisation: mean, variance, and what both are divided by
            drawn = [drawn[0], 1 + np.abs(drawn[1]), np.ones(shapes[2])]
        weights[layer] = tuple(values.astype(np.float32) for values in drawn)
    return weights
