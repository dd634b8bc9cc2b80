from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from example_modules import (
    ALL,
    DenseNet,
    Frozen,
    Inception,
    InPlace,
    ResNet,
    SqueezeExcite,
    Transformer,
    seeded,
    sequential,
)
from torch import nn

from pipeline.errors import DefinitionError
from pipeline.nets.cone import Cone
from pipeline.nets.opaque import Opaque
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules.translation import torch_network
from pipeline.nets.window import is_local, receptive_fields

GAIN = (0.01, 0.02, 0.03)


def preprocessing(side: int = 40) -> Preprocessing:
    return Preprocessing(side, side, "RGB", np.array([120.0, 110.0, 100.0]), np.array(GAIN))


def network(build, side: int = 40):
    return torch_network("net", seeded(build), preprocessing(side))


def images(batch: int, side: int = 40) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(5)) * 60


def own_output(build, image: torch.Tensor) -> torch.Tensor:
    module = seeded(build).eval()
    with torch.no_grad():
        return module(image * torch.tensor(GAIN).view(1, 3, 1, 1))


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)
def test_a_network_gives_what_the_module_gives(build, batch):
    net, image = network(build), images(batch)
    with torch.no_grad():
        got = net.graph(image)
    expected = own_output(build, image)
    assert got.shape == expected.shape
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("build", [sequential, ResNet, DenseNet], ids=lambda build: build.__name__)
def test_every_layer_holds_what_its_module_returned(build):
    """A hook copies the values before the next module overwrites them in place."""
    module, seen = seeded(build).eval(), {}
    for name, part in module.named_modules():
        if not list(part.children()):
            part.register_forward_hook(
                lambda part, given, result, name=name: seen.setdefault(name, []).append(result.clone())
            )
    image = images(2)
    with torch.no_grad():
        module(image * torch.tensor(GAIN).view(1, 3, 1, 1))
        net = network(build)
        values = net.run(image, list(net.layers))
    compared = 0
    for name, results in seen.items():
        for use, expected in enumerate(results, start=1):
            got = values[name if use == 1 else f"{name}#{use}"]
            assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5), name
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize(
    "build", [sequential, ResNet, Inception, DenseNet, SqueezeExcite, InPlace, Frozen], ids=lambda build: build.__name__
)
def test_usual_structures_need_no_opaque_operator(build):
    net = network(build)
    assert not [node for node in net.nodes if isinstance(net.operator(node), Opaque)]


def test_layers_are_named_as_their_modules_and_functions_as_their_nodes():
    names = list(network(ResNet).layers)
    assert {"conv1", "layer1.0.conv1", "layer1.0.relu", "layer1.0.relu#3", "layer2.0.shortcut.1", "fc"} <= set(names)
    assert {"relu", "add", "add_1", "flatten"} <= set(names)


def test_tokens_are_not_layers_but_what_stands_before_and_after_them_is():
    net = network(Transformer)
    assert list(net.layers) == ["patches", "getitem_2", "head"]
    assert net.class_layer == "head"
    assert net.layer("patches").channels == 8


def test_maps_with_channels_last_are_not_layers():
    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 8)

        def forward(self, x):
            x = self.conv(x)
            y = self.fc(self.norm(x.permute(0, 2, 3, 1)))
            return x + y.permute(0, 3, 1, 2)

    assert list(network(ChannelsLast).layers) == ["conv", "permute_1", "add"]


def test_windows_of_a_traced_module_are_those_of_its_convolutions():
    net = network(sequential)
    rows, _ = receptive_fields(net, "conv2")
    assert (rows.size, rows.stride, rows.first) == (17, 4, -7)
    assert is_local(network(DenseNet), "blocks.2.conv")


@pytest.mark.parametrize(
    "build, layer",
    [(sequential, "conv2"), (ResNet, "layer2.0.conv2"), (DenseNet, "blocks.2.conv"), (SqueezeExcite, "head")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_cones_of_a_traced_module_give_the_full_value(build, layer):
    net, image = network(build), images(2)
    cone = Cone(net, layer)
    part = image[:, :, cone.window.top : cone.window.bottom, cone.window.left : cone.window.right]
    row, column = cone.position
    with torch.no_grad():
        full = net.run(image, [layer])[layer][:, :, row, column]
        assert torch.allclose(cone.values(part), full, rtol=1e-4, atol=1e-5)


def test_the_digest_depends_on_the_weights_alone():
    same, other = network(ResNet), torch_network("net", ResNet(), preprocessing())
    assert network(ResNet).digest == same.digest != other.digest


@pytest.mark.parametrize("build", [ResNet, Transformer])
def test_parameters_inside_opaque_operators_are_part_of_the_digest(build):
    module = seeded(build)
    changed = copy.deepcopy(module)
    with torch.no_grad():
        last = [name for name, _ in changed.named_parameters() if "norm" in name or "bn" in name][-1]
        changed.get_parameter(last)[0] += 1
    digests = [torch_network("net", each, preprocessing()).digest for each in (module, changed)]
    assert digests[0] != digests[1]


@pytest.mark.parametrize("build", ALL, ids=lambda build: build.__name__)
def test_a_network_survives_pickling_and_another_precision(build):
    net, image = network(build), images(2)
    last = list(net.layers)[-1]
    with torch.no_grad():
        expected = net.run(image, [last])[last]
        again = pickle.loads(pickle.dumps(net)).run(image, [last])[last]
        double = net.to(dtype=torch.float64).run(image.double(), [last])[last]
    assert torch.equal(expected, again)
    assert torch.allclose(expected.double(), double, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_module_is_left_as_it_was():
    module = seeded(ResNet).train()
    before = copy.deepcopy(module.state_dict())
    torch_network("net", module, preprocessing())
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_gradients_reach_the_image_through_every_structure():
    for build in ALL:
        image = images(1).requires_grad_()
        network(build).graph(image).sum().backward()
        assert image.grad.isfinite().all()
        if build is not DenseNet and build is not Inception:  # a softmax sums to one for every image
            assert image.grad.abs().max() > 0


class Decides(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Draws(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class AlwaysDrops(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x.mean()


class OneImageOnly(nn.Module):
    def forward(self, x):
        return x.view(1, -1)


class InPlaceView(nn.Module):
    def forward(self, x):
        y = x * 2
        y.view(-1).mul_(3)
        return y + 1


@pytest.mark.parametrize(
    "module, words",
    [
        (Decides(), "torch.fx cannot trace Decides: symbolically traced variables"),
        (Draws(), "its forward may draw at random"),
        (AlwaysDrops(), "dropout: dropout that is active in evaluation mode is random"),
        (TwoOutputs(), "returns tuple, expected one tensor"),
        (OneImageOnly(), "view does not have one row for each image"),
        (InPlaceView(), "in place"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), "cannot take a batch of 2 images of 3×40×40 at 0: .*check model.size"),
        (nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), "at 1: .*check model.size"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "mixes the images of a batch"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_shown_is_refused_in_one_line(module, words):
    with pytest.raises(DefinitionError, match=words) as caught:
        torch_network("net", module, preprocessing())
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "part",
    [
        nn.AdaptiveAvgPool2d(5),
        nn.AdaptiveAvgPool2d((4, 20)),
        nn.AdaptiveMaxPool2d(7),
        nn.AdaptiveAvgPool2d(40),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
        nn.LocalResponseNorm(4, alpha=0.1),
        pytest.param(nn.Conv2d(3, 4, 2, padding="same"), marks=pytest.mark.filterwarnings("ignore:Using padding")),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(3, 4, 3, 2, 1, 1, dilation=2),
        nn.LogSoftmax(dim=1),
        nn.Softmax2d(),
        nn.InstanceNorm2d(3, affine=True),
        nn.PixelUnshuffle(2),
        nn.ZeroPad2d(1),
        nn.Threshold(0.1, 0.0, inplace=True),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        nn.LSTM(40, 5, batch_first=True),
    ],
    ids=lambda part: repr(part).split("\n")[0],
)
def test_a_single_module_gives_what_torch_gives(part):
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = part

        def forward(self, x):
            return self.part(x[:, 0])[0] if isinstance(part, nn.LSTM) else self.part(x)

    image = images(3)
    with torch.no_grad():
        got = torch_network("net", Alone(), preprocessing()).graph(image)
        expected = Alone().eval()(image * torch.tensor(GAIN).view(1, 3, 1, 1))
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5)
