from __future__ import annotations

import pytest
import torch
from laws import opened
from networks import NETWORKS, RandomWeights, builder
from torch import nn

from pipeline.errors import UnitError
from pipeline.nets.network import Network, Stream, normalization, shown_layers, stream
from pipeline.nets.operators import Affine, Concat, Identity, Relu, Sum
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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_stream_gives_the_values_of_one_batch_after_the_other(name):
    network = NETWORKS[name]()
    layers, size = list(network.layers), network.preprocessing
    streamed = Stream(network, layers, overwrite=True)
    for seed in (0, 1):
        image = torch.randn(2, 3, size.height, size.width, generator=torch.Generator().manual_seed(seed))
        run = network.run(image, layers)
        for layer, value in streamed.run(image.clone()):
            assert torch.equal(value, run[layer])


def test_the_image_is_written_over_only_where_its_owner_allows_it():
    w, b = RandomWeights(False), builder(4, 4)
    gain = b.add("gain", Affine(w(3), w(3)), [b.input], "gain")
    network = b.build("scaled", b.add("conv", Convolution(w(2, 3, 1, 1), None), [gain], "conv"))
    image = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    run, kept = network.run(image, ["gain"]), image.clone()
    for overwrite, left in ((False, kept), (True, run["gain"])):
        ((_, value),) = Stream(network, ["gain"], overwrite=overwrite).run(image)
        assert torch.equal(value, run["gain"]) and torch.equal(image, left)


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


# The class layer ----------------------------------------------------------------------------------------------


class Classifier(nn.Module):
    """Features with a softmax inside, five scores, and what `end` makes of them."""

    def __init__(self, end=None, scores: int = 5) -> None:
        super().__init__()
        self.conv, self.gate, self.fc, self.end = nn.Conv2d(3, 6, 3), nn.Linear(6, 6), nn.Linear(6, scores), end

    def forward(self, x):
        x = torch.relu(self.conv(x)).softmax(1)
        gate = self.gate(x.mean((2, 3))).softmax(1)
        scores = self.fc((x * gate[:, :, None, None]).mean((2, 3)))
        return scores if self.end is None else self.end(scores)


@pytest.mark.parametrize(
    "end, certain",
    [
        (None, False),
        (nn.Softmax(1), True),
        (nn.LogSoftmax(1), True),
        (nn.Sigmoid(), True),
        (nn.LogSigmoid(), True),
        (nn.Identity(), False),
        (nn.Sequential(nn.Dropout(), nn.Softmax(-1)), True),
        (lambda x: x.view(-1, 5, 1, 1).softmax(1).flatten(1), True),
    ],
    ids=["scores", "softmax", "log_softmax", "sigmoid", "log_sigmoid", "identity", "dropout", "as a map"],
)  # fmt: skip
def test_the_class_layer_is_what_the_output_shows_and_never_a_softmax_inside(end, certain):
    torch.manual_seed(0)
    network = opened(Classifier(end), 12)
    assert (network.class_layer, network.class_layer_guessed) == ("fc", not certain)


def test_as_many_labels_as_units_confirm_the_class_layer():
    torch.manual_seed(0)
    module, names = Classifier(), ["a", "b", "c", "d", "e"]
    assert not opened(module, 12, labels=names).class_layer_guessed
    assert opened(module, 12, labels=names[:4]).class_layer_guessed
    chosen = opened(module, 12, class_layer="gate")
    assert (chosen.class_layer, chosen.class_layer_guessed) == ("gate", False)
    with pytest.raises(UnitError, match="layer fcc: not in network net .*fc"):
        opened(module, 12, class_layer="fcc")


def test_classes_are_found_through_pooling_of_a_map_of_scores():
    torch.manual_seed(0)
    squeeze = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert opened(squeeze, 12).class_layer == "2"


def test_features_have_no_class_layer_whatever_lies_inside():
    """The gate of a squeeze-and-excite block is no class layer."""

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            return x * self.gate(x.mean((2, 3), keepdim=True)).softmax(1)

    torch.manual_seed(0)
    network = opened(Features(), 12)
    assert (network.class_layer, network.class_layer_guessed) == (None, False)
    assert opened(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softmax2d()), 12).class_layer == "0", "a map of probabilities"


# What is passed on ------------------------------------------------------------------------------------------------


def test_a_fixed_normalization_is_followed_while_nothing_else_reads_what_it_normalizes():
    w, b = RandomWeights(False), builder(8, 8)
    conv = b.add("conv", Convolution(w(3, 3, 3, 3), None), [b.input], "conv")
    bn = b.add("bn", Affine(w(3), w(3)), [conv], "bn")
    scale = b.add("scale", Affine(w(3), w(3)), [bn], "scale")
    other = b.add("other", Convolution(w(3, 3, 3, 3), None, (1, 1), (1, 1)), [scale], "other")
    norm = b.add("norm", Affine(w(3), w(3)), [other], "norm")
    both = b.add("both", Sum(), [norm, other], "both")
    halves = b.add("halves", Sum([0.5, 0.5]), [both, both], "halves")
    network = b.build("read_twice", halves)
    assert normalization(network, "conv") == ("bn", "scale")
    assert normalization(network, "other") == (), "its sum reads it too"
    assert shown_layers(network) == ("scale", "other", "both", "halves")


def test_a_network_without_learned_layers_shows_none_and_one_of_two_names_is_shown_once():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    assert shown_layers(opened(nn.Sequential(block, nn.ReLU()), 12)) == ("0.0.1",)
    assert shown_layers(opened(nn.Sequential(nn.AvgPool2d(3), nn.Tanh()), 12)) == ()
