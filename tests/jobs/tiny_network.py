"""Networks so small that a whole atlas takes a second; model.build names them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parent
LABELS = ("round", "square", "striped")
# A few units a task, so that a run has many; numbers of a style that ends soon.
SMALL = (
    "model=torch", "model.name=tiny", "model.build=tiny_network:tiny", "model.labels=tiny_network:LABELS",
    "model.size=[16,16]", "experiment=null", "styles=[low_frequency]", "style.low_frequency.max_iter=5",
    "style.sparse.max_iter=4", "ascent.trace_points=3", "samples=2", "devices.cpu.max_batch=2",
    "devices.cpu.task_seconds=1e-9", "device=cpu", "cluster=serial", "pages=false",
)  # fmt: skip
TASKS = 2 * (2 + 2 + 1) + 2  # samples × pairs of units of conv1, conv2 and fc; the last units of two, with both samples


def tiny(seed: int = 0) -> nn.Module:
    """Three layers with units: conv1 (4), conv2 (5) and fc (3), the classes."""
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 4, 3, stride=2),  # 7 x 7
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(4, 5, 3),  # 5 x 5
        flat=nn.Flatten(),
        fc=nn.Linear(125, 3),
    )
    return nn.Sequential(layers)


def tiny_with_odds() -> nn.Module:
    """The same, with the probabilities of its classes, prob."""
    network = tiny()
    network.add_module("prob", nn.Softmax(dim=1))
    return network


def judge() -> nn.Module:
    """A network of another build, with the same classes."""
    torch.manual_seed(1)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 3, 5), mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))
