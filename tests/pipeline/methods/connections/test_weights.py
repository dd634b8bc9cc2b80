"""Connections between layers: the matrix of their weights, the strongest of each unit, what ends the search."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "nets"))

from networks import RandomWeights, builder

from pipeline.methods.connections.task import OF_CLASS, PRODUCT, WEIGHT, Activity, mean_activity
from pipeline.methods.connections.weights import joined_layers, strongest_links
from pipeline.nets.network import Network
from pipeline.nets.operators import Affine, ChannelOrder, Concat, InnerProduct, Relu, Reshape, Slice, Softmax, Sum
from pipeline.nets.sliding import AveragePool, Convolution, MaxPool

EDGES = np.array([-np.inf, -1, 0, 1, 4, np.inf])


@pytest.fixture(scope="module")
def network() -> Network:
    """Two convolutions of one layer, one of them in groups and normalized, together read by an inner product."""
    w, b = RandomWeights(False), builder(12, 12)
    low = b.add("low", Convolution(w(4, 3, 3, 3), w(4)), [b.input], "low")
    at = b.add("relu", Relu(), [low], "relu")
    at = b.add("pool", MaxPool((2, 2), (2, 2), (0, 0), "floor"), [at], None)
    one = b.add("one", Convolution(w(6, 2, 3, 3), w(6), (1, 1), (1, 1), groups=2), [at], "one")
    one = b.add("norm", Affine(w(6), w(6)), [one], "norm")
    two = b.add("two", Convolution(w(3, 4, 1, 1), w(3)), [at], "two")
    every = b.add("every", Concat(), [one, two], "every")
    at = b.add("relu2", Relu(), [every], None)
    at = b.add("order", ChannelOrder([*range(8, -1, -1)]), [at], None)
    at = b.add("some", Slice(2, 9), [at], None)
    flat = b.add("flat", Reshape((7 * 25,)), [at], None)
    high = b.add("high", InnerProduct(w(5, 7 * 25), w(5)), [flat], "high")
    return b.build("joined", b.add("prob", Softmax(), [high], None), class_layer="high")


def effect(network: Network, below: str, above: str, unit: int) -> Tensor:
    """What each unit of a layer gains, at the centre, where a unit of one below has the value 1 everywhere, not 0."""
    start, end = network.layer(below).node, network.layer(above).node
    given = torch.zeros(2, *network.shape(start))
    given[1, unit] = 1
    values = {start: given}
    for node in network.ancestors([end])[network.ancestors([end]).index(start) + 1 :]:
        if all(parent in values for parent in network.parents(node)):
            operator = network.operator(node)
            values[node] = operator(*(values[parent] for parent in network.parents(node)))
    gain = values[end][1] - values[end][0]
    return gain if gain.dim() == 1 else gain[:, gain.shape[1] // 2, gain.shape[2] // 2]


def test_a_weight_is_what_a_unit_gains_where_the_one_below_has_the_value_1(network):
    nodes = {network.layer(name).node: name for name in ("low", "every", "high")}
    for above, below in (("every", "low"), ("norm", "low"), ("high", "every")):
        ((name, weight),) = joined_layers(network, above, nodes)
        assert name == below
        if above == "high":  # its ReLUs and flattening, with 25 positions a channel
            flat = network.operator("high").weight.view(5, 7, 25).sum(dim=2)
            expected = torch.zeros(5, 9).index_copy_(1, torch.arange(8, -1, -1)[2:9], flat)
        else:
            expected = torch.stack([effect(network, below, above, unit) for unit in range(4)], dim=1)
        assert np.allclose(weight, expected, atol=1e-5)


def test_the_search_ends_at_the_nearest_layer_that_is_asked_for(network):
    links = strongest_links(network, ["low", "one", "two", "high"], {})
    joined = {(name, each.other, each.direction) for name, each in ((n, e) for n, all in links.items() for e in all)}
    up = {("one", "low"), ("two", "low"), ("high", "one"), ("high", "two")}
    assert joined == {(a, b, "incoming") for a, b in up} | {(b, a, "outgoing") for a, b in up}


def test_a_sum_of_branches_has_none_and_is_joined_with_its_readers():
    w, b = RandomWeights(False), builder(6, 6)
    low = b.add("low", Convolution(w(4, 3, 1, 1), None), [b.input], "low")
    branch = b.add("branch", Convolution(w(4, 4, 1, 1), None), [low], "branch")
    total = b.add("total", Sum(), [low, branch], "total")
    pooled = b.add("pool", AveragePool((2, 2), (2, 2), (0, 0), "floor"), [total], None)
    network = b.build("residual", b.add("high", Convolution(w(2, 4, 1, 1), None), [pooled], "high"))
    links = strongest_links(network, ["low", "branch", "total", "high"], {})
    incoming = {name: [one.other for one in every if one.direction == "incoming"] for name, every in links.items()}
    assert incoming == {"low": [], "branch": ["low"], "total": [], "high": ["total"]}


def test_strengths_are_ordered_by_weight_times_activity(network):
    by_class = np.random.default_rng(1).random((9, 5))
    by_class[:, 3] = np.nan  # a class without images
    mean = np.random.default_rng(0).random(9)
    ((name, weight),) = joined_layers(network, "high", {network.layer("every").node: "every"})
    for activity, factor, meaning in (
        (None, np.ones((5, 9)), WEIGHT),
        (Activity(mean, "x"), mean, PRODUCT.format("x")),
        (Activity(mean, "x", by_class), np.nan_to_num(by_class).T, OF_CLASS),
    ):
        links = strongest_links(network, ["every", "high"], {} if activity is None else {"every": activity})
        (incoming,), (outgoing,) = links["high"], links["every"]
        assert incoming.meaning == outgoing.meaning == meaning
        strength = weight * factor
        order = np.argsort(-np.abs(strength), axis=1, kind="stable")[:, :8]
        there = np.take_along_axis(strength, order, 1) != 0
        assert (incoming.linked == np.where(there, order, -1)).all()
        rows = np.arange(5)[:, None]
        assert np.allclose(incoming.strength[there], strength[rows, order][there])
        assert np.allclose(incoming.weight[there], weight[rows, order][there])
        assert (outgoing.linked[0][: (strength[:, 0] != 0).sum()] == np.argsort(-np.abs(strength[:, 0]))[
            : (strength[:, 0] != 0).sum()
        ]).all()  # fmt: skip


def test_the_mean_positive_activation_is_exact_without_negative_values_and_else_of_the_bins():
    statistics = {
        "edge": EDGES,
        "position_mean": np.array([2.0, 0.5]),
        "position_min": np.array([0.0, -3.0]),
        "position_max": np.array([9.0, 9.0]),
        "position_histogram": np.array([[0, 0, 2, 2, 0], [1, 1, 0, 2, 0]]),
        "class_mean": np.array([[-1.0, 2.0], [3.0, np.nan]]),
    }
    activity = mean_activity(statistics, classes=True)
    assert activity.mean.tolist() == [2.0, 2 * 2.0 / 4]  # of two values between 1 and 4, whose geometric middle is 2
    assert np.array_equal(activity.by_class, [[0.0, 2.0], [3.0, np.nan]], equal_nan=True)
    assert mean_activity(statistics, classes=False).by_class is None
