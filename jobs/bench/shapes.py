"""Networks and generators of published shapes with generated weights: speed does not depend on their values."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
import torch
from torch import nn

from pipeline.nets.caffe import caffe_function, caffe_network, weight_shapes
from pipeline.nets.network import Network

MEAN = (104.00699, 116.66877, 122.67891)


def caffenet_shaped() -> Network:
    """CaffeNet."""
    return shaped("caffenet")


def shaped(name: str) -> Network:
    """A network that has a definition among the project's."""
    definition, weights = _generated(name)
    return caffe_network(name, definition, weights, order="BGR", mean=MEAN)


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
    generator, code_shape, _ = caffe_function(*_generated("deepsim_fc6"))
    return ShapedPrior(generator, tuple(code_shape))


def _generated(name: str) -> tuple[str, dict[str, tuple[np.ndarray, ...]]]:
    """A definition of the project's, and random weights for it."""
    definition = str(files("pipeline.nets") / "definitions" / f"{name}.prototxt")
    random, weights = np.random.RandomState(0), {}
    for layer, shapes in weight_shapes(definition).items():
        drawn = [random.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:]))) for shape in shapes]
        if len(shapes) == 3:  # of a batch normalisation: mean, variance, and what both are divided by
            drawn = [drawn[0], 1 + np.abs(drawn[1]), np.ones(shapes[2])]
        weights[layer] = tuple(values.astype(np.float32) for values in drawn)
    return definition, weights
