"""The project's networks for drawings: their layers, their cost, and the accuracy of the shipped weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawing_networks import load
from torch import nn

from pipeline.data.doodles import CLASSES, draw
from pipeline.nets.doodlenet import GAIN, MEAN, SIZE, doodlejudge, doodlenet

WEIGHTS = Path(__file__).parents[3] / "pipeline" / "weights"
CAFFENET = [
    "conv1",
    "relu1",
    "pool1",
    "norm1",
    "conv2",
    "relu2",
    "pool2",
    "norm2",
    "conv3",
    "relu3",
    "conv4",
    "relu4",
    "conv5",
    "relu5",
    "pool5",
    "flatten",
    "fc6",
    "relu6",
    "drop6",
    "fc7",
    "relu7",
    "drop7",
    "fc8",
    "prob",
]


def test_doodlenet_has_the_layers_of_caffenet() -> None:
    network = doodlenet(classes=28)
    assert [name for name, _ in network.named_children()] == CAFFENET
    assert [getattr(network, f"conv{number}").groups for number in range(1, 6)] == [1, 2, 1, 2, 2]
    assert network.norm1.size == 5
    assert network.norm2.alpha == 1e-4


def test_a_forward_pass_costs_less_than_eight_million_multiply_accumulates() -> None:
    assert _multiply_accumulates(doodlenet(classes=28)) == 7_182_208
    assert _multiply_accumulates(doodlejudge(classes=28)) == 35_097_216


@pytest.mark.parametrize("build", [doodlenet, doodlejudge])
def test_the_networks_can_be_traced(build) -> None:
    network = build(classes=28).eval()
    images = torch.randn(2, 3, SIZE, SIZE)
    traced = torch.fx.symbolic_trace(network)
    assert torch.equal(traced(images), network(images))


@pytest.mark.parametrize(("name", "least"), [("doodlenet", 0.93), ("doodlejudge", 0.95)])
def test_shipped_weights_name_drawings_that_they_never_saw(name: str, least: float) -> None:
    network, labels = load(WEIGHTS / f"{name}.safetensors")
    assert labels == CLASSES
    drawn = [draw(20_261_121, index) for index in range(300)]
    pixels = torch.from_numpy(np.stack([picture for picture, _ in drawn])).float().permute(0, 3, 1, 2)
    mean, gain = (torch.tensor(value)[:, None, None] for value in (MEAN, GAIN))
    with torch.no_grad():
        named = network((pixels - mean) * gain).argmax(1)
    assert (named.numpy() == np.array([label for _, label in drawn])).mean() >= least


@pytest.mark.parametrize("name", ["doodlenet", "doodlejudge"])
def test_shipped_weights_are_small(name: str) -> None:
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size <= 4_000_000


def _multiply_accumulates(network: nn.Module) -> int:
    """The multiply-accumulates for one image, counted as in Caffe's tables: with padding, without biases."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * layer.weight[0].numel()

    hooks = [
        layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, SIZE, SIZE))
    for hook in hooks:
        hook.remove()
    return total
