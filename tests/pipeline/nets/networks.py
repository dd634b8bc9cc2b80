"""Small networks with all kinds of structure and random weights, for tests of windows and cones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import (
    Affine,
    Concat,
    GlobalPool,
    InnerProduct,
    Pointwise,
    Product,
    Relu,
    Softmax,
    Sum,
)
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import AveragePool, ChannelNorm, Convolution, Deconvolution, MaxPool, WithinChannelNorm


class RandomWeights:
    """Random weights; all positive for the linear surrogate, the support of whose gradient is the window."""

    def __init__(self, linear: bool) -> None:
        self.linear = linear
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, *shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=self.generator) / np.sqrt(np.prod(shape[1:]) or 1)
        return values.abs() + 0.01 if self.linear else values

    def relu(self, slope: float = 0.0) -> Relu:
        return Relu(1.0 if self.linear else slope)

    def pool(
        self, kernel, stride, padding, rounding
    ):  # the surrogate uses a mean, because a maximum depends on one input only
        pair = [(value, value) if isinstance(value, int) else value for value in (kernel, stride, padding)]
        return AveragePool(*pair, rounding) if self.linear else MaxPool(*pair, rounding)


def builder(height: int, width: int) -> GraphBuilder:
    mean = np.random.RandomState(0).uniform(90, 130, (3, height, width))
    return GraphBuilder(Preprocessing(height, width, "RGB", mean, np.array([0.1, 0.2, 0.3])))


def caffenet_like(linear: bool = False) -> Network:
    """Groups, overlapping ceil pooling, LRN of both kinds, rectangular input, fully connected top."""
    w, b = RandomWeights(linear), builder(47, 53)
    at = b.add("conv1", Convolution(w(8, 3, 5, 5), w(8), (2, 2), (1, 1)), [b.input], "conv1")
    at = b.add("relu1", w.relu(), [at], "relu1")
    at = b.add("pool1", w.pool(3, 2, 0, "caffe"), [at], "pool1")
    if not linear:
        at = b.add("norm1", ChannelNorm(5, 0.5, 0.75, 1.0), [at], "norm1")
    at = b.add("conv2", Convolution(w(8, 4, 5, 3), w(8), (1, 1), (2, 1), groups=2), [at], "conv2")
    if not linear:
        at = b.add("norm2", WithinChannelNorm(3, 0.5, 0.75), [at], "norm2")
    at = b.add("relu2", w.relu(), [at], "relu2")
    at = b.add("pool2", w.pool(3, 2, 1, "caffe"), [at], "pool2")
    at = b.add("conv3", Convolution(w(6, 8, 3, 3), w(6), (1, 1), (1, 1)), [at], "conv3")
    fc = b.add("fc6", InnerProduct(w(5, 6 * 6 * 7), w(5)), [at], "fc6")
    fc = b.add("prob", Softmax(), [fc], "prob")
    return b.build("caffenet_like", fc)


def inception_like(linear: bool = False) -> Network:
    """Branches of different reach, concatenated; average pooling with padding; strides that leave out rows."""
    w, b = RandomWeights(linear), builder(40, 37)
    stem = b.add("conv1/7x7", Convolution(w(6, 3, 7, 7), w(6), (2, 2), (3, 3)), [b.input], "conv1/7x7")
    stem = b.add("pool1", w.pool(3, 2, 0, "caffe"), [stem], "pool1")
    one = b.add("a/1x1", Convolution(w(4, 6, 1, 1), w(4)), [stem], "a/1x1")
    three = b.add("a/3x3", Convolution(w(4, 6, 3, 3), w(4), (1, 1), (1, 1)), [stem], "a/3x3")
    five = b.add("a/5x5", Convolution(w(4, 6, 5, 5), w(4), (1, 1), (2, 2)), [stem], "a/5x5")
    pool = b.add("a/pool", w.pool(3, 1, 1, "caffe"), [stem], "a/pool")
    at = b.add("a/output", Concat(), [one, three, five, pool], "a/output")
    at = b.add("relu", w.relu(0.1), [at], "relu")
    at = b.add("mean", AveragePool((3, 3), (2, 2), (1, 1), "caffe"), [at], "mean")
    at = b.add("b/3x3", Convolution(w(5, 18, 3, 3), w(5), (2, 2), (1, 1)), [at], "b/3x3")
    at = b.add("b/last", Convolution(w(4, 5, 2, 2), None), [at], "b/last")
    at = b.add("global", GlobalPool("mean"), [at], "global")
    return b.build("inception_like", at)


def resnet_like(linear: bool = False) -> Network:
    """Shortcuts and projections, batch normalisation, squeeze and excitation, dilation, a transposed convolution."""
    w, b = RandomWeights(linear), builder(41, 44)
    stem = b.add("conv1", Convolution(w(6, 3, 3, 3), None, (2, 2), (1, 1)), [b.input], "conv1")
    stem = b.add("bn1", Affine(w(6), w(6)), [stem], "bn1")
    stem = b.add("relu1", w.relu(), [stem], "relu1")
    short = b.add("short", Convolution(w(8, 6, 1, 1), None, (2, 2)), [stem], "short")
    main = b.add("main1", Convolution(w(4, 6, 1, 1), w(4)), [stem], "main1")
    main = b.add("main2", Convolution(w(4, 4, 3, 3), w(4), (2, 2), (1, 1)), [main], "main2")
    main = b.add("main3", Convolution(w(8, 4, 1, 1), w(8)), [main], "main3")
    at = b.add("sum", Sum([1.0, 0.5]), [short, main], "sum")
    wide = b.add("wide", Convolution(w(8, 8, 3, 3), w(8), (1, 1), (3, 2), (3, 2)), [at], "wide")
    up = b.add("up", Deconvolution(w(8, 4, 4, 3), w(4), (2, 2), (1, 1)), [wide], "up")
    down = b.add("down", Convolution(w(8, 4, 2, 2), w(8), (2, 2)), [up], "down")
    squeeze = b.add("squeeze", GlobalPool("mean"), [down], "squeeze")
    gate = b.add("gate", Pointwise(torch.nn.Sigmoid(), "sigmoid"), [squeeze], "gate")
    if not linear:
        down = b.add("excite", Product(), [down, gate], "excite")
    return b.build("resnet_like", down)


NETWORKS: dict[str, Callable[..., Network]] = {
    "caffenet_like": caffenet_like,
    "inception_like": inception_like,
    "resnet_like": resnet_like,
}
