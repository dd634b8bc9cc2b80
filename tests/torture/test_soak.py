"""What is level and what is not, and a soak of a minute."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tests.torture.levels import LEVEL, growth
from tests.torture.request import ROOT


def rows(**changes):
    """Half an hour of measurements. changes : name → its growth until the end, as a share."""
    noise, found = random.Random(0), []
    for second in range(0, 1800, 5):
        row = {
            "seconds": float(second),
            "nodes": noise.choice((3, 4)),
            "stored": 5.0 * second + 1,
            "driver_seconds": 0.1 * second,
        }
        levels = {"driver_bytes": 4e8, "driver_handles": 60, "driver_threads": 40, "out_files": 80, "head_bytes": 5e8}
        levels |= {"nodes_bytes": 1e8 * row["nodes"], "out_bytes": 4e3 * row["stored"]}
        for name, level in levels.items():
            grown = 1 + changes.get(name, 0.0) * second / 1800
            row[name] = level * grown * (1 + noise.uniform(-0.02, 0.02))
        found.append(row)
    return found


@pytest.mark.parametrize("name", LEVEL)
def test_what_is_level_within_its_noise_passes(name):
    assert abs(growth(rows(), LEVEL[name])) < LEVEL[name].limit


@pytest.mark.parametrize(
    ("name", "grows"),
    [("memory of the driver, bytes", "driver_bytes"), ("handles of the driver", "driver_handles"),
     ("bytes of OUT for a stored task", "out_bytes"), ("memory of a node, bytes", "nodes_bytes")],
)  # fmt: skip
def test_what_grows_does_not(name, grows):
    assert growth(rows(**{grows: 0.4}), LEVEL[name]) > LEVEL[name].limit


def test_what_comes_before_the_warm_up_or_after_the_last_task_does_not_count():
    measured = rows()
    for row in measured:
        if row["seconds"] < 340 or row["seconds"] > 1410:
            row["driver_bytes"] = 1e6
        row["stored"] = min(row["stored"], 7000)
    assert abs(growth(measured, LEVEL["memory of the driver, bytes"])) < 0.05


@pytest.mark.slow
def test_a_short_soak_measures_and_draws(tmp_path):
    words = ["tasks=150", "minutes=0.5", "nodes=2", f"out={tmp_path}"]
    run = subprocess.run([sys.executable, "-m", "tests.torture.soak", *words], cwd=ROOT, capture_output=True, text=True)
    assert "tasks in" in run.stdout, run.stderr
    assert "exit code" not in run.stdout and "begun again" not in run.stdout, run.stdout
    record = json.loads((tmp_path / "soak.json").read_text())
    assert record["rows"][-1]["stored"] >= 150 and record["rows"][-1]["driver_bytes"] > 1e7
    assert (tmp_path / "soak.png").stat().st_size > 10_000
