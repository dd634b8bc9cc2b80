"""What a GPU would run, without one: tensors on the wrong side, and branches that only a GPU takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "on_other_device.py"


def run(*parts: str) -> None:
    """Run parts of the program; its last line says what failed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, PROGRAM, *parts], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.splitlines() == [f"{part}: as on the CPU" for part in parts]


def test_tasks_networks_and_operators_keep_to_their_device():
    run("refusals", "tasks", "windows", "parts", "backward", "pools", "layout")


@pytest.mark.slow
def test_every_style_layer_and_training_keeps_to_its_device():
    run("styles", "networks", "training")
