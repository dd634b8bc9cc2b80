"""An untrained generator with code statistics, and a network that reads its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.card import PriorCard
from pipeline.methods.dgn.codes import CodeRange
from pipeline.methods.dgn.settings import RunRecord, RunSettings
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import InnerProduct, Relu, Softmax
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import Convolution
from pipeline.settings import DeviceSettings

SETTINGS = RunSettings(
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


def real_codes(rectified: bool = True) -> CodeRange:
    random = np.random.RandomState(4)
    mean, deviation = random.uniform(0, 1, ENTRIES), random.uniform(0.2, 1, ENTRIES)
    return CodeRange(mean.astype(np.float32), deviation.astype(np.float32), rectified)


@dataclass(frozen=True, eq=False)
class TinyRun:
    """A run with what it needs of its prior. balance : γ of the objective. image_code : (entry,), or None."""

    record: RunRecord
    codes: CodeRange
    balance: float
    image_code: np.ndarray | None

    @property
    def settings(self) -> RunSettings:
        return self.record.settings


def run_record(settings: RunSettings = SETTINGS, name: str = "tiny", seed: int = 0) -> RunRecord:
    card = PriorCard("tiny", "d" * 64, "tiny", "", "fc", (ENTRIES,), True, 14, 15, "BGR", macs=1, bytes=1)
    device = DeviceSettings("cpu", 1, batch_bytes=10**6, max_batch=8, task_seconds=0.2, macs_per_second=1e6)
    return RunRecord(name, card, settings, None, seed, device)


def tiny_run(settings: RunSettings = SETTINGS, *, balance: float = 0.0) -> TinyRun:
    return TinyRun(run_record(settings), real_codes(), balance, None)
