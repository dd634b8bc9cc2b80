"""The layer table: what is shown, measured and known of windows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from laws import opened
from networks import NETWORKS, RandomWeights, builder
from torch import nn

from pipeline.card import NetworkCard
from pipeline.costs import Pass
from pipeline.nets.network import Network
from pipeline.nets.network_card import network_card, window_statuses
from pipeline.nets.operators import Affine, Concat, GlobalPool, Identity, InnerProduct, Relu, Softmax, Sum
from pipeline.nets.rearranging import Moved, Resize
from pipeline.nets.sliding import Convolution


def normalized_net() -> Network:
    """Normalization in one and in two steps, a residual sum, a concatenation that is a block, one that is not."""
    w, b = RandomWeights(False), builder(12, 12)
    conv = b.add("conv", Convolution(w(4, 3, 3, 3), None, (1, 1), (1, 1)), [b.input], "conv")
    bn = b.add("bn", Affine(w(4), w(4)), [conv], "bn")
    scale = b.add("scale", Affine(w(4), w(4)), [bn], "scale")
    relu = b.add("relu", Relu(), [scale], "relu")
    two = b.add("two", Convolution(w(4, 4, 3, 3), None, (1, 1), (1, 1)), [relu], "two")
    norm = b.add("norm", Affine(w(4), w(4)), [two], "norm")
    total = b.add("total", Sum(), [norm, relu], "total")
    on = b.add("on", Relu(), [total], "on")
    read = b.add("read", Convolution(w(4, 4, 1, 1), None), [on], "read")
    again = b.add("again", Affine(w(4), w(4)), [read], "again")
    inner = b.add("inner", Concat(), [read, again], "inner")
    block = b.add("block", Concat(), [inner, again], "block")
    pool = b.add("pool", GlobalPool("mean"), [block], "pool")
    fc = b.add("fc", InnerProduct(w(5, 12), w(5)), [pool], "fc")
    return b.build("normalized", b.add("prob", Softmax(), [fc], "prob"), blocks=["block"])


def test_the_default_layers_are_what_the_network_passes_on():
    card = network_card(normalized_net())
    assert [layer.name for layer in card.layers if layer.shown] == ["scale", "norm", "total", "read", "block", "fc"]
    assert all(layer.has_units for layer in card.layers), "every value stays reachable by its name"


def test_the_table_says_what_is_measured():
    measures = {layer.name: layer.measure for layer in network_card(normalized_net()).layers}
    assert measures == {
        "conv": "conv, before its normalization",
        "bn": "bn, before its normalization",
        "scale": "scale, the normalization of conv, before its ReLU",
        "relu": "relu, after the ReLU",
        "two": "two, before its normalization",
        "norm": "norm, the normalization of two",
        "total": "total, a sum of branches, before its ReLU",
        "on": "on, after the ReLU",
        "read": "read",  # another layer reads the convolution itself
        "again": "again",
        "inner": "inner, a concatenation of branches",
        "block": "block, a concatenation of branches",
        "pool": "pool",
        "fc": "fc",
        "prob": "prob",
    }


class Stem(nn.Module):
    """A convolution, a function, a convolution, a head."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.one, self.two, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.two(self.function(self.one(x))).mean((2, 3)))


@pytest.mark.parametrize(
    "function, words, status",
    [
        (F.gelu, "one, before its GELU", "exact"),
        (F.silu, "one, before its SiLU", "exact"),
        (F.relu, "one, before its ReLU", "exact"),
        (F.relu6, "one, before its ReLU", "exact"),
        (lambda x: x.sort(1).values, "one", "probed"),
        (lambda x: F.group_norm(x, 2), "one", "whole image"),
        (lambda x: x.transpose(2, 3), "one", "upper bound"),
        (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), "one", "whole image"),
    ],
)  # fmt: skip
def test_measures_and_statuses_follow_what_reads_a_layer_and_what_it_reads(function, words, status):
    torch.manual_seed(0)
    card = network_card(opened(Stem(function), 16))
    assert card.layer("one").measure.startswith(words)
    assert card.layer("one").window_status == "exact"
    assert card.layer("two").window_status == status
    assert card.layer("head").window_status == "whole image"
    assert card.layer("two").window_size != (16, 16) or status in ("whole image", "upper bound")


def test_a_card_with_statuses_and_names_turns_into_plain_values_and_back():
    torch.manual_seed(0)
    card = network_card(opened(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.LazyLinear(3)), 9))
    assert card.layer("0").same_as == "0.0" and not card.layer("0").shown and not card.layer("0").has_units
    assert NetworkCard.of_record(card.record()) == card
    assert card.class_layer == "2" and card.class_layer_guessed


def test_a_record_of_before_shows_convolutions_and_inner_products():
    record = network_card(NETWORKS["resnet_like"]()).record()
    for layer in record["layers"]:
        del layer["shown"], layer["same_as"], layer["window_status"]
    card = NetworkCard.of_record(record)
    assert {layer.kind for layer in card.layers if layer.shown} == {"conv", "deconv"}
    assert {layer.window_status for layer in card.layers} == {"exact"}


def irregular_net() -> Network:
    """Windows that differ from position to position: a shift that wraps around, and interpolation."""
    w, b = RandomWeights(True), builder(12, 12)
    at = b.add("conv", Convolution(w(2, 3, 3, 3), None, (1, 1), (1, 1)), [b.input], "conv")
    at = b.add("shift", Moved([0, 1], [10, 11, *range(10)], range(12), 0.0), [at], "shift")
    rows = torch.zeros(8, 12)
    for row in range(8):
        rows[row, row : row + (1 if row % 2 else 3)] = 1.0
    at = b.add("resized", Resize(rows, torch.eye(12)), [at], "resized")
    return b.build("irregular", b.add("top", Convolution(w(2, 2, 1, 1), None), [at], "top"))


def test_statuses_of_irregular_windows_are_exact_where_rules_cover_them():
    assert window_statuses(irregular_net()) == dict.fromkeys(("conv", "shift", "resized", "top"), "exact")


def normalized(normalizations: int) -> Network:
    """Two convolutions, the first with fixed normalizations, a ReLU and a dropout."""
    w, b = RandomWeights(False), builder(12, 12)
    at = b.add("conv1", Convolution(w(4, 3, 3, 3), None, (1, 1), (1, 1)), [b.input], "conv1")
    for number in range(normalizations):
        at = b.add(f"bn{number}", Affine(w(4), w(4)), [at], f"bn{number}")
    at = b.add("drop", Identity(), [b.add("relu", Relu(), [at], "relu")], "drop")
    return b.build("net", b.add("conv2", Convolution(w(5, 4, 3, 3), None), [at], "conv2"))


@pytest.mark.parametrize("normalizations", [0, 1, 2])
def test_a_map_counts_half_where_an_operator_passes_over_it_once(normalizations):
    """The image of 12 x 12 with 3 channels, conv1, half of each normalization and of the ReLU, and no dropout."""
    card = network_card(normalized(normalizations))
    layer = card.layer("conv2")
    share = Pass.of(layer, "image", card).bytes / layer.bytes["image"]
    assert share == pytest.approx((3 + 4 * (1.5 + 0.5 * normalizations)) / (3 + 4 * (3 + normalizations)))


def test_what_lies_below_a_node_follows_the_edges():
    below = network_card(normalized_net()).below
    assert below["image"] == frozenset() and below["conv"] == {"image", "input_gain"}
    assert below["total"] - below["conv"] == {"conv", "bn", "scale", "relu", "two", "norm"}
