"""An untrained generator with code statistics, and a network to search with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.methods.code_starts import CodeRange
from pipeline.methods.dgn import Search
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import InnerProduct, Relu, Softmax
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import Convolution
from pipeline.search_settings import SearchSettings

SETTINGS = SearchSettings(
    iterations=12, unit="entry", step_start=0.5, step_end=1e-10, sigmas=3.0, clip=False, shrink=0.99, penalty=0.0,
    jitter=0.0,
    start="noise", image=None, fresh_starts=1, trace_points=4,
)  # fmt: skip
ENTRIES = 6


@dataclass
class TinyPrior:
    """Codes of 6 numbers to images of 14 x 15, blue first."""

    generator: nn.Module
    name: str = "tiny"
    code_shape: tuple[int, ...] = (ENTRIES,)
    height: int = 14
    width: int = 15
    order: str = "BGR"
    mean: tuple[float, ...] = (100.0, 110.0, 120.0)
    gain: tuple[float, ...] = (0.02, 0.025, 0.03)


def prior(**changes: object) -> TinyPrior:
    torch.manual_seed(5)
    layers = (nn.Linear(ENTRIES, 30), nn.LeakyReLU(0.3), nn.Linear(30, 3 * 14 * 15), nn.Unflatten(1, (3, 14, 15)))
    return TinyPrior(nn.Sequential(*layers).eval().requires_grad_(False), **changes)


def network() -> Network:
    """Red first, 11 x 11, a mean image; conv1 (4), fc (5, the classes) and prob."""
    random = np.random.RandomState(2)

    def weight(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)).float()

    mean = random.uniform(90, 130, (3, 11, 11))
    builder = GraphBuilder(Preprocessing(11, 11, "RGB", mean, np.full(3, 0.02)))
    at = builder.add(
        "conv1", Convolution(weight(4, 3, 3, 3), torch.full((4,), 0.5), (2, 2), (0, 0)), [builder.input], "conv1"
    )
    at = builder.add("relu1", Relu(), [at], "relu1")
    at = builder.add("fc", InnerProduct(weight(5, 100), torch.zeros(5)), [at], "fc")
    at = builder.add("prob", Softmax(), [at], "prob")
    return builder.build("tiny", at, class_layer="fc")


def known(rectified: bool = True) -> CodeRange:
    random = np.random.RandomState(4)
    mean, deviation = random.uniform(0, 1, ENTRIES), random.uniform(0.2, 1, ENTRIES)
    return CodeRange(mean.astype(np.float32), deviation.astype(np.float32), rectified)


def search(settings: SearchSettings = SETTINGS, **changes: object) -> Search:
    values = {"name": "tiny", "seed": 0, "known": known(), "balance": 0.0, "image_code": None}
    return Search(settings=settings, **(values | changes))
