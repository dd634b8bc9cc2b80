"""A network small enough to know: the unit's value is a weighted sum of the window's pixels."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # the networks that these tests share

from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.window import Window


@dataclass
class LinearCone:
    """activation = bias[unit] + Σ weight[unit]·image, the window a part of an 8 × 9 image."""

    weight: torch.Tensor  # (unit, channel, row, column)
    bias: torch.Tensor
    gates: bool = False
    rectified: bool = False
    normalized: bool = False
    calls: list[int] = field(default_factory=list)  # batch sizes of every evaluation

    def __post_init__(self) -> None:
        rows, columns = self.weight.shape[2:]
        levels = np.arange(3 * 8 * 9, dtype=np.float64).reshape(3, 8, 9) / 2 + 60
        self.network = SimpleNamespace(preprocessing=Preprocessing(8, 9, "BGR", levels, np.ones(3)))
        self.window = Window(1, 2, 1 + rows, 2 + columns)
        self.mean = levels[:, 1 : 1 + rows, 2 : 2 + columns]

    def activations(self, image: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(image))
        return (self.weight[units] * image).flatten(1).sum(dim=1) + self.bias[units]

    def values(self, image: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(image))
        return torch.stack([(weight * image).flatten(1).sum(dim=1) for weight in self.weight], dim=1) + self.bias


@pytest.fixture
def cone() -> LinearCone:
    weight = torch.from_numpy(np.random.default_rng(3).normal(0, 0.1, (7, 3, 5, 6))).float()
    return LinearCone(weight, torch.linspace(-1, 1, 7))


@pytest.fixture
def published(style) -> dict[str, StyleSettings]:
    """The four rows of Yosinski et al. 2015, table 1, with the rates and iterations of their program."""
    progress = {"policy": "progress", "desired_progress": 2.0, "blur_radius": 0.5, "blur_every": 4}
    constant = {"policy": "constant", "rate": 100.0}
    rows = (
        style(name="sparse", small_norm_percentile=50, max_rate=100, max_iter=500, **progress),
        style(name="high_frequency", decay=0.3, small_norm_percentile=20, max_iter=750, **constant),
        style(name="low_frequency", decay=1e-4, blur_radius=1.0, blur_every=4, max_iter=1000, **constant),
        style(name="contribution", px_abs_benefit_percentile=90, max_rate=1e8, max_iter=1000, **progress),
    )
    return {row.name: row for row in rows}


@pytest.fixture
def settings() -> AscentSettings:
    return AscentSettings(canvas="window", start="item", image_dtype="float32", fresh_starts=2, trace_points=4)
