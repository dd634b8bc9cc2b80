"""What plain hooks see of a module, and how a layer is read in what a submodule returned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jobs.zoo.hooks import difference, layouts, seen_values, submodules, tensors_in


class Everything(nn.Module):
    """A submodule for each thing that can become of one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.parts = nn.ModuleList([nn.Conv2d(4, 4, 1)])
        self.projection = nn.Linear(4, 2)
        self.dropped = nn.Conv2d(4, 1, 1)
        self.embedding = nn.Embedding(3, 2)

    def forward(self, image):
        x = self.relu(self.parts[0](self.relu(self.conv(image))))
        self.dropped(x)
        scores = nn.functional.linear(x.mean((2, 3)), self.projection.weight)
        return scores + self.embedding(torch.tensor(1))


def images(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_submodules_are_told_apart_by_what_became_of_them():
    torch.manual_seed(0)
    found = submodules(Everything().requires_grad_(False), images(0), images(1))
    assert list(found.layers) == ["conv", "relu", "parts.0", "relu#2"]
    assert found.idle == ("parts", "projection")
    assert found.unused == ("dropped",)
    assert found.fixed == ("embedding",)


def test_a_value_is_kept_as_it_was_before_the_next_module_wrote_over_it():
    module = Everything()
    _, seen = seen_values(module, images(0))
    assert seen["conv"].value.min() < 0 <= seen["relu"].value.min()
    assert torch.equal(seen["conv"].value, module.conv(images(0)))


def test_a_view_that_is_written_over_later_is_needed():
    class Half(nn.Module):
        def forward(self, x):
            return torch.cat([x, x * 2], dim=1)[:, 2:5]

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.part = nn.Conv2d(3, 3, 1), Half()

        def forward(self, image):
            x = self.part(self.conv(image))
            x += image
            return x

    found = submodules(Sum().requires_grad_(False), images(0), images(1))
    assert list(found.layers) == ["conv", "part"] and found.unused == ()


def test_a_constant_result_is_decided_by_no_pixel_even_where_a_gradient_reaches_the_image():
    module = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Softmax(dim=1))  # of one channel: always 1
    assert submodules(module.requires_grad_(False), images(0), images(1)).fixed == ("1",)


def test_the_tensors_of_a_result_are_found_in_their_order():
    a, b, c = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0])
    assert list(tensors_in({"x": (a, [b]), "none": None, "y": c})) == [a, b, c]


INF = float("inf")
MAP = torch.arange(2 * 5 * 3 * 4.0).reshape(2, 5, 3, 4)  # (image, channel, row, column)
TOKENS = MAP.flatten(2).transpose(1, 2)
CLASS = torch.cat([torch.full((2, 1, 5), -1.0), TOKENS], dim=1)


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (MAP, (5, 3, 4), MAP),
        (MAP.permute(0, 2, 3, 1), (5, 3, 4), MAP),  # channels last
        (TOKENS, (5, 3, 4), MAP),
        (TOKENS.transpose(0, 1), (5, 3, 4), MAP),  # (token, image, channel)
        (MAP.flatten(2), (5, 3, 4), MAP),  # (image, channel, token)
        (TOKENS.reshape(6, 4, 5), (5, 3, 4), MAP),  # three windows an image
        (TOKENS.reshape(2, 3, 4, 5), (5, 12, 1), MAP.reshape(2, 5, 12, 1)),  # (image, head, token, channel)
        (MAP[:, :4].reshape(4, 2, 3, 4), (4, 3, 4), MAP[:, :4]),  # two parts an image
        (MAP[:, :4].reshape(2, 2, 2, 3, 4).transpose(0, 1).reshape(4, 2, 3, 4), (4, 3, 4), MAP[:, :4]),
        (MAP.reshape(2, 5, 1, 3, 4), (5, 3, 4), MAP),  # (image, branch, channel, row, column)
        (CLASS, (5, 3, 4), MAP),
        (CLASS.transpose(0, 1), (5, 3, 4), MAP),
        (CLASS, (5,), torch.full((2, 5), -1.0)),
        (MAP[:, :, 0, 0], (5,), MAP[:, :, 0, 0]),
        (MAP[:, :, :1, :1], (5,), MAP[:, :, 0, 0]),
        (MAP[:, :, :1, :1], (5, 1, 1), MAP[:, :, :1, :1]),
        (MAP[:, :, 0, 0][:, None], (5, 1, 1), MAP[:, :, :1, :1]),
    ],
)
def test_a_layer_is_read_in_every_form(value, shape, expected):
    found = layouts(value, shape, 2)
    assert any(torch.equal(one, expected) for one in found)
    assert all(one.shape == expected.shape for one in found)


def test_a_form_that_sizes_leave_open_has_several_readings():
    square = torch.arange(2 * 4 * 4.0).reshape(2, 4, 4)
    assert len(layouts(square, (4, 2, 2), 2)) == 2


@pytest.mark.parametrize("value", [torch.zeros(2, 3, 7, 7), torch.zeros(5), torch.zeros(3, 12, 5)])
def test_other_forms_have_no_reading(value):
    assert layouts(value, (5, 3, 4), 2) == []


def test_a_difference_is_a_share_of_the_largest_value():
    assert difference(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 5.0])) == pytest.approx(0.1)
    assert difference(torch.zeros(2), torch.zeros(2)) == 0
    assert difference(torch.tensor([-INF, 4.0]), torch.tensor([-INF, 5.0])) == pytest.approx(0.2)
    assert difference(torch.tensor([0.0, 4.0]), torch.tensor([-INF, 5.0])) == INF
    assert difference(torch.ones(2), torch.zeros(2)) == float("inf")
    assert difference(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
