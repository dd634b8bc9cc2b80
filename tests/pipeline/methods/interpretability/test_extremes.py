"""The most and the least exciting images of a unit, and the layer that a judge compares by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.console import compose_config
from jobs.request import read_model
from pipeline.data.doodles import draw
from pipeline.methods.interpretability.embedding import embed, embedding_layer
from pipeline.methods.interpretability.extremes import LayerMaxima, Maxima, extremes, read_maxima
from pipeline.nets.open_network import open_network
from pipeline.nets.window import window

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return open_network(read_model(compose_config("layers", []).model))


def test_maxima_and_windows_are_the_brute_force_ones(network):
    images = np.stack([draw(2, number)[0] for number in range(9)])
    batches = [([10, 11, 12, 13], images[:4]), ([14, 15, 16, 17, 18], images[4:])]
    maxima = read_maxima(network, {"conv3": (5, 2), "fc8": (1,)}, batches, CPU)
    with torch.no_grad():
        values = network.run(torch.from_numpy(network.preprocessing.centred(images)), ["conv3", "fc8"])
    expected = values["conv3"][:, [5, 2]].flatten(2)
    assert np.allclose(maxima.layers["conv3"].value, expected.amax(dim=2).numpy(), atol=1e-4)
    assert np.allclose(maxima.layers["fc8"].value[:, 0], values["fc8"][:, 1].numpy(), atol=1e-4)
    found = extremes(network, "conv3", maxima, 3, seed=0)
    order = np.argsort(maxima.layers["conv3"].value, axis=0)
    assert found.image[0].T.tolist() == (order[::-1][:3] + 10).tolist()
    assert found.image[1].T.tolist() == (order[:3] + 10).tolist()
    row, column = divmod(int(maxima.layers["conv3"].place[order[-1, 0], 0]), network.layer("conv3").width)
    box = window(network, "conv3", row, column)
    assert found.window[0, 0, 0].tolist() == [box.top, box.left, box.bottom, box.right]
    assert found.varies.all()


def made_up(value: list[list[float]]) -> Maxima:
    array = np.array(value, np.float32).T
    return Maxima(np.arange(len(array)) * 10, {"fc8": LayerMaxima(array, np.zeros(array.shape, np.int32))})


def test_units_that_do_not_vary_or_have_too_few_numbers_are_not_scored(network):
    nan = np.nan
    found = extremes(network, "fc8", made_up([[1, 2, 3, 4], [7, 7, 7, 7], [nan, 2, 3, nan], [1, 5, nan, 4]]), 1, seed=0)
    assert found.varies.tolist() == [True, False, True, True]
    assert found.image[:, [0, 2, 3], 0].tolist() == [[30, 20, 10], [0, 10, 0]]
    assert extremes(network, "fc8", made_up([[nan, 2, 3, nan]]), 2, seed=0).varies.tolist() == [False]


def test_among_equal_images_others_are_chosen_by_another_seed(network):
    equal = made_up([[0] * 30 + [1]])
    chosen = {tuple(extremes(network, "fc8", equal, 3, seed).image[1, 0].tolist()) for seed in range(5)}
    assert len(chosen) == 5


def test_a_judge_compares_by_what_its_class_scores_are_computed_from(network):
    layer = embedding_layer(network)
    assert network.parents(network.layer("fc8").node) == (network.layer(layer).node,)
    drawing = draw(2, 3)[0]
    seen = embed(network, layer, [drawing, drawing[:40, :50], drawing], CPU)
    with torch.no_grad():
        value = network.run(torch.from_numpy(network.preprocessing.centred(drawing[None])), [layer])[layer]
    assert np.allclose(seen[0], value[0].numpy(), atol=1e-4) and (seen[0] == seen[2]).all()
    assert np.abs(seen[0] - seen[1]).max() > 0.1
    assert embed(network, "conv5", [drawing], CPU).shape == (1, 48)  # of a map, the means over its positions
