"""Which nonlinearities can switch a unit off: one definition, which everything that speaks of off follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.nets.cone import Cone, layer_cone
from pipeline.nets.network import GraphBuilder, Network, is_gated, is_rectified, stream
from pipeline.nets.network_card import network_card
from pipeline.nets.operators import (
    Affine,
    Identity,
    OpenRelu,
    Operator,
    Pointwise,
    PRelu,
    Relu,
    keeps_sign,
    switches_off,
)
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import Convolution, MaxPool, channel_sum


def pointwise(function: nn.Module) -> Pointwise:
    return Pointwise(function, type(function).__name__.lower())


OFF: dict[str, Operator] = {
    "ReLU": Relu(),
    "ReLU6": pointwise(nn.ReLU6()),
    "clamp to 0…1": pointwise(nn.Hardtanh(0.0, 1.0)),
    "a threshold at zero": pointwise(nn.Threshold(0.0, 0.0)),
    "ReLU as a function": pointwise(nn.ReLU()),
    "an opened ReLU": OpenRelu(Relu()),
    "an opened ReLU6": OpenRelu(pointwise(nn.ReLU6())),
}
ON: dict[str, Operator] = {
    "leaky ReLU": Relu(0.01),
    "PReLU": PRelu(torch.tensor([0.25])),
    "PReLU of a channel each": PRelu(torch.tensor([0.0, 0.25, 0.5])),
    "GELU": pointwise(nn.GELU()),
    "SiLU": pointwise(nn.SiLU()),
    "Mish": pointwise(nn.Mish()),
    "hardswish": pointwise(nn.Hardswish()),
    "hardsigmoid": pointwise(nn.Hardsigmoid()),
    "sigmoid": pointwise(nn.Sigmoid()),
    "hardtanh": pointwise(nn.Hardtanh()),
    "ELU": pointwise(nn.ELU()),
    "softplus": pointwise(nn.Softplus()),
    "softshrink": pointwise(nn.Softshrink()),
    "a threshold elsewhere": pointwise(nn.Threshold(0.5, 0.0)),
    "identity": Identity(),
    "a scale": Affine(torch.ones(3)),
}


@pytest.mark.parametrize("name", OFF | ON)
def test_a_nonlinearity_switches_off_what_is_zero_or_less_and_nothing_else(name):
    assert switches_off((OFF | ON)[name]) == (name in OFF)


@pytest.mark.parametrize("name", OFF | ON)
def test_gated_and_rectified_follow_the_one_definition(name):
    network = chain([("conv", convolution()), ("act", (OFF | ON)[name])])
    assert is_gated(network, "conv") == is_rectified(network, "act") == (name in OFF)
    assert not is_gated(network, "act") and not is_rectified(network, "conv")
    card = network_card(network)
    assert (card.layer("conv").measure == "conv, before its ReLU") == (name in OFF)
    assert (card.layer("act").measure == "act, after the ReLU") == (name in OFF)


LEAKY = Relu(0.1), PRelu(torch.tensor([0.5, 0.1, 0.2]))


@pytest.mark.parametrize("leaky", LEAKY)
def test_a_leaky_relu_keeps_the_sign_for_a_relu_above_and_passes_one_below_unchanged(leaky):
    network = chain(
        [("conv", convolution()), ("leaky", leaky), ("drop", Identity()), ("relu", Relu()), ("leaky2", leaky)]
    )
    assert keeps_sign(leaky)
    assert is_gated(network, "conv") and is_gated(network, "leaky")
    assert network.last_relus("leaky2") == network.last_relus("relu") == ("relu",)
    assert not is_rectified(network, "leaky")


def test_what_does_not_keep_the_sign_hides_a_relu_above():
    for between in (Affine(torch.ones(3)), PRelu(torch.tensor([-0.5])), PRelu(torch.tensor([0.0, 0.1, 0.1]))):
        assert not keeps_sign(between)
        assert not is_gated(chain([("conv", convolution()), ("between", between), ("relu", Relu())]), "conv")
    builder, at = begun()
    for name, operator in (("relu", Relu()), ("leaky", Relu(0.1))):  # one reader that gates, and one that does not
        builder.add(name, operator, [at], name)
    assert not is_gated(builder.build("forked", at), "conv")


def test_relus_in_a_row_are_all_opened():
    """A unit that the inner one switches off has a gradient too."""
    pool = MaxPool((2, 2), (1, 1), (0, 0), "floor")
    network = chain([("conv", convolution()), ("relu6", OFF["ReLU6"]), ("pool", pool), ("relu", Relu())])
    assert set(network.last_relus("relu")) == {"relu6", "relu"}
    cone = layer_cone(network, "relu", "window")
    image = -300 * torch.ones(1, 3, cone.window.height, cone.window.width)
    image = (image * torch.linspace(0, 1, image[0].numel()).view_as(image)).requires_grad_()
    for unit in range(3):
        value = cone.activations(image, torch.tensor([unit]))
        (gradient,) = torch.autograd.grad(value.sum(), image)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", [name for name in OFF if "opened" not in name])
def test_an_opened_one_has_its_values_and_its_gradient_above_zero_and_that_of_x_below(name):
    closed = OFF[name]
    x = torch.tensor([-1e9, -7.0, -1e-9, 0.0, 1e-9, 0.5, 3.0, 5.9, 6.1, 1e9], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(closed(x).sum(), x)
    (opened,) = torch.autograd.grad(OpenRelu(closed)(x).sum(), x)
    assert torch.equal(OpenRelu(closed)(x), closed(x))
    assert torch.equal(opened, torch.where(x > 0, slope, 1.0))


def test_only_the_plain_relu_is_written_over_its_input():
    """A stream of values runs ReLU6 as itself, although it switches units off."""
    network = chain([("conv", convolution(100.0)), ("relu6", OFF["ReLU6"]), ("conv2", convolution())])
    image = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0)) * 50
    expected = network.run(image, ["relu6", "conv2"])
    assert expected["relu6"].max() == 6
    for name, value in stream(network, image, ["relu6", "conv2"]):
        np.testing.assert_allclose(value, expected[name], rtol=1e-6)


def test_an_opened_network_still_says_what_is_off():
    network = chain([("conv", convolution()), ("relu6", OFF["ReLU6"])])
    for canvas in ("window", "image"):
        assert layer_cone(network, "relu6", canvas).rectified and not layer_cone(network, "relu6", canvas).gates
        assert layer_cone(network, "conv", canvas).gates and not layer_cone(network, "conv", canvas).rectified
    assert Cone(network, "relu6").rectified


def convolution(scale: float = 1.0) -> Convolution:
    weight = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(1)) / 5
    return Convolution(weight * scale, torch.zeros(3))


def begun() -> tuple[GraphBuilder, str]:
    builder = GraphBuilder(Preprocessing(9, 8, "RGB", np.full((3, 1, 1), 120.0), np.full(3, 0.02)))
    return builder, builder.add("conv", convolution(), [builder.input], "conv")


def chain(layers: list[tuple[str, Operator]]) -> Network:
    """The layers one above the other, each named."""
    builder = GraphBuilder(Preprocessing(9, 8, "RGB", np.full((3, 1, 1), 120.0), np.full(3, 0.02)))
    at = builder.input
    for name, operator in layers:
        at = builder.add(name, operator, [at], name)
    return builder.build("chain", at)


@pytest.mark.parametrize("size", [1, 4, 5, 9, 10, 2**32])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_sum_over_channels_takes_time_by_the_channels_not_by_its_size(size, mirrored):
    x = torch.arange(1.0, 6).reshape(1, 5, 1, 1)
    before = size // 2 if mirrored else (size - 1) // 2
    expected = [sum(x[0, max(0, c - before) : c - before + size, 0, 0].tolist()) for c in range(5)]
    assert channel_sum(x, size, mirrored).flatten().tolist() == expected
