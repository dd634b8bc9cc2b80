"""Activation and gradient on the cone equal those of the full image: at the centre, at borders, through branches."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS
from test_window import positions

from pipeline.nets.cone import Cone, FullPass


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).detach())


@pytest.mark.parametrize("name", NETWORKS)
def test_cone_gives_the_full_images_activation_and_gradient(name):
    network = NETWORKS[name]().to(dtype=torch.float64)
    size = network.preprocessing
    torch.manual_seed(1)
    images = torch.randn(3, size.channels, size.height, size.width, dtype=torch.float64) * 30
    for layer in network.layers.values():
        units = torch.tensor([0, layer.channels - 1, layer.channels // 2])
        for position in positions(layer.height, layer.width):
            whole = images.clone().requires_grad_()
            full = FullPass(network, layer.name, position)
            expected = full.activations(whole, units)
            (gradient,) = torch.autograd.grad(expected.sum(), whole)

            cone = Cone(network, layer.name, position)
            at = cone.window
            part = images[:, :, at.top : at.bottom, at.left : at.right].clone().requires_grad_()
            found = cone.activations(part, units)
            (own,) = torch.autograd.grad(found.sum(), part)

            assert relative(found, expected) < 1e-10, (layer.name, position)
            inside = gradient[:, :, at.top : at.bottom, at.left : at.right]
            assert relative(own, inside) < 1e-10 or gradient.abs().max() < 1e-12, (layer.name, position)
            assert torch.isclose(gradient.abs().sum(), inside.abs().sum(), rtol=1e-12), "mass outside the window"
            assert relative(cone.values(part)[torch.arange(3), units], expected) < 1e-10


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", [Cone, FullPass])
def test_a_lowered_cone_is_the_same_function_to_the_digits_of_bfloat16(name, kind):
    network = NETWORKS[name]()
    size = network.preprocessing
    torch.manual_seed(1)
    images = torch.randn(3, size.channels, size.height, size.width) * 30
    for layer in network.layers.values():
        cone, units = kind(network, layer.name), torch.tensor([0, layer.channels - 1, layer.channels // 2])
        at, results = cone.window, []
        for one in (cone, cone.lowered()):
            part = images[:, :, at.top : at.bottom, at.left : at.right].clone().requires_grad_()
            value = one.activations(part, units)
            results += [value, *torch.autograd.grad(value.sum(), part), one.values(part)]
        assert {result.dtype for result in results} == {torch.float32}
        value, slope, values, lowered, lowered_slope, lowered_values = results
        assert relative(lowered, value) < 0.05 and relative(lowered_values, values) < 0.05, layer.name
        likeness = torch.nn.functional.cosine_similarity(lowered_slope.flatten(), slope.flatten(), dim=0)
        assert likeness > 0.97 or slope.abs().max() < 1e-12, (layer.name, likeness)


def test_a_lowered_cone_keeps_what_is_last_below_its_layer_in_float32_and_the_cone_as_it_is():
    network = NETWORKS["caffenet_like"]()
    cone = Cone(network, "prob")
    lowered = cone.lowered()
    types = {step.node: step.dtype for step in lowered.steps}
    assert types["fc6"] == types["prob"] == torch.float32  # logits and probabilities
    assert types["conv1"] == types["conv2"] == types["conv3"] == torch.bfloat16
    assert types["norm1"] == torch.float32  # its squares need the digits
    assert types["relu1"] is types["pool1"] is None
    assert all(step.dtype is None for step in cone.steps)
    assert all(parameter.dtype == torch.float32 for parameter in network.graph.parameters())
    first = Cone(network, "conv1").lowered()
    image = torch.randn(2, 3, first.window.height, first.window.width)
    assert torch.equal(first.values(image), Cone(network, "conv1").values(image))  # nothing is left to lower


def test_cone_needs_less_than_the_full_pass_and_says_so():
    network = NETWORKS["caffenet_like"]()
    cone, full = Cone(network, "conv2"), FullPass(network, "conv2")
    assert cone.macs() < full.macs() / 5
    assert cone.map_bytes() < full.map_bytes()
    assert (cone.window.height, cone.window.width) == cone.mean.shape[1:]


def test_gates_tells_layers_that_are_read_through_a_relu():
    network = NETWORKS["caffenet_like"]()
    assert Cone(network, "conv1").gates
    assert not Cone(network, "conv2").gates  # a normalisation is in between
    assert not Cone(network, "fc6").gates
    assert Cone(network, "relu1").rectified


@pytest.mark.parametrize("layer", ["relu1", "relu2", "conv2"])
def test_an_opened_network_has_the_same_values_and_a_gradient_for_units_that_are_off(layer):
    network = NETWORKS["caffenet_like"]().to(dtype=torch.float64)
    size = network.preprocessing
    torch.manual_seed(1)
    images = (torch.randn(40, size.channels, size.height, size.width, dtype=torch.float64) * 30).requires_grad_()
    plain, opened = FullPass(network, layer), FullPass(network.opened(layer), layer)
    assert torch.equal(plain.values(images), opened.values(images))
    off = torch.nonzero(opened.values(images) == 0)
    assert bool(len(off)) == (layer != "conv2")  # conv2's own ReLU comes after it
    for at, unit in off[:5]:
        image = images[at : at + 1].detach().requires_grad_()
        for cone, passes in ((plain, False), (opened, True)):
            (gradient,) = torch.autograd.grad(cone.activations(image, unit[None]), image)
            assert bool(gradient.abs().max() > 0) == passes


def test_the_last_relus_are_those_that_can_switch_a_layer_off():
    network = NETWORKS["caffenet_like"]()
    expected = {"relu1": ("relu1",), "norm1": ("relu1",), "pool2": ("relu2",), "conv2": (), "fc6": ()}
    assert {layer: network.last_relus(layer) for layer in expected} == expected
