"""The window of a position is the bounding box of the pixels that can change it, found by brute force."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS
from test_network_card import irregular_net

from pipeline.nets.window import (
    ReceptiveFields,
    Window,
    frames,
    is_local,
    is_regular,
    open_window,
    receptive_fields,
    window,
)


def positions(height: int, width: int):
    """Corners, borders and centre of a map."""
    rows = sorted({0, 1 % height, height // 2, height - 1})
    columns = sorted({0, 1 % width, width // 2, width - 1})
    return [(row, column) for row in rows for column in columns]


def support(network, layer: str, row: int, column: int) -> Window:
    """The bounding box of the gradient's support, in a network that is linear with positive weights."""
    size = network.preprocessing
    image = torch.rand(1, size.channels, size.height, size.width, dtype=torch.float64, requires_grad=True)
    value = network.run(image, [layer])[layer]
    value = value if value.dim() == 2 else value[:, :, row, column]
    (gradient,) = torch.autograd.grad(value.sum(), image)
    touched = gradient[0].abs().amax(dim=0)
    rows, columns = touched.amax(dim=1).nonzero()[:, 0], touched.amax(dim=0).nonzero()[:, 0]
    return Window(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_window_is_the_support_of_the_gradient_at_every_kind_of_position(name):
    network = NETWORKS[name](linear=True).to(dtype=torch.float64)
    for layer in network.layers.values():
        if layer.kind == "softmax" or layer.name == "gate":  # not linear
            continue
        for row, column in positions(layer.height, layer.width):
            assert window(network, layer.name, row, column) == support(network, layer.name, row, column), (
                layer.name,
                row,
                column,
            )


@pytest.mark.parametrize("name", NETWORKS)
def test_open_window_clips_to_a_box_that_holds_the_window(name):
    network = NETWORKS[name]()
    size = network.preprocessing
    for layer in network.layers.values():
        for row, column in positions(layer.height, layer.width):
            inside = window(network, layer.name, row, column)
            clipped = open_window(network, layer.name, row, column).clip(size.height, size.width)
            assert clipped.top <= inside.top and clipped.left <= inside.left
            assert clipped.bottom >= inside.bottom and clipped.right >= inside.right


def test_fields_of_the_small_alexnet_like_network_follow_the_recurrence():
    network = NETWORKS["caffenet_like"]()
    assert receptive_fields(network, "conv1") == (ReceptiveFields(5, 2, -1), ReceptiveFields(5, 2, -1))
    assert receptive_fields(network, "pool1") == (ReceptiveFields(9, 4, -1), ReceptiveFields(9, 4, -1))
    assert receptive_fields(network, "conv2") == (ReceptiveFields(25, 4, -9), ReceptiveFields(17, 4, -5))
    assert receptive_fields(network, "fc6") == (ReceptiveFields(47, 0, 0), ReceptiveFields(53, 0, 0))


def test_layers_above_a_global_operation_are_not_local():
    network = NETWORKS["resnet_like"]()
    assert is_local(network, "down")
    assert not is_local(network, "excite")
    assert open_window(network, "excite", 0, 0) == Window(0, 0, 41, 44)


def test_windows_that_differ_from_position_to_position_are_those_of_the_gradient_everywhere():
    """A shift that wraps around, and rows mixed by a matrix, read once one row and once three."""
    network = irregular_net().to(dtype=torch.float64)
    for layer in network.layers.values():
        for row in range(layer.height):
            for column in (0, 5, layer.width - 1):
                seen, found = window(network, layer.name, row, column), support(network, layer.name, row, column)
                assert (seen.left, seen.right) == (found.left, found.right)
                assert seen.top <= found.top and found.bottom <= seen.bottom
                if layer.name != "resized" or row < 8:
                    assert seen == found or wraps(row), (layer.name, row, column)


def wraps(row: int) -> bool:
    """Whether a row of the layers above the shift reads rows of both ends of the image."""
    return row < 3


def test_fields_of_irregular_windows_are_those_of_the_centre_and_the_frames_hold_every_window():
    network = irregular_net()
    assert not is_regular(network, "top") and is_local(network, "top")
    rows, columns = receptive_fields(network, "top")
    assert (columns.size, columns.stride, columns.first) == (3, 1, -1)
    row = network.layer("top").centre[0]
    centre = open_window(network, "top", row, 4)
    assert rows.size >= centre.height and rows.first + row * rows.stride in (centre.top, centre.top + 1, centre.top - 1)
    for axis, size in ((0, 12), (1, 12)):
        found = frames(network, "top", axis)
        assert (found.stop > found.start).all() and found.size <= size
        if found.size < size:
            assert (found.first <= found.start).all() and (found.stop <= found.first + found.size).all()
