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
from laws import check_cones, check_layers, check_output, check_travels, opened, returned
from torch import nn

from pipeline.errors import DefinitionError
from pipeline.nets.cone import Cone
from pipeline.nets.network import shown_layers
from pipeline.nets.network_card import window_statuses
from pipeline.nets.opaque import Opaque
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules import torch_network
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


# Names of layers ---------------------------------------------------------------------------------------------


def test_layers_are_named_as_their_modules_and_functions_by_the_module_that_called_them():
    names = list(network(ResNet).layers)
    assert {"conv1", "layer1.0.conv1", "layer1.0.relu", "layer1.0.relu#3", "layer2.0.shortcut.1", "fc"} <= set(names)
    assert {"relu", "layer1.0.add", "layer1.1.add", "layer2.0.add", "flatten"} <= set(names)
    assert {"layer1", "layer1.0", "layer1.1", "layer2", "layer2.0", "layer2.0.shortcut"} <= set(names)
    assert not [name for name in names if name.startswith("add") or name.endswith("_1")]


def test_a_value_under_several_names_is_one_layer_with_further_names():
    net = network(ResNet)
    assert [net.layer(name).same_as for name in ("layer1.1.relu#3", "layer1.1", "layer1")] == [
        "", "layer1.1.relu#3", "layer1.1.relu#3",
    ]  # fmt: skip
    assert net.layer("layer2.0.shortcut").same_as == "layer2.0.shortcut.1"
    assert "layer1.0" not in shown_layers(net)


class SeveralUses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.skip = nn.Conv2d(3, 3, 3, padding=1), nn.Identity()

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.conv(x)) * 2
        return self.skip(x) + x


def test_further_uses_of_a_module_or_function_are_numbered():
    names = list(network(SeveralUses).layers)
    assert names == [
        "conv", "tanh", "mul", "conv#2", "tanh#2", "mul#2", "conv#3", "tanh#3", "mul#3", "skip", "add",
    ]  # fmt: skip


class NoLayers(nn.Module):
    """Detached, counted, rounded to whole numbers, constant: values whose units no gradient moves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 6, 3)

    def forward(self, x):
        batch, _, height, width = x.shape
        rows = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(batch, 1, height, width)
        ones = torch.ones_like(x[:, :1])
        x = self.conv(torch.cat([x, rows, ones], 1))
        mask = (x > 0).float()
        fixed = x.detach() * 2
        order = x.argmax(1, keepdim=True)
        return x * mask + fixed.mean((2, 3), keepdim=True) + order * 0


def test_values_that_no_pixel_moves_are_no_layers():
    net = network(NoLayers)
    assert list(net.layers) == ["getitem", "cat", "conv", "mul#2", "add", "add#2"]
    rows, _ = receptive_fields(net, "conv")
    assert (rows.size, rows.stride, rows.first) == (3, 1, 0)


# Tokens and channels-last maps -------------------------------------------------------------------------------


def test_a_sequence_with_a_class_token_is_a_layer_of_it_and_its_patches_another():
    net, image = network(Transformer), images(2)
    names = list(net.layers)
    assert names[:3] == ["patches", "cat", "cat@patches"] and names[-1] == net.class_layer == "head"
    for name in ("attention", "add", "mlp.0", "mlp.1", "mlp.2", "add#2"):
        token, patches = net.layer(name), net.layer(name + "@patches")
        assert (token.height, token.width) == (1, 1) and (patches.height, patches.width) == (5, 5)
        assert token.channels == patches.channels
    assert net.layer("mlp.1").channels == 16, "the neurons of the MLP after its GELU"
    # No pixel decides a class token that attention has not mixed.
    assert net.layer("cat@patches").same_as == "cat"
    assert net.layer("cat").height == net.layer("norm").width == 5
    assert net.layer("mlp").same_as == "mlp.2"
    module, seen = seeded(Transformer).eval(), {}
    module.mlp[1].register_forward_hook(lambda part, given, result: seen.update(gelu=result))
    with torch.no_grad():
        module(image * torch.tensor(GAIN).view(1, 3, 1, 1))
        values = net.run(image, ["mlp.1", "mlp.1@patches"])
    assert torch.allclose(values["mlp.1"], seen["gelu"][:, 0], atol=1e-5)
    expected = seen["gelu"][:, 1:].transpose(1, 2).unflatten(2, (5, 5))
    assert torch.allclose(values["mlp.1@patches"], expected, atol=1e-5)


def test_of_a_sequence_with_a_class_token_that_token_is_shown():
    assert shown_layers(network(Transformer)) == ("patches", "add", "mlp.0", "mlp.2", "add#2", "head")


class Encoder(nn.Module):
    """Patches as tokens, through torch's own encoder layer, with or without a class token, batch or sequence first."""

    def __init__(self, batch_first: bool, prefix: int) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.prefix = nn.Parameter(torch.randn(prefix, 8))
        self.place = nn.Parameter(torch.randn(25 + prefix, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=batch_first)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2)
        x = x.transpose(1, 2) if self.batch_first else x.permute(2, 0, 1)
        if len(self.prefix):
            tokens = self.prefix.unsqueeze(0 if self.batch_first else 1)
            tokens = tokens.expand(len(x), -1, -1) if self.batch_first else tokens.expand(-1, x.shape[1], -1)
            x = torch.cat([tokens, x], 0 if not self.batch_first else 1)
        x = x + (self.place if self.batch_first else self.place.unsqueeze(1))
        x = self.layer(x)
        if len(self.prefix):
            return self.head(x[:, 0] if self.batch_first else x[0])
        return self.head(x.mean(1 if self.batch_first else 0))


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_tokens_are_layers_in_either_order_and_with_any_number_of_further_tokens(batch_first, prefix):
    module = seeded(lambda: Encoder(batch_first, prefix))
    net, image = opened(module, 40), images(2)
    check_output(net, module, image)
    check_travels(net, image)
    for name in ("layer", "layer.linear1", "layer.norm2"):
        patches = net.layer(name + "@patches" if prefix else name)
        assert (patches.height, patches.width) == (5, 5), name
        assert not prefix or (net.layer(name).height, net.layer(name).width) == (1, 1)
    expected = returned(module, image)["layer.linear1"]
    expected = (expected if batch_first else expected.transpose(0, 1)).transpose(1, 2)
    got = net.run(image, ["layer.linear1" + ("@patches" if prefix else "")])
    assert torch.allclose(got.popitem()[1].flatten(2), expected[:, :, prefix:], rtol=1e-4, atol=1e-4)
    assert net.class_layer == "head"


class LastBlock(nn.Module):
    """As in ConvNeXt: channels last inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.dw = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.fc1, self.act, self.fc2 = nn.LayerNorm(8), nn.Linear(8, 20), nn.GELU(), nn.Linear(20, 8)
        self.gamma = nn.Parameter(torch.rand(8))

    def forward(self, x):
        x = self.stem(x)
        y = self.fc2(self.act(self.fc1(self.norm(self.dw(x).permute(0, 2, 3, 1)))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


def test_maps_with_channels_last_are_maps_with_exact_windows():
    module = seeded(LastBlock)
    net = opened(module, 40)
    assert list(net.layers) == ["stem", "dw", "norm", "fc1", "act", "fc2", "mul", "add"]
    assert check_layers(net, module, images(2)) == 6
    check_cones(net, images(2))
    assert set(window_statuses(net).values()) == {"exact"}
    assert [receptive_fields(net, name)[0].size for name in ("stem", "fc1", "add")] == [4, 12, 12]
    assert (net.layer("act").channels, net.layer("act").height, net.layer("act").width) == (20, 10, 10)


class Windowed(nn.Module):
    """As in Swin: attention in windows that are shifted by a roll, patches merged by strided slices."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.qkv = nn.Conv2d(3, 8, 5, 5), nn.LayerNorm(8), nn.Linear(8, 24)
        self.project, self.merge, self.head = nn.Linear(8, 8), nn.Linear(32, 16, bias=False), nn.Linear(16, 4)

    def forward(self, x):
        x = self.patches(x).permute(0, 2, 3, 1)
        batch, rows, columns, channels = x.shape
        y = self.norm(x).roll((-1, -1), (1, 2))
        y = y.view(batch, rows // 4, 4, columns // 4, 4, channels).transpose(2, 3).reshape(-1, 16, channels)
        q, k, v = self.qkv(y).reshape(-1, 16, 3, 2, channels // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, 16, channels)
        y = self.project(y).view(batch, rows // 4, columns // 4, 4, 4, channels).transpose(2, 3)
        x = x + y.reshape(x.shape).roll((1, 1), (1, 2))
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.head(self.merge(torch.cat(parts, -1)).mean((1, 2)))


def test_attention_in_windows_keeps_its_channels_and_says_what_it_reads():
    module = seeded(Windowed)
    net = opened(module, 40)
    check_output(net, module, images(2))
    check_cones(net, images(2))
    statuses = window_statuses(net)
    assert {"patches", "norm", "qkv", "project", "add", "merge", "head"} <= set(net.layers)
    assert (net.layer("add").height, net.layer("merge").height, net.layer("merge").channels) == (8, 4, 16)
    assert statuses["norm"] == "exact" and statuses["merge"] in ("probed", "upper bound", "whole image")
    assert statuses["head"] == "whole image"


# Windows -----------------------------------------------------------------------------------------------------


def test_windows_of_a_recorded_module_are_those_of_its_convolutions():
    net = network(sequential)
    rows, _ = receptive_fields(net, "conv2")
    assert (rows.size, rows.stride, rows.first) == (17, 4, -7)
    assert is_local(network(DenseNet), "blocks.2.conv")


@pytest.mark.parametrize(
    "build, layer",
    [(sequential, "conv2"), (ResNet, "layer2.0.conv2"), (DenseNet, "blocks.2.conv"), (SqueezeExcite, "head")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_cones_of_a_recorded_module_give_the_full_value(build, layer):
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


class AlwaysDrops(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


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
        (AlwaysDrops(), "dropout: dropout that is active in evaluation mode is random"),
        (nn.Identity(), "no value that it computes depends on the image"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), "cannot take a batch of 2 images of 3×40×40 at 0: .*check model.size"),
        (nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), "at 1: .*check model.size"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "mixes the images of a batch"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_shown_is_refused_in_one_line(module, words):
    with pytest.raises(DefinitionError, match=words) as caught:
        torch_network("net", module, preprocessing())
    assert str(caught.value).startswith("network net: ") and "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("build", [OneImageOnly, InPlaceView], ids=lambda build: build.__name__)
def test_a_view_of_one_image_and_a_view_that_is_overwritten_are_what_the_module_gives(build):
    check_output(network(build), build(), images(1))


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
    if isinstance(part, nn.LSTM):  # rows as tokens: (batch, token, channel) is the map (batch, channel, token, 1)
        expected = expected.transpose(1, 2)[..., None]
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-5)
