"""Windows and cones of the published networks, compared with brute force on the whole image."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from caffe_files import random_weights
from test_published_networks import DEFINITIONS, MEAN, residual_network

from pipeline.nets.caffe import caffe_network
from pipeline.nets.cone import Cone, FullPass
from pipeline.nets.network import Network
from pipeline.nets.operators import Identity, Relu
from pipeline.nets.sliding import AveragePool, MaxPool
from pipeline.nets.window import Window, window

NETWORKS = ("caffenet", "alexnet", "googlenet", "squeezenet_v1_0", "squeezenet_v1_1", "resnet")
PUBLISHED_FIELDS = {  # of the AlexNet family: size, stride, first pixel
    "conv1": (11, 4, 0),
    "pool1": (19, 8, 0),
    "conv2": (51, 8, -16),
    "pool2": (67, 16, -16),
    "conv3": (99, 16, -32),
    "conv4": (131, 16, -48),
    "conv5": (163, 16, -64),
    "pool5": (195, 32, -64),
}


def published(name: str, folder: Path) -> Network:
    definition = DEFINITIONS / f"{name}.prototxt"
    if name == "resnet":
        definition = folder / "resnet.prototxt"
        definition.write_text(residual_network())
    return caffe_network(name, definition, random_weights(definition), order="BGR", mean=MEAN)


def surrogate(network: Network) -> Network:
    """A linear version of the network with positive weights, in which no input's influence cancels or vanishes."""
    linear = copy.copy(network)
    linear._operators = {}
    for node in network.nodes:
        operator = copy.deepcopy(network.operator(node))
        if isinstance(operator, MaxPool):
            operator = AveragePool(operator.kernel, operator.stride, operator.padding, operator.rounding)
        elif isinstance(operator, Relu):
            operator = Relu(1.0)
        elif operator.kind in ("norm", "softmax", "affine"):
            operator = Identity()
        for parameter in operator.parameters():
            weights = parameter.abs() + 1e-3
            parameter.data = weights / weights.flatten(1).sum(1).max() if weights.dim() > 1 else weights
        linear._operators[node] = operator
    return linear


def spots(height: int, width: int) -> list[tuple[int, int]]:
    return sorted({(0, 0), (height // 2, width // 2), (height - 1, width - 1)})


def check_windows(network: Network, layers: list[str]) -> None:
    linear, size = surrogate(network), network.preprocessing
    image = torch.rand(1, size.channels, size.height, size.width, requires_grad=True)
    values = linear.run(image, layers)
    for name in layers:
        value = values[name].reshape(1, values[name].shape[1], *(values[name].shape[2:] or (1, 1)))
        for row, column in spots(*value.shape[2:]):
            (gradient,) = torch.autograd.grad(value[..., row, column].sum(), image, retain_graph=True)
            touched = gradient[0].abs().amax(dim=0) > 0
            found = window(network, name, row, column)
            if not touched.any():  # the padded 1 × 1 convolution of SqueezeNet 1.0 reads only padding at its border
                assert found.height * found.width == 0, (name, row, column)
                continue
            rows, columns = touched.any(dim=1).nonzero()[:, 0], touched.any(dim=0).nonzero()[:, 0]
            box = Window(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
            assert found == box, (name, row, column)


@pytest.mark.parametrize("name", NETWORKS)
def test_windows_are_the_support_of_the_gradient(name, tmp_path):
    network = published(name, tmp_path)
    layers = [layer.name for layer in network.layers.values()]
    check_windows(network, layers if name in ("caffenet", "alexnet", "resnet") else layers[::9])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "squeezenet_v1_0", "squeezenet_v1_1"])
def test_windows_of_every_layer_are_the_support_of_the_gradient(name, tmp_path):
    network = published(name, tmp_path)
    check_windows(network, list(network.layers))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("caffenet", ["conv2", "norm2", "conv5", "pool5", "fc8"]),
        ("googlenet", ["conv2/norm2", "inception_3a/output", "inception_4a/5x5", "loss3/classifier"]),
        ("resnet", ["eltwise_stage0_block0", "conv_stage1_block1_branch2b", "eltwise_stage1_block1"]),
        ("squeezenet_v1_1", ["fire2/expand3x3", "fire9/concat", "pool10"]),
    ],
)
def test_cones_give_the_whole_images_activation_and_gradient(name, layers, tmp_path):
    network = published(name, tmp_path).to(dtype=torch.float64)
    size = network.preprocessing
    torch.manual_seed(2)
    image = torch.randn(1, size.channels, size.height, size.width, dtype=torch.float64) * 40
    for layer in layers:
        units = torch.tensor([network.layer(layer).channels // 3])
        for position in spots(network.layer(layer).height, network.layer(layer).width):
            whole = image.clone().requires_grad_()
            expected = FullPass(network, layer, position).activations(whole, units)
            (gradient,) = torch.autograd.grad(expected.sum(), whole)
            cone = Cone(network, layer, position)
            inside = (..., slice(cone.window.top, cone.window.bottom), slice(cone.window.left, cone.window.right))
            part = image[inside].clone().requires_grad_()
            found = cone.activations(part, units)
            (own,) = torch.autograd.grad(found.sum(), part)
            assert torch.allclose(found, expected, rtol=1e-10, atol=0), (layer, position)
            assert float((own - gradient[inside]).abs().max()) <= 1e-10 * float(gradient.abs().max())
            assert float(gradient.abs().sum()) == pytest.approx(float(gradient[inside].abs().sum()), rel=1e-12)


def test_fields_of_the_alexnet_family_are_the_published_ones(tmp_path):
    from pipeline.nets.window import open_window, receptive_fields

    network = published("caffenet", tmp_path)
    for layer, (size, stride, first) in PUBLISHED_FIELDS.items():
        for field in receptive_fields(network, layer):
            assert (field.size, field.stride, field.first) == (size, stride, first), layer
    assert open_window(network, "conv5", 6, 6) == Window(32, 32, 195, 195)
