"""Networks whose units lose their gradient on the way: saturating nonlinearities below and above the units."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import InnerProduct, Pointwise
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import Convolution
from pipeline.nets.torch_modules import torch_network


def saturating() -> Network:
    """ReLU6, hardsigmoid and clamps in a row. Each unit of fc reads a few gates, which are soon open or shut.

    Unit 0 of fc reads nothing. `clip` and `r6` hold fc between 0 and 1, and between 0 and 6; `hard` is its hardsigmoid.
    """
    random = np.random.RandomState(8)

    def weight(*shape: int) -> Tensor:
        return torch.from_numpy(random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)).float()

    mean = random.uniform(90, 160, (3, 9, 9))
    b = GraphBuilder(Preprocessing(9, 9, "RGB", mean, np.full(3, 0.1)))
    at = b.add("conv1", Convolution(weight(6, 3, 3, 3) * 2, weight(6), (2, 2)), [b.input], "conv1")
    at = b.add("relu6", Pointwise(nn.ReLU6(), "relu6"), [at], "relu6")
    at = b.add("conv2", Convolution(weight(10, 6, 4, 4) * 4, weight(10)), [at], "conv2")
    at = b.add("gate", Pointwise(nn.Hardsigmoid(), "hardsigmoid"), [at], "gate")
    reads = weight(24, 10) * 8
    for unit in range(24):  # two or three gates each
        reads[unit, random.permutation(10)[2 + unit % 2 :]] = 0
    reads[0] = 0
    fc = at = b.add("fc", InnerProduct(reads, weight(24) - 1), [at], "fc")
    for name, function in (("clip", nn.Hardtanh(0, 1)), ("r6", nn.ReLU6()), ("hard", nn.Hardsigmoid())):
        at = b.add(name, Pointwise(function, type(function).__name__.lower()), [fc], name)
    return b.build("saturating", at, class_layer="fc")


class Lite(nn.Module):
    """The form of EfficientNet-lite, small: inverted residuals with batch normalisation and ReLU6 throughout."""

    def __init__(self) -> None:
        super().__init__()

        def normed(*convolution, relu: bool = True, **options) -> nn.Sequential:
            layer = nn.Conv2d(*convolution, bias=False, **options)
            parts = [layer, nn.BatchNorm2d(layer.out_channels)]
            return nn.Sequential(*parts, *([nn.ReLU6()] if relu else []))

        def block(inside: int, outside: int, stride: int) -> nn.Sequential:
            wide = 2 * inside
            return nn.Sequential(
                normed(inside, wide, 1),
                normed(wide, wide, 3, stride=stride, padding=1, groups=wide),
                normed(wide, outside, 1, relu=False),
            )

        self.stem = normed(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([block(8, 8, 1), block(8, 12, 2), block(12, 12, 1)])
        self.head = normed(12, 24, 1)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        first, narrowing, last = self.blocks
        x = x + first(x)
        x = narrowing(x)
        x = x + last(x)
        return self.classifier(self.head(x).mean((2, 3)))


def lite() -> Network:
    """`Lite` with random weights, its normalizations wide enough that ReLU6 is often at either end."""
    torch.manual_seed(3)
    module = Lite()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 0, 9)
            nn.init.normal_(part.bias, 0, 3)
            part.running_var.fill_(0.5)
    return torch_network("lite", module, Preprocessing(16, 16, "RGB", np.full((3, 1, 1), 120.0), np.full(3, 0.02)))
