"""A job in an allocation: when it is asked for again, and a real one on a node without Slurm's daemons."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.slurm.allocation import FRUITLESS, Run, address_for, count_fruitless, fingerprint, hosts, next_step
from pipeline.errors import SettingsError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("run", "fruitless", "code", "again"),
    [
        (Run(0, "", True), 0, 0, False),
        (Run(1, "", True), 0, 1, False),
        (Run(2, "", False), 1, 2, False),
        (Run(0, "requeue", True), 0, 0, False),  # it was done when the signal came
        (Run(2, "requeue", False), 1, 2, False),
        (Run(130, "requeue", True), 0, 130, True),
        (Run(None, "requeue", False), 1, 130, True),  # the signal came before the job began
        (Run(-9, "requeue", True), 0, 130, True),  # it did not stop in time
        (Run(130, "requeue", False), FRUITLESS - 1, 130, True),
        (Run(130, "requeue", False), FRUITLESS, 130, False),
        (Run(130, "stop", True), 0, 130, False),
        (Run(-15, "stop", True), 0, 130, False),
        (Run(None, "", True), 0, 1, True),  # the cluster was lost
        (Run(-9, "", True), 0, 1, True),
        (Run(-9, "", False), FRUITLESS, 1, False),
    ],
)
def test_what_follows_a_run(run, fruitless, code, again):
    assert next_step(run, fruitless)[:2] == (code, again)


def test_runs_without_gain_are_counted_until_one_gains(tmp_path):
    state = tmp_path / "runs.json"
    assert [count_fruitless(state, gained) for gained in (False, False, True, False)] == [1, 2, 0, 1]
    state.write_text("{")
    assert count_fruitless(state, False) == 1


def test_results_are_a_gain_and_logs_and_pages_are_not(tmp_path):
    before = fingerprint(tmp_path)
    for name in ("log/a.log", "site/index.html", "plan.json", ".lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert fingerprint(tmp_path) == before == fingerprint(tmp_path / "none")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a").write_text("x")
    assert fingerprint(tmp_path) != before


def test_a_checkpoint_that_is_replaced_is_a_gain(tmp_path):
    path = tmp_path / "training.checkpoint"
    path.write_text("step 1")
    before = fingerprint(tmp_path)
    path.write_text("step 2")
    os.utime(path, ns=(1, 1))
    assert fingerprint(tmp_path) != before


def test_the_address_of_the_head_is_the_one_that_reaches_the_other_nodes(tmp_path, monkeypatch):
    assert address_for(None) == "127.0.0.1"
    script = tmp_path / "scontrol"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for known, expected in (("127.0.0.2", "127.0.0.1"), ("no.such.host.invalid", None)):
        script.write_text(f"#!/bin/sh\necho NodeName=n2 Arch=x86_64 NodeAddr={known} NodeHostName=n2\n")
        script.chmod(0o755)
        if expected is not None:
            assert address_for("n2") == expected
        else:
            with pytest.raises(SettingsError, match=f"node n2: its address {known} is not known here"):
                address_for("n2")


SCONTROL = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/asked"
case "$1 $2" in
  "show hostnames") echo n1;;
esac
"""


def test_the_first_node_is_the_one_that_runs_this(tmp_path, monkeypatch):
    script = tmp_path / "scontrol"
    script.write_text("#!/bin/sh\nprintf 'n1\\nn2\\nn3\\n'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert hosts({"SLURM_JOB_NODELIST": "n[1-3]", "SLURMD_NODENAME": "n2"}) == ["n2", "n1", "n3"]


@pytest.mark.slow
def test_a_job_that_is_told_to_stop_goes_on_in_the_next_run(tmp_path):
    """A real job on a real Ray node; only scontrol is a script that writes down what it is asked."""
    script = tmp_path / "scontrol"
    script.write_text(SCONTROL)
    script.chmod(0o755)
    small = ["units=[fc8:*]", "samples=2", "methods=[ascent]", "styles=[low_frequency]", "pages=false", "device=cpu",
             "style.low_frequency.max_iter=60", "devices.cpu.task_seconds=0.3"]  # fmt: skip
    out = tmp_path / "out"

    def begin(restarts: int) -> subprocess.Popen:
        environment = {
            **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "71", "SLURM_CPUS_ON_NODE": "2",
            "SLURM_JOB_NODELIST": "n1", "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": str(restarts),
        }  # fmt: skip
        words = [sys.executable, "-m", "jobs.slurm.allocation", "atlas", "cluster=ray", *small, f'out="{out}"']
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    first = begin(0)
    while not list(out.glob("shards/*/*")):
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGUSR1)
    while "requeue 71" not in (tmp_path / "asked").read_text().splitlines():
        assert first.poll() is None
        time.sleep(0.1)
    first.terminate()  # as Slurm does when it requeues
    assert "the time is nearly over; it goes on" in first.communicate()[0]
    kept = len(list(out.glob("shards/*/*")))
    second = begin(1)
    assert "run 2: all done" in second.communicate()[0]
    assert second.returncode == 0
    assert kept > 0 and not (out / "shards").exists()  # all of it is in the atlas
    assert json.loads((out / "log" / "slurm-71" / "runs.json").read_text()) == {"fruitless": 0}
    assert list((out / "log" / "slurm-71" / "ray-0").glob("raylet.out"))

    serial = [sys.executable, "-m", "jobs.atlas", "cluster=serial", *small, f'out="{tmp_path}/serial"']
    subprocess.run(serial, cwd=ROOT, check=True, capture_output=True)
    digests = {hashlib.sha256((folder / "atlas.h5").read_bytes()).digest() for folder in (out, tmp_path / "serial")}
    assert len(digests) == 1
