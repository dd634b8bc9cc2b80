"""The window of a position is the bounding box of the pixels that can change it, found by brute force."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS

from pipeline.nets.window import ReceptiveFields, Window, is_local, open_window, receptive_fields, window


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
