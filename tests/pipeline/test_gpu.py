"""On a CUDA device every kind of task, network and operator gives what the CPU gives, within rounding."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from cards import DEVICE
from device_parts import PARTS, Place

from pipeline.resources import prepare


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("part", PARTS)
def test_a_gpu_computes_what_the_cpu_computes(part):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on what its next versions change
        PARTS[part](Place(prepare(replace(DEVICE, kind="cuda"))))
