"""What a recording sees of constants that a module's forward builds in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules import torch_network


class Built(nn.Module):
    """A convolution scaled by a constant that `build` makes anew in every run."""

    def __init__(self, build):
        super().__init__()
        self.conv, self.build = nn.Conv2d(3, 4, 3, padding=1), build

    def forward(self, x):
        return torch.relu(self.conv(x)) * self.build().reshape(1, 4, 1, 1)


def through_a_column():
    table = torch.arange(8.0).reshape(4, 2).clone()
    table[:, 0] += 3
    table[:, 1] *= 2
    return table.sum(dim=1)


def through_a_view():
    table = torch.zeros(2, 4)
    table.view(-1)[1:5].add_(torch.arange(4.0))
    return table[0] + 2 * table[1]


def used_between():
    table = torch.ones(4)
    first = table * 2
    table[:2] += 1
    second = table * 3
    table[1:].mul_(5)
    return first + second + table


def looked_up():
    """As the relative positions of BEiT and Swin."""
    at = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
    apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0).contiguous()
    apart[:, :, 0] += 1
    apart[:, :, 0] *= 3
    apart[:, :, 1] += 1
    return torch.arange(20.0)[apart.sum(-1)].sum(dim=1)


def a_transposed_view():
    table = torch.arange(16.0).reshape(4, 4).clone()
    table.t()[0].zero_()
    return table.sum(dim=1)


@pytest.mark.parametrize("build", [through_a_column, through_a_view, used_between, looked_up, a_transposed_view])
def test_a_constant_that_is_changed_through_a_view_of_a_part_is_read_as_it_became(build):
    torch.manual_seed(0)
    module = Built(build).eval()
    network = torch_network("net", module, Preprocessing(8, 8, "RGB", np.zeros(3), np.ones(3)))
    image = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network.graph(image), module(image), rtol=1e-5, atol=1e-5)
    assert "conv" in network.layers
