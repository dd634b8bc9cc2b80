"""Backward passes by each rule, through every operator, equal those of hand-built matrices in float64."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from jacobians import HandNetwork

from pipeline.nets import opaque, operators, rearranging, sliding
from pipeline.nets.backward import RULES, BackwardPass
from pipeline.nets.cone import Cone, FullPass
from pipeline.nets.interval import Interval
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.opaque import Elementwise, Opaque
from pipeline.nets.operators import (
    Affine,
    ChannelOrder,
    Concat,
    GlobalPool,
    Identity,
    InnerProduct,
    Maximum,
    OpenRelu,
    Operator,
    Pointwise,
    Power,
    PRelu,
    Product,
    Rearrangement,
    Reduction,
    Relu,
    Reshape,
    ScaledSum,
    Slice,
    Softmax,
    Standardized,
    Sum,
    Tiled,
    UnitNorm,
)
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.rearranging import (
    FILLED,
    Constant,
    Detach,
    LayerNorm,
    Moved,
    Resize,
    TokenConcat,
    Tokens,
    UnevenMaxPool,
)
from pipeline.nets.sliding import (
    AveragePool,
    ChannelNorm,
    Convolution,
    Crop,
    Deconvolution,
    Enlarged,
    Interpolation,
    MaxPool,
    Sliding,
    Switches,
    WithinChannelNorm,
)
from pipeline.nets.window import window


def builder(height: int, width: int) -> tuple[GraphBuilder, object]:
    generator = torch.Generator().manual_seed(5)
    random = lambda *shape: torch.randn(shape, generator=generator) / np.sqrt(np.prod(shape[1:]) or 1)  # noqa: E731
    return GraphBuilder(Preprocessing(height, width, "RGB", np.full(3, 100.0), np.array([0.1, 0.2, 0.3]))), random


def plain_net() -> Network:
    """A strided first layer, both normalisations, ceil pooling that overhangs, groups, a fully connected top."""
    b, w = builder(17, 15)
    at = b.add("conv1", Convolution(w(4, 3, 3, 5), w(4), (2, 2), (1, 2)), [b.input], "conv1")
    at = b.add("relu1", Relu(), [at], "relu1")
    at = b.add("pool1", MaxPool((3, 3), (2, 2), (0, 0), "caffe"), [at], "pool1")
    at = b.add("norm1", ChannelNorm(3, 0.9, 0.75, 1.0), [at], "norm1")
    at = b.add("conv2", Convolution(w(6, 2, 3, 3), w(6), (1, 1), (1, 1), groups=2), [at], "conv2")
    at = b.add("norm2", WithinChannelNorm(3, 0.9, 0.75), [at], "norm2")
    at = b.add("relu2", Relu(0.1), [at], "relu2")
    at = b.add("drop2", Identity(), [at], "drop2")
    fc = b.add("fc6", InnerProduct(w(5, 6 * 4 * 4), w(5)), [at], "fc6")
    fc = b.add("relu6", Relu(), [fc], "relu6")
    fc = b.add("fc7", InnerProduct(w(4, 5), None), [fc], "fc7")
    fc = b.add("prob", Softmax(), [fc], "prob")
    return b.build("plain", fc)


def branched_net() -> Network:
    """Dilation, sums, maxima, products, slices, several rectifiers, means with padding, a transposed convolution."""
    b, w = builder(13, 12)
    stem = b.add("stem", Convolution(w(4, 3, 3, 3), w(4), (1, 1), (2, 1), (2, 1)), [b.input], "stem")
    stem = b.add("bn", Affine(w(4) + 1.5, w(4)), [stem], "bn")
    stem = b.add("prelu", PRelu(torch.tensor([0.25, -0.1, 0.0, 0.5])), [stem], "prelu")
    one = b.add("one", AveragePool((3, 3), (2, 2), (1, 1), "caffe"), [stem], "one")
    two = b.add("two", AveragePool((3, 3), (2, 2), (1, 1), "torch", count_padding=False), [stem], "two")
    down = b.add("down", Convolution(w(4, 4, 2, 2), w(4), (2, 2), (1, 1)), [stem], "down")
    clip = b.add("clip", Pointwise(torch.nn.ReLU6(), "relu6"), [down], "clip")
    most = b.add("most", Maximum(), [one, clip], "most")
    total = b.add("total", Sum([1.0, -0.5]), [two, most], "total")
    at = b.add("relu", Relu(), [total], "relu")
    up = b.add("up", Deconvolution(w(4, 3, 3, 3), w(6), (2, 2), (1, 0), groups=2), [at], "up")
    some = b.add("some", Slice(1, 5), [up], "some")
    back = b.add("back", MaxPool((2, 2), (2, 2), (1, 1), "torch"), [some], "back")
    peak = b.add("peak", GlobalPool("max"), [back], "peak")
    gate = b.add("gate", Pointwise(torch.nn.Sigmoid(), "sigmoid"), [peak], "gate")
    square = b.add("square", Power(2.0, 0.5, 0.3), [back], "square")
    gated = b.add("gated", Product(), [square, gate], "gated")
    joined = b.add("joined", Concat(), [gated, back], "joined")
    mean = b.add("mean", GlobalPool("mean"), [joined], "mean")
    flat = b.add("flat", Reshape((8,)), [mean], "flat")
    return b.build("branched", flat)


def moved_net() -> Network:
    """Values at other places and in other orders, unpooling, interpolation, norms of positions, channels and maps."""
    b, w = builder(11, 12)
    stem = b.add("stem", Convolution(w(4, 3, 3, 3), w(4)), [b.input], "stem")
    cut = b.add("cut", Crop((1, 0), (7, 9)), [stem], "cut")
    pool = b.add("pool", MaxPool((2, 2), (2, 2), (0, 0), "caffe"), [cut], "pool")
    marks = b.add("marks", Switches((2, 2), (2, 2), (0, 0), "caffe"), [cut], None)
    wide = b.add("wide", Enlarged((2, 2), (0, 0), (7, 9)), [pool], "wide")
    at = b.add("unpooled", Product(), [wide, marks], "unpooled")
    at = b.add("order", ChannelOrder([2, 0, 3, 1, 1]), [at], "order")
    at = b.add("fit", Interpolation((5, 10), 1, 2), [at], "fit")
    at = b.add("unit", UnitNorm(w(5) + 2, 0.5, everywhere=False), [at], "unit")
    at = b.add("relu", Relu(), [at], "relu")
    each = b.add("each", Standardized(across=False, scaled=True, epsilon=0.1), [at], "each")
    level = b.add("level", Standardized(across=True, scaled=False, epsilon=0.1), [at], "level")
    peak = b.add("peak", GlobalPool("max"), [at], "peak")
    both = b.add("both", ScaledSum(), [each, level, peak], "both")
    size = b.add("size", UnitNorm(w(5) + 2, 0.5, everywhere=True), [both], "size")
    turned = torch.arange(250).view(5, 5, 10).permute(2, 0, 1).reshape(2, 25, 5)
    turned = b.add("turned", Rearrangement(turned), [size], "turned")
    squares = b.add("squares", Reduction("SUMSQ", 2, 0.5), [turned], "squares")
    tall = b.add("tall", Tiled(2, 1), [both], "tall")
    means = b.add("means", Reduction("MEAN", 2, 3.0), [tall], "means")
    sizes = b.add("sizes", Reduction("ASUM", 1, 1.0), [tall], "sizes")
    return b.build("moved", b.add("joined", Concat(), [squares, means, sizes], "joined"))


def row_softmax_sized(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Reads of the second operand nothing but its size."""
    return x.softmax(3).expand(len(other), -1, -1, -1)


def gated(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x * torch.tanh(y)


def recorded_net() -> Network:
    """As recorded modules: moves, resampling, tokens, constants, detached values, functions without a rule."""
    b, w = builder(9, 10)
    stem = b.add("stem", Convolution(w(4, 3, 3, 3), w(4)), [b.input], "stem")
    at = b.add("padded", Moved([1, 0, 3, 2], [FILLED, *range(7), 6], [2, 1, *range(8)], 0.7), [stem], "padded")
    fixed = b.add("fixed", Constant(w(4, 9, 10)), [b.input], None)
    at = b.add("placed", Sum(), [at, fixed], "placed")
    at = b.add("relu", Relu(), [at], "relu")
    at = b.add("resized", Resize(w(5, 9), w(4, 10)), [at], "resized")
    still = b.add("still", Detach(), [at], None)
    at = b.add("mixed", Product(), [at, still], "mixed")
    at = b.add("most", UnevenMaxPool((3, 3)), [at], "most")
    spans = {(0, 0): [Interval(row, row + 1) for row in range(3)], (1, 0): [Interval(0, 0)] * 3,
             (1, 1): [Interval(0, 0)] * 3}  # fmt: skip
    at = b.add("rows", Opaque(row_softmax_sized, "rows", [(4, 3, 3), (4, 7, 8)], spans), [at, stem], "rows")
    peak = b.add("peak", GlobalPool("mean"), [stem], "peak")
    at = b.add("gated", Elementwise(gated, "gated"), [at, peak], "gated")
    at = b.add("norm", LayerNorm(w(4) + 1.5, w(4), 0.1), [at], "norm")
    sequence = b.add("sequence", TokenConcat(), [peak, at], "sequence")
    sequence = b.add("mlp", Convolution(w(5, 4, 1, 1), w(5)), [sequence], "mlp")
    first = b.add("first", Tokens(0, (5,)), [sequence], "first")
    patches = b.add("patches", Tokens(1, (5, 3, 3)), [sequence], "patches")
    mean = b.add("mean", GlobalPool("mean", flat=True), [patches], "mean")
    return b.build("recorded", b.add("joined", Concat(), [first, mean], "joined"))


NETWORKS = {"plain": plain_net, "branched": branched_net, "moved": moved_net, "recorded": recorded_net}
LAYERS = [(name, layer) for name, make in NETWORKS.items() for layer in make().layers]


def corners(height: int, width: int) -> list[tuple[int, int]]:
    return sorted({(0, 0), (height - 1, width - 1), (height // 2, width // 2), (height - 1, 0)})


def picture(network: Network, count: int = 1) -> torch.Tensor:
    size, generator = network.preprocessing, torch.Generator().manual_seed(2)
    return torch.randn(count, size.channels, size.height, size.width, generator=generator, dtype=torch.float64) * 20


@torch.no_grad()
def back(network: Network, cone: Cone, images: torch.Tensor, unit, position, rules, ignore_norms=False):
    at = cone.window
    run = BackwardPass(cone, images[:, :, at.top : at.bottom, at.left : at.right], ignore_norms=ignore_norms)
    units = torch.full((len(images),), unit)
    where = torch.tensor(position if isinstance(cone, FullPass) else (0, 0)).repeat(len(images), 1)
    return run.activations(units, where), run.signals(units, where, rules)


@cache
def hand_network(name: str) -> HandNetwork:
    network = NETWORKS[name]().to(dtype=torch.float64)
    return HandNetwork(network, picture(network)[0].numpy())


CASES = [(*case, False) for case in LAYERS] + [(*case, True) for case in LAYERS if case[0] == "plain"]


@pytest.mark.parametrize(("name", "layer", "ignore_norms"), CASES)
def test_every_rule_is_the_one_written_by_hand_and_stays_in_the_window(name, layer, ignore_norms):
    network = NETWORKS[name]().to(dtype=torch.float64)
    there, images, by_hand = network.layer(layer), picture(network), hand_network(name)
    value = by_hand.values[there.node]
    for row, column in corners(there.height, there.width):
        unit = there.channels // 2
        index = (unit, row, column) if value.ndim == 3 else (unit,)
        seen = window(network, layer, row, column)
        for cone in (Cone(network, layer, (row, column)), FullPass(network, layer)):
            activation, signals = back(network, cone, images, unit, (row, column), RULES, ignore_norms)
            np.testing.assert_allclose(activation[0], value[index], rtol=1e-11, atol=1e-13)
            for rule, found in zip(RULES, signals[:, 0].numpy(), strict=True):
                expected = by_hand.back(layer, index, rule, ignore_norms)
                inside = expected[:, seen.top : seen.bottom, seen.left : seen.right]
                assert np.count_nonzero(inside) == np.count_nonzero(expected), "mass outside the window"
                expected = expected if isinstance(cone, FullPass) else inside
                scale = np.abs(expected).max(initial=0.0)
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * scale, err_msg=f"{rule} {cone}")


@pytest.mark.parametrize(("name", "layer"), [("plain", "fc7"), ("plain", "prob"), ("branched", "joined")])
def test_rules_differ_from_one_another(name, layer):
    network = NETWORKS[name]().to(dtype=torch.float64)
    _, signals = back(network, FullPass(network, layer), picture(network), 1, (0, 0), RULES)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (signals[one] - signals[other]).abs().max() > 0.01 * signals[one].abs().max()


def test_ignoring_normalisation_changes_deconvnet_alone():
    network = plain_net().to(dtype=torch.float64)
    cone, images = FullPass(network, "fc6"), picture(network)
    _, kept = back(network, cone, images, 1, (0, 0), RULES)
    _, ignored = back(network, cone, images, 1, (0, 0), RULES, ignore_norms=True)
    changed = {rule for rule, a, b in zip(RULES, kept, ignored, strict=True) if not torch.equal(a, b)}
    assert changed == {"deconvnet"}


def test_rules_can_be_asked_for_alone_twice_and_in_batches():
    network = branched_net().to(dtype=torch.float64)
    cone, images = FullPass(network, "joined"), picture(network, 3)
    with torch.no_grad():
        run = BackwardPass(cone, images, ignore_norms=False)
        units, at = torch.tensor([0, 5, 2]), torch.tensor([[0, 0], [3, 2], [1, 1]])
        together = run.signals(units, at, RULES)
        for place, rule in enumerate(RULES):
            assert torch.allclose(run.signals(units, at, [rule])[0], together[place], rtol=1e-12, atol=0)
        for item in range(3):
            one = BackwardPass(cone, images[item : item + 1], ignore_norms=False)
            alone = one.signals(units[item : item + 1], at[item : item + 1], RULES)
            assert torch.allclose(alone[:, 0], together[:, item], rtol=1e-9, atol=1e-12)


def test_the_layers_own_relu_is_left_out_even_behind_dropout():
    network = plain_net().to(dtype=torch.float64)
    images = picture(network)
    for layer in ("relu2", "drop2"):
        cone, own, values = Cone(network, layer, (1, 1)), Cone(network, "norm2", (1, 1)), []
        for unit in range(6):
            value, found = back(network, cone, images, unit, (1, 1), RULES)
            assert torch.equal(found, back(network, own, images, unit, (1, 1), RULES)[1])
            values.append(float(value))
        assert min(values) < 0 < max(values), "units that are off are the case in point"


def test_a_relu_that_others_read_too_is_not_the_layers_own():
    b, w = builder(8, 8)
    shared = b.add("relu", Relu(), [b.add("conv", Convolution(w(4, 3, 3, 3), w(4)), [b.input], "conv")], "relu")
    other = b.add("other", Convolution(w(4, 4, 3, 3), w(4), (1, 1), (1, 1)), [shared], "other")
    network = b.build("joint", b.add("joined", Concat(), [shared, other], "joined")).to(dtype=torch.float64)
    images = picture(network)
    _, found = back(network, FullPass(network, "joined"), images, 6, (3, 3), ["gradient"])
    given = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network.run(given, ["joined"])["joined"][0, 6, 3, 3], given)
    assert torch.allclose(found[0], expected, rtol=1e-10, atol=1e-14)


def test_a_position_that_reads_only_padding_has_no_signal():
    b, w = builder(6, 7)
    at = b.add("pool", MaxPool((2, 2), (2, 2), (0, 0), "torch"), [b.input], "pool")
    at = b.add("one", Convolution(w(4, 3, 1, 1), w(4), (1, 1), (1, 1)), [at], "one")
    network = b.build("padded", b.add("relu", Relu(), [at], "relu")).to(dtype=torch.float64)
    for position in ((0, 0), (0, 2), (4, 4)):
        cone = Cone(network, "relu", position)
        activation, signals = back(network, cone, picture(network), 2, position, RULES)
        assert activation[0] == network.operator("one").bias[2].clamp(min=0)
        assert signals.numel() == 0


def test_the_network_is_as_before():
    network = plain_net()
    image = picture(network).float()
    expected = hand_network("plain").back("fc7", (1,), "gradient")
    before, digest = network.run(image, ["prob"])["prob"], network.digest
    back(network, FullPass(network, "prob"), image, 1, (0, 0), RULES)
    given = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.run(given, ["fc7"])["fc7"][0, 1], given)
    assert torch.equal(network.run(image, ["prob"])["prob"], before) and network._digest() == digest
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.graph.parameters())


def test_the_networks_hold_every_operator():
    used = {type(make().operator(node)) for make in NETWORKS.values() for node in make().nodes}
    there = {
        kind
        for module in (operators, sliding, rearranging, opaque)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Operator)
    }
    assert there - used == {Operator, opaque._Operand, OpenRelu, Sliding, sliding.Filters, sliding.Resampled}
