"""Attention in windows of tokens: what modules return is a layer, before and after windows are put together again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules import torch_network

SIDE, WINDOW, CHANNELS = 8, 4, 6


class Partition(nn.Module):
    def forward(self, x):
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // WINDOW, WINDOW, w // WINDOW, WINDOW).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(b, -1, WINDOW * WINDOW, c)


class Departition(nn.Module):
    def forward(self, x):
        b, _, _, c = x.shape
        n = SIDE // WINDOW
        return x.reshape(b, n, n, WINDOW, WINDOW, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, SIDE, SIDE)


class Mixing(nn.Module):
    """Attention of a kind: each token of a window becomes the mean of the window's tokens weighted by likeness."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x):
        y = self.project(x)
        return (y @ y.transpose(-1, -2)).softmax(-1) @ y


class Windowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.partition, self.mix, self.join = Partition(), Mixing(), Departition()

    def forward(self, x):
        x = self.partition(x)
        return self.join(x + self.mix(x))


class Network(nn.Module):
    """after : what follows the blocks."""

    def __init__(self, after: nn.Module):
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.blocks = nn.Sequential(Windowed(), nn.Identity(), Windowed())
        self.after = after

    def forward(self, x):
        return self.after(self.blocks(self.stem(x)))


@pytest.mark.parametrize(
    "after",
    [
        nn.Conv2d(CHANNELS, 2, 3),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE * SIDE, 3)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=lambda after: type(after).__name__,
)
def test_windows_that_are_put_together_again_are_layers(after):
    torch.manual_seed(0)
    module, seen = Network(after).eval().requires_grad_(False), {}
    network = torch_network("net", module, Preprocessing(SIDE, SIDE, "RGB", np.zeros(3), np.ones(3)))
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, given, result, name=name: seen.update({name: result}))
    image = torch.randn(2, 3, SIDE, SIDE)
    module(image)
    names = ["blocks.0", "blocks.0.join", "blocks.1", "blocks.2", "blocks.2.join", "blocks"]
    values = network.run(image, names)
    for name in names:
        assert torch.allclose(values[name], seen[name], rtol=1e-4, atol=1e-5), name
    assert {"blocks.0.mix", "blocks.0.mix.project", "blocks.2.mix.project"} <= set(network.layers)


class Heads(nn.Module):
    """Values with an axis of heads or of branches, which modules return."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, CHANNELS, 3, padding=1), nn.LayerNorm(CHANNELS // 2)
        self.softmax, self.branches = nn.Softmax(dim=-1), Branches()

    def forward(self, x):
        x = self.stem(x)
        q = x.reshape(len(x), 2, CHANNELS // 2, SIDE * SIDE).transpose(-1, -2)
        weights = self.softmax(q @ q.transpose(-1, -2))
        return self.branches(x, (weights @ self.norm(q)).mean((1, 2)))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.gate = nn.Sequential(nn.AdaptiveAvgPool3d((2, 1, 1)), nn.Softmax(dim=1)), nn.Linear(3, 2)

    def forward(self, x, y):
        x = torch.stack([x, x.relu() * self.gate(y)[:, :1, None, None]], dim=1)
        return (x * self.attention(x.transpose(1, 2)).transpose(1, 2)).sum(dim=1)


def test_values_with_an_axis_of_heads_or_branches_are_layers():
    torch.manual_seed(0)
    module, seen = Heads().eval().requires_grad_(False), {}
    network = torch_network("net", module, Preprocessing(SIDE, SIDE, "RGB", np.zeros(3), np.ones(3)))
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, given, result, name=name: seen.update({name: result}))
    image = torch.randn(2, 3, SIDE, SIDE)
    module(image)
    values = network.run(image, ["norm", "softmax", "branches.attention"])
    for name in ("norm", "softmax"):
        expected = seen[name].movedim(-1, 1).reshape(values[name].shape)
        assert torch.allclose(values[name], expected, rtol=1e-4, atol=1e-5), name
    expected = seen["branches.attention"].flatten(1, 2)
    assert torch.allclose(values["branches.attention"], expected, rtol=1e-4, atol=1e-5)


class Relative(nn.Module):
    """Each row of pixels as a row of its own in the batch, padded and cut as where relative positions are counted."""

    def __init__(self):
        super().__init__()
        self.stem, self.after = nn.Conv2d(3, CHANNELS, 3, padding=1), nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        rows = F.pad(x.permute(0, 2, 1, 3).reshape(-1, CHANNELS, SIDE), [0, 1]).flatten(1)
        rows = F.pad(rows, [0, SIDE - 1])[:, : CHANNELS * SIDE].tanh()
        return self.after(rows.reshape(-1, SIDE, CHANNELS, SIDE).transpose(1, 2))


class PaddedBelow(nn.Module):
    """A maximum over a map that is padded with minus infinity, as a module returns it."""

    def __init__(self):
        super().__init__()
        self.stem, self.pad, self.pool = (
            nn.Conv2d(3, CHANNELS, 3, padding=1),
            nn.ConstantPad2d(1, -float("inf")),
            nn.MaxPool2d(3, 2),
        )

    def forward(self, x):
        return self.pool(self.pad(self.stem(x)))


@pytest.mark.parametrize(("build", "names"), [(Relative, ["stem", "after"]), (PaddedBelow, ["stem", "pad", "pool"])])
def test_several_vectors_an_image_and_infinite_values_are_no_obstacle(build, names):
    torch.manual_seed(0)
    module = build().eval().requires_grad_(False)
    network = torch_network("net", module, Preprocessing(SIDE, SIDE, "RGB", np.zeros(3), np.ones(3)))
    image = torch.randn(3, 3, SIDE, SIDE)
    assert torch.allclose(network.graph(image), module(image), rtol=1e-4, atol=1e-5)
    assert set(names) <= set(network.layers)
