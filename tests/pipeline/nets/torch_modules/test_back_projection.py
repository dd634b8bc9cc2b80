"""Back-projections of recorded modules: operands that do not matter, detached and integer ones, tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from example_modules import Transformer
from laws import images, opened
from torch import nn

from pipeline.nets.backward import RULES, BackwardPass
from pipeline.nets.cone import Cone, FullPass
from pipeline.nets.network import Network

SIDE = 24


class Features(nn.Module):
    """A convolution, what a subclass makes of its features, and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.next, self.head = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.squeeze, self.excite = nn.Linear(8, 2), nn.Linear(2, 8)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return self.head(self.next(self.changed(x)).mean((2, 3)))


class Expanded(Features):
    """The usual squeeze-and-excite block: y.expand_as(x) reads only the size of x."""

    def changed(self, x):
        batch, channels, _, _ = x.size()
        y = F.adaptive_avg_pool2d(x, 1).view(batch, channels)
        y = torch.sigmoid(self.excite(F.relu(self.squeeze(y)))).view(batch, channels, 1, 1)
        return x * y.expand_as(x)


class Detached(Features):
    def changed(self, x):
        return x * x.detach().mean((2, 3), keepdim=True) + x.detach()


class Counted(Features):
    """Whole numbers: a mask, an index of the largest channel, positions."""

    def changed(self, x):
        order = x.argmax(1, keepdim=True)
        return x.gather(1, order) * (order == 3) + x * (x > 0.1) + order


class Chosen(Features):
    """A condition that depends on the image, and a value that is nowhere chosen."""

    def changed(self, x):
        return torch.where(x > x.mean(1, keepdim=True), x, -x) + torch.where(x > -1e9, x, x.exp())


class LikeIt(Features):
    def changed(self, x):
        return x + torch.ones_like(x) + torch.zeros_like(x) * x + x.new_full((1,), 2.0)


class SortedByNorm(Features):
    def changed(self, x):
        order = x.detach().norm(dim=1).flatten(1).argsort(1)
        flat = x.flatten(2).gather(2, order[:, None].expand(-1, 8, -1))
        return flat.view_as(x) * torch.linspace(0, 1, flat.shape[2]).view(1, 1, *x.shape[2:])


class Returned(Features):
    """Keeps a copy of the features aside and writes zeros over it."""

    def changed(self, x):
        aside = x.clone()
        aside.zero_()
        return x + aside


class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(1, 1, 16))
        self.encoder, self.head = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1))[:, 0])


MODULES = [Expanded, Detached, Counted, Chosen, LikeIt, SortedByNorm, Returned, ClassToken, Transformer]


def networked(build) -> Network:
    torch.manual_seed(3)
    return opened(build(), SIDE).to(dtype=torch.float64)


@pytest.mark.parametrize("build", MODULES, ids=lambda build: build.__name__)
def test_the_gradient_rule_is_the_gradient_of_every_layer_on_the_window_and_on_the_image(build):
    network, image = networked(build), images(1, SIDE).double()
    compared = 0
    for layer in network.layers.values():
        row, column = layer.centre
        whole = image.clone().requires_grad_()
        unit = layer.channels // 2
        value = network.run(whole, [layer.name])[layer.name]
        at = value[0, unit] if value.dim() == 2 else value[0, unit, row, column]
        if network.last_relus(layer.name):  # its own ReLU is left out
            continue
        (expected,) = torch.autograd.grad(at, whole)
        for cone in (Cone(network, layer.name), FullPass(network, layer.name)):
            seen = cone.window if type(cone) is Cone else None
            part = image if seen is None else image[:, :, seen.top : seen.bottom, seen.left : seen.right]
            slope = expected if seen is None else expected[:, :, seen.top : seen.bottom, seen.left : seen.right]
            with torch.no_grad():
                run = BackwardPass(cone, part, ignore_norms=False)
                where = torch.tensor([[row, column] if seen is None else [0, 0]])
                signals = run.signals(torch.tensor([unit]), where, RULES)
            assert torch.allclose(signals[RULES.index("gradient")], slope, rtol=1e-8, atol=1e-12), layer.name
            assert signals.isfinite().all() and signals.shape == (len(RULES), *part.shape)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("build", MODULES, ids=lambda build: build.__name__)
def test_the_scores_have_a_back_projection_by_every_rule(build):
    network = networked(build)
    with torch.no_grad():
        run = BackwardPass(FullPass(network, "head"), images(2, SIDE).double(), ignore_norms=False)
        signals = run.signals(torch.tensor([0, 3]), torch.zeros(2, 2, dtype=torch.long), RULES)
    assert signals.flatten(2).abs().amax(2).min() > 0
