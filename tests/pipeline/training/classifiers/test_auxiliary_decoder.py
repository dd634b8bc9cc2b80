"""The auxiliary decoder: its error is as documented, and its gradient reaches the code but not the target."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.training.classifiers.auxiliary_decoder import AuxiliaryDecoder


def network() -> nn.Sequential:
    """A map of 8 x 8, and a code of it."""
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 5, 3, padding=1),
            target=nn.ReLU(),
            flatten=nn.Flatten(),
            fc=nn.Linear(5 * 8 * 8, 6),
            code=nn.ReLU(),
            named=nn.Linear(6, 4),
            prob=nn.Softmax(dim=1),
        )
    )


def with_decoder() -> AuxiliaryDecoder:
    return AuxiliaryDecoder(network(), target="target", channels=5, code="code", entries=6)


def test_the_logits_are_the_networks_own():
    learner, images = with_decoder(), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(learner(images)[0], learner.network[:-1](images), rtol=0, atol=0)


def test_the_error_is_that_of_the_decoder_as_a_share_of_the_energy():
    learner, images = with_decoder().double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    code, target = learner.network[:5](images), learner.network[:2](images)
    rise = functional.relu(code @ learner.decoder.fc.weight.T + learner.decoder.fc.bias).reshape(2, 128, 4, 4)
    decoded = functional.conv_transpose2d(rise, learner.decoder.up.weight, learner.decoder.up.bias, stride=2, padding=1)
    expected = target.detach().numpy()
    share = np.square(decoded.detach().numpy() - expected).sum() / np.square(expected).sum()
    np.testing.assert_allclose(float(learner(images)[1].detach()), share, rtol=1e-5)  # it is computed in float32


def test_the_error_teaches_the_code_but_not_the_target():
    learner, images = with_decoder(), torch.randn(2, 3, 8, 8)
    learner(images)[1].backward()
    assert learner.network.fc.weight.grad.abs().sum() > 0
    assert learner.network.named.weight.grad is None
    through_code = learner.network.conv.weight.grad.clone()
    learner.zero_grad()
    target = learner.network[:2](images).detach()
    value = learner.network[2:5](learner.network[:2](images))
    (functional.mse_loss(learner.decoder(value), target) / target.square().mean()).backward()
    torch.testing.assert_close(through_code, learner.network.conv.weight.grad)


def test_a_decoder_learns_to_reconstruct_from_the_code():
    learner = with_decoder()
    images = torch.randn(4, 3, 8, 8)
    optimiser = torch.optim.Adam(learner.parameters(), lr=0.01)
    first = float(learner(images)[1].detach())
    for _ in range(150):
        optimiser.zero_grad()
        error = learner(images)[1]
        error.backward()
        optimiser.step()
    assert float(learner(images)[1].detach()) < 0.5 * first


def test_a_target_of_another_size_is_resized_to_the_decoders_map():
    layers = network()
    layers.flatten = nn.Sequential(nn.AdaptiveMaxPool2d(8), nn.Flatten())
    error = AuxiliaryDecoder(layers, target="target", channels=5, code="code", entries=6)(torch.randn(2, 3, 12, 12))[1]
    assert torch.isfinite(error)
