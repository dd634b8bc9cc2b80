"""An atlas from a command line: the same bytes however it came about, and nothing lost on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import h5py
import pytest
from tiny_network import FOLDER, SMALL, TASKS

import pipeline.compute
from atlas_viewer.validator import check
from jobs.atlas import atlas
from jobs.console import run_job
from jobs.folder import merge_atlas, read_plan, stored_work
from jobs.run_log import read_events
from jobs.score import score
from jobs.site import unfinished
from jobs.status import read_status
from pipeline.errors import DefinitionError

ROOT = Path(__file__).parents[2]
JUDGE = (
    "model@judge=torch", "judge.name=judge", "judge.build=tiny_network:judge", "judge.labels=tiny_network:LABELS",
    "judge.size=[16,16]", "judge.class_layer=mean",
)  # fmt: skip
KILLED_AFTER = 5


def run(out: Path, *overrides: str, job=atlas, config: str = "atlas", small: tuple[str, ...] = SMALL) -> int:
    """The exit code of a job in this process."""
    with pytest.raises(SystemExit) as ended:
        run_job(job, config, "", [*small, f'out="{out}"', *overrides])
    return ended.value.code


def start(out: Path, *overrides: str, fault: str | None = None, **variables: str) -> subprocess.Popen[str]:
    """The atlas job in a process of its own, perhaps with a fault. variables : of its environment."""
    program = ["-m", "jobs.atlas"] if fault is None else [str(FOLDER / "faulty_atlas.py"), fault]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{FOLDER}", **variables}
    command = [sys.executable, *program, *SMALL, f'out="{out}"', *overrides]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # it is ignored where the tests run in the background
    return subprocess.Popen(command, env=environment, preexec_fn=heard, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    """What the process said; it must have ended well."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out + err


def shards(out: Path) -> dict[str, int]:
    """Name → time of writing of every shard."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "shards").rglob("*.shard")}


def computed(out: Path) -> int:
    """The number of results that all runs in a folder have stored."""
    return sum(path.read_text().count('"event": "stored"') for path in (out / "log").glob("*.jsonl"))


def wait_for_shards(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(shards(out)) < count:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)


def events(out: Path, name: str) -> list[dict]:
    """The events with a name of all logs of a folder."""
    logs = sorted((out / "log").glob("*.jsonl"))
    return [event for log in logs for event in read_events(log) if event["event"] == name]


def contents(out: Path) -> bytes:
    return (out / "atlas.h5").read_bytes()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run that all others must equal."""
    out = tmp_path_factory.mktemp("reference")
    assert run(out) == 0
    assert computed(out) == TASKS
    assert not (out / "shards").exists()  # all of it is in the atlas
    return out


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was killed in the middle; to be copied."""
    out = tmp_path_factory.mktemp("killed")
    process = start(out, fault=f"block:{KILLED_AFTER}")
    wait_for_shards(process, out, KILLED_AFTER)
    process.kill()
    process.communicate()
    assert len(shards(out)) == KILLED_AFTER
    return out


def test_an_atlas_is_what_the_schema_says(reference):
    with h5py.File(reference / "atlas.h5") as file:
        assert check(file) == []
        assert sorted(file["layers"]) == ["conv1", "conv2", "fc"]
        assert file["layers/conv2/ascent/low_frequency/pixels"].shape == (5, 2, 7, 7, 3)
        assert list(file["layers/fc/units/label"].asstr()) == ["round", "square", "striped"]
        joined = {name: sorted(group["connections"]) for name, group in file["layers"].items()}
        assert joined == {"conv1": ["conv2"], "conv2": ["conv1", "fc"], "fc": ["conv2"]}


def test_a_killed_run_goes_on_where_it_was_and_the_bytes_are_the_same(tmp_path, reference, killed):
    out = shutil.copytree(killed, tmp_path / "out")
    assert run(out) == 0
    assert contents(out) == contents(reference)
    assert computed(out) == TASKS


def test_a_finished_command_given_again_says_that_nothing_was_left(tmp_path, reference, capsys):
    out = shutil.copytree(reference, tmp_path / "out")
    assert run(out) == 0
    assert "MB; nothing was left to compute\n" in capsys.readouterr().err
    assert contents(out) == contents(reference)


def test_ray_gives_the_same_bytes_with_any_number_of_workers_and_when_one_is_killed(tmp_path, reference, killed):
    resumed = shutil.copytree(killed, tmp_path / "resumed")
    marker = tmp_path / "marker"
    local = ("cluster=local", "cluster.memory_bytes=100000000", "cluster.store_bytes=100000000")
    finish(start(resumed, *local, "cluster.workers=2", fault=f"kill:{marker}"))
    assert marker.exists()
    assert contents(resumed) == contents(reference)
    assert len(events(resumed, "stored")) == TASKS  # each once
    assert [event["reason"] for event in events(resumed, "again")] == ["its worker was killed"]
    out = tmp_path / "4-workers"
    finish(start(out, *local, "cluster.workers=4"))
    assert contents(out) == contents(reference)


def test_asking_for_more_later_keeps_what_is_there_and_equals_asking_for_all_at_once(tmp_path):
    out, at_once = tmp_path / "out", tmp_path / "at_once"
    everything = ("styles=[low_frequency,sparse]", "samples=3")
    steps = [
        ("units=[conv1:0-1]", "samples=1"),
        ("units=[conv1:0-1]", "samples=1", "styles=[sparse]"),
        ("units=[conv1:*,fc:square]", "samples=2"),
        everything,
    ]
    for step in steps:
        assert run(out, *step) == 0
    assert run(at_once, *everything) == 0
    assert contents(out) == contents(at_once)
    assert run(out, *steps[0]) == 0  # asking for less takes nothing away
    assert contents(out) == contents(at_once)


def test_a_part_of_an_atlas_can_be_had_and_read_at_any_time(tmp_path):
    assert run(tmp_path, "units=[conv1:0-1]", "samples=1") == 0
    assert run(tmp_path, "units=[fc:square]", "samples=2") == 0
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        assert list(file["layers/conv1/units/unit"]) == [0, 1]
        assert list(file["layers/fc/units/unit"]) == [1]


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path, reference):
    process = start(tmp_path, fault="block:3")
    wait_for_shards(process, tmp_path, 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert read_status(tmp_path)["state"] == "stopped"
    merge_atlas(stored_work(read_plan(tmp_path), tmp_path), tmp_path)  # as merges during a longer run do
    assert re.fullmatch(r"This atlas is not finished: \d+ pictures are not computed yet\.", unfinished(tmp_path))
    assert run(tmp_path) == 0
    assert contents(tmp_path) == contents(reference)
    assert unfinished(tmp_path) == ""


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(tmp_path, reference, capsys):
    out = tmp_path / "new"
    assert run(out, "plan=true") == 0
    said = capsys.readouterr().out
    assert f"units: 12; tasks: {TASKS}; pictures: 24" in said
    assert not out.exists()
    before = {path: path.stat().st_mtime_ns for path in reference.rglob("*")}
    assert run(reference, "plan=true", "samples=9") == 0
    assert {path: path.stat().st_mtime_ns for path in reference.rglob("*")} == before


def test_without_ray_serial_works_and_local_says_what_to_do(tmp_path, reference, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)  # what importing it meets where it is not installed
    assert run(tmp_path) == 0
    assert contents(tmp_path) == contents(reference)
    capsys.readouterr()
    assert run(tmp_path / "local", "cluster=local") == 2
    assert "cluster=local: Ray is not installed; install ray, or use cluster=serial" in capsys.readouterr().err


def test_a_task_that_fails_leaves_a_gap_with_its_reason_and_is_tried_again_if_asked(
    tmp_path, reference, monkeypatch, capsys
):
    real = pipeline.compute.compute

    def faulty(task, network):
        if task.layer == "fc" and 1 in task.samples:
            raise DefinitionError("broken on purpose")
        return real(task, network)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline.compute, "compute", faulty)
        assert run(tmp_path) == 1
    said = capsys.readouterr().err
    assert "failed: ascent of fc, low_frequency, sample 1: broken on purpose" in said
    assert "failed: ascent of fc, low_frequency, samples 0-1: broken on purpose" in said
    assert "4 pictures failed" in said
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        assert list(file["layers/fc/ascent/low_frequency/reason"].asstr()) == ["broken on purpose"] * 3
    assert run(tmp_path) == 1
    said = capsys.readouterr().err
    assert "2 tasks failed by their own fault" in said and "retry_failed=true tries them" in said
    assert run(tmp_path, "retry_failed=true") == 0
    assert contents(tmp_path) == contents(reference)
    assert computed(tmp_path) == TASKS


def test_an_atlas_without_its_plan_is_not_replaced(tmp_path, reference, capsys):
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(reference / "atlas.h5", out)
    assert run(out) == 2
    assert "atlas.h5: its plan.json is missing, so nothing can be added to this atlas" in capsys.readouterr().err
    assert (out / "atlas.h5").read_bytes() == (reference / "atlas.h5").read_bytes()


def test_a_damaged_shard_is_set_aside_reported_and_computed_again(tmp_path, reference, killed, capsys):
    out = shutil.copytree(killed, tmp_path / "out")
    damaged = sorted((out / "shards").rglob("*.shard"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert run(out) == 0
    assert f"warning: shard {damaged.name}: damaged" in capsys.readouterr().err
    assert damaged.with_suffix(".bad").exists()
    assert contents(out) == contents(reference)


def test_a_log_tells_what_was_asked_and_done(reference):
    (asked,) = events(reference, "run")
    assert asked["configuration"]["model"]["build"] == "tiny_network:tiny"
    assert len(events(reference, "stored")) == TASKS
    assert read_status(reference)["state"] == "done"


def test_pages_come_with_the_atlas(tmp_path):
    assert run(tmp_path, "units=[fc]", "samples=1", "pages=true") == 0
    assert (tmp_path / "site" / "index.html").is_file()
    assert (tmp_path / "site" / "fc" / "2.html").is_file()


def test_scores_enter_the_atlas_and_stay_in_it(tmp_path, reference, capsys):
    out = shutil.copytree(reference, tmp_path / "out")
    models = tuple(override for override in SMALL if override.startswith("model"))

    def judged() -> str:
        assert run(out, *JUDGE, job=score, config="score", small=models) == 0
        return capsys.readouterr().out

    table = judged()
    header, row = table.splitlines()
    assert "tiny first, first 5" in header and "judge first, first 5" in header
    assert row.split()[:2] == ["low_frequency", "6"]
    assert row.count("%") == 4
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        assert sorted(file["layers/fc/scores"]) == ["judge", "tiny"]
    scored = contents(out)
    assert judged() == table
    assert contents(out) == scored
    assert run(out) == 0  # nothing to do takes nothing away
    assert contents(out) == scored
    assert run(out, "styles=[low_frequency,sparse]", "units=[fc]") == 0
    with h5py.File(out / "atlas.h5") as file:
        assert sorted(file["layers/fc/scores/judge"]) == ["judge_class", "labels", "low_frequency"]


def test_a_judge_classifies_the_pictures_of_the_classes_at_the_end(tmp_path, reference, capsys, monkeypatch):
    def judged() -> str:
        assert run(out, *JUDGE, job=score, config="score", small=models) == 0
        return contents(out)

    models = tuple(override for override in SMALL if override.startswith("model"))
    out = shutil.copytree(reference, tmp_path / "with make score")
    expected = judged()
    out = shutil.copytree(reference, tmp_path / "with make atlas")
    assert run(out, *JUDGE) == 0
    assert contents(out) == expected
    with monkeypatch.context() as patch:  # a judge of all pictures is not opened again
        patch.delattr("jobs.atlas.judge_atlas")
        assert run(out, *JUDGE) == 0
    assert contents(out) == expected
    assert run(out, *JUDGE, "styles=[low_frequency,sparse]", "units=[fc]") == 0
    with h5py.File(out / "atlas.h5") as file:
        assert sorted(file["layers/fc/scores/judge"]) == ["judge_class", "labels", "low_frequency", "sparse"]
    assert run(tmp_path / "others", *JUDGE, "units=[conv1]") == 0  # has no pictures of classes
    capsys.readouterr()
    (tmp_path / "others.txt").write_text("cat\ndog\nfox\n")
    assert run(tmp_path / "none", *JUDGE, f'judge.labels="{tmp_path / "others.txt"}"') == 2
    assert "judge judge: shares no class name" in capsys.readouterr().err
    assert not (tmp_path / "none" / "plan.json").exists()  # it is refused before any work


def test_the_same_command_later_and_elsewhere_gives_the_same_bytes(tmp_path, reference):
    """HDF5 can store times, to the second: whatever ran before has taken two of them, or we wait."""
    since = time.time() - (reference / "atlas.h5").stat().st_mtime
    time.sleep(max(0.0, 2.1 - since))
    out = tmp_path / "a folder, with another (longer) name"
    finish(start(out))
    assert contents(out) == contents(reference)


@pytest.mark.slow
def test_sigterm_stops_a_run_with_workers_in_a_line_although_the_temporary_folder_has_a_long_path(tmp_path, reference):
    """Ray's own answer to SIGTERM is the stack of its C++ code; its sockets do not fit below such a folder."""
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    out, before = tmp_path / "out", set(Path("/tmp").glob("ray-*"))
    local = ("cluster=local", "cluster.workers=1", "cluster.memory_bytes=100000000", "cluster.store_bytes=100000000")
    process = start(out, *local, fault="block:3", TMPDIR=str(deep))
    wait_for_shards(process, out, 3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in said.splitlines() if line.strip()]
    assert lines[-1] == "stopped; finished work is kept, and the same command continues from there"
    assert "SIGTERM received" not in said and "Traceback" not in said
    assert set(Path("/tmp").glob("ray-*")) <= before
    assert run(out) == 0
    assert contents(out) == contents(reference)
