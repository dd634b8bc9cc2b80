"""What runs where Ray, or Hydra too, is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def run(folder: Path, packages: set[str], *arguments: str) -> subprocess.CompletedProcess:
    """Run a module of ours, and all processes that it starts, without some packages."""
    (folder / "sitecustomize.py").write_text(HIDDEN.format(packages=packages))
    path = os.pathsep.join((str(folder), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran


@pytest.mark.slow
def test_an_atlas_needs_no_ray_in_one_process(tmp_path):
    out = tmp_path / "atlas"
    few = ["units=[conv1:0]", "samples=1", "methods=[ascent]", "style.low_frequency.max_iter=2", "dataset=none"]
    run(tmp_path, {"ray"}, "jobs.atlas", "cluster=serial", "device=cpu", "pages=false", f'out="{out}"', *few)
    assert (out / "atlas.h5").is_file()


@pytest.mark.slow
def test_a_gpu_is_measured_without_hydra_and_ray(tmp_path):
    """On the CPU, a tiny part of everything."""
    file = tmp_path / "made" / "cpu.json"
    hidden = {"ray", "hydra", "omegaconf", "scipy", "matplotlib", "cv2"}
    run(tmp_path, hidden, "jobs.bench", "device=cpu", f"file={file}")
    found = json.loads(file.read_text())
    assert {"machine", "peak", "agreement", "climbs", "dgn", "mining", "processes", "atlas"} == found.keys()
    assert all(one["agrees"] for one in found["agreement"].values())
    assert found["atlas"]["pictures"] > 0 and found["machine"]["torch"]
