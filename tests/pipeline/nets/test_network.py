from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, RandomWeights, builder

from pipeline.nets.network import Network, stream
from pipeline.nets.operators import Concat, Identity, Relu
from pipeline.nets.sliding import Convolution


@pytest.mark.parametrize("name", NETWORKS)
def test_values_are_those_of_a_run_in_the_order_of_the_graph(name):
    network = NETWORKS[name]()
    layers = list(network.layers)
    size = network.preprocessing
    image = torch.randn(2, 3, size.height, size.width, generator=torch.Generator().manual_seed(0))
    run = network.run(image, layers)
    seen = []
    for layer, value in stream(network, image, layers[::-1]):
        assert torch.equal(value, run[layer])
        seen.append(layer)
    assert seen == layers


def test_the_image_and_what_others_still_read_are_not_written_over():
    network = small_network()
    image = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    kept = image.clone()
    values = {layer: value.clone() for layer, value in stream(network, image, list(network.layers))}
    run = network.run(image, list(network.layers))
    assert torch.equal(image, kept)
    assert all(torch.equal(values[layer], run[layer]) for layer in network.layers)


def test_nothing_above_the_named_layers_is_computed():
    network = NETWORKS["caffenet_like"]()
    size = network.preprocessing
    image = torch.zeros(1, 3, size.height, size.width)
    network.operator("conv3").forward = None  # fails if it is called
    assert [layer for layer, _ in stream(network, image, ["pool1", "conv1"])] == ["conv1", "pool1"]


def small_network() -> Network:
    """ReLUs of the image, of a value read twice, and of a copy of one read elsewhere."""
    w, b = RandomWeights(False), builder(4, 4)
    first = b.add("first", Relu(), [b.input], "first")
    conv = b.add("conv", Convolution(w(3, 3, 1, 1), None), [first], "conv")
    twice = b.add("twice", Relu(), [conv], "twice")
    other = b.add("other", Convolution(w(2, 3, 1, 1), None), [conv], "other")
    copy = b.add("copy", Identity(), [other], "copy")
    on_copy = b.add("on_copy", Relu(), [copy], "on_copy")
    alone = b.add("alone", Convolution(w(2, 2, 1, 1), None), [other], "alone")
    on_alone = b.add("on_alone", Relu(), [alone], "on_alone")
    at = b.add("all", Concat(), [twice, on_copy, on_alone], "all")
    return b.build("small", at)
