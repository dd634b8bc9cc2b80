"""The same torture, short: a run in this process's child, killed at any moment; and what would tell a fault."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from jobs import folder
from jobs.atlas import atlas
from jobs.console import compose_config
from pipeline.store import merge
from tests.torture.__main__ import _kinds, main
from tests.torture.accounts import account
from tests.torture.folders import differences
from tests.torture.request import OPEN, ROOT, WHOLE, given

KILLS = 4  # of each form of the atlas


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[[Path], int]:
    """Makes the atlas in this process, one task after the other."""
    few = ("units=[fc:0-1,conv1:0]", "samples=1", "combinations=null", "pages=false")
    config = compose_config("atlas", [*given(tmp_path_factory.mktemp("given")), *few])
    return lambda out: atlas(OmegaConf.merge(config, {"out": str(out)}))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, make) -> tuple[Path, float]:
    """The atlas that nothing disturbed, and the seconds that it takes when all modules are loaded."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert make(out / "first") == 0
    started = time.monotonic()
    assert make(out / "out") == 0
    seconds = time.monotonic() - started
    assert differences(out / "first", out / "out") == []
    return out / "out", seconds


def quiet_child(work: Callable[[], int]) -> int:
    """Run `work` in a forked process that prints nothing; return the id of the process."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            code = work()
        except BaseException:
            code = 1
        os._exit(code)
    return child


def was_killed(child: int) -> bool:
    """Wait for a process, which has either succeeded or was killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def killed_after(seconds: float, work: Callable[[], int]) -> bool:
    """Run `work` in a process that is killed after so long; False if it had ended before."""
    child = quiet_child(work)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return was_killed(child)


def killed_at(number: int, out: Path, work: Callable[[], int]) -> bool:
    """Run `work` in a process that is killed before its n-th change of a file below `out`; False if it ended before."""
    changes = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}

    def counted() -> int:
        left = [number]

        def hook(event: str, arguments: tuple) -> None:
            if event not in changes or not str(arguments[0]).startswith(str(out)):
                return
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        return work()

    return was_killed(quiet_child(counted))


@pytest.mark.parametrize("whole_below", [WHOLE, OPEN])
def test_an_atlas_whose_runs_are_killed_at_any_moment_is_the_undisturbed_one(
    tmp_path, undisturbed, make, monkeypatch, whole_below
):
    monkeypatch.setattr(folder, "MERGE_SECONDS", 0.05)
    monkeypatch.setattr(folder, "MERGE_SHARE", 0.5)
    monkeypatch.setattr(merge, "WHOLE_BELOW", whole_below)
    expected, seconds = undisturbed
    choice, out, runs, killed = random.Random(whole_below), tmp_path / "out", 0, 0
    while runs < KILLS or not killed:
        if killed_after(choice.uniform(0.05, 0.8) * seconds, lambda: make(out)):
            killed += 1
        elif not killed:  # the machine has become faster since the seconds were measured
            shutil.rmtree(out)
            seconds /= 2
        runs += 1
    assert make(out) == 0
    seen = account(out / "log")
    assert seen.problems == []
    assert seen.again <= killed  # one place
    assert differences(expected, out) == []


def deaths(tmp_path: Path, make, expected: Path, numbers: Iterable[int]) -> int:
    """Let a run on a new folder die at each of these changes, and complete it; return at which it died last."""
    last = 0
    for number in numbers:
        out = tmp_path / str(number)
        if not killed_at(number, out, partial(make, out)):
            break
        last = number
        assert make(out) == 0
        assert account(out / "log").problems == []
        assert differences(expected, out) == []
        shutil.rmtree(out)
    return last


def test_a_run_that_dies_while_it_writes_its_plan_leaves_nothing(tmp_path, undisturbed, make):
    out = tmp_path / "out"
    for number in count(1):  # after the folders, the lock and the log
        assert killed_at(number, out, lambda: make(out))
        if list(out.glob(".plan.json.*")):
            break
    assert make(out) == 0
    assert differences(undisturbed[0], out) == []


@pytest.mark.slow
@pytest.mark.parametrize("whole_below", [WHOLE, OPEN])
def test_a_run_that_dies_at_any_change_of_a_file_is_completed(tmp_path, undisturbed, make, monkeypatch, whole_below):
    monkeypatch.setattr(folder, "MERGE_SECONDS", 0.05)
    monkeypatch.setattr(merge, "WHOLE_BELOW", whole_below)
    assert deaths(tmp_path, make, undisturbed[0], count(3, 29)) > 100


def test_the_kinds_of_kills_are_in_their_shares():
    kinds = _kinds(50, random.Random(0))
    assert len(kinds) == 50
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"worker": 20, "node": 13, "driver": 12, "head": 5}
    assert set(_kinds(8, random.Random(0))) == {"worker", "node", "driver"}
    assert set(_kinds(10, random.Random(0))) == {"worker", "node", "driver", "head"}


def logged(folder: Path, *events: tuple[str, str]) -> list[str]:
    """The problems in a log of events: name, task."""
    lines = [{"event": name, "task": task, "of": task, "reason": "its node died"} for name, task in events]
    (folder / "0.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return account(folder).problems


def test_what_was_computed_without_need_is_a_problem(tmp_path):
    run, began, stored, again = (("run", ""), ("started", "a"), ("stored", "a"), ("again", "a"))
    assert logged(tmp_path, run, began, run, began, again, began, stored) == []
    assert "begun again" in logged(tmp_path, run, began, began)[0]
    assert "begun again" in logged(tmp_path, run, began, stored, run, began)[0]
    assert "stored 2 times" in logged(tmp_path, run, began, stored, run, stored)[0]


def test_what_is_left_in_the_folder_is_a_difference(tmp_path, undisturbed):
    out = shutil.copytree(undisturbed[0], tmp_path / "out")
    assert differences(undisturbed[0], out) == []
    (out / ".plan.json.7.part").touch()
    (out / "log" / ".status.json.part").touch()
    (out / "parts").mkdir()
    (out / "parts" / "lost.h5").touch()
    (out / "plan.json").write_text("{}")
    assert differences(undisturbed[0], out) == [
        "parts/lost.h5: belongs to nothing", ".plan.json.7.part: is left", "log/.status.json.part: is left",
        "parts: is left", "parts/lost.h5: is left", "plan.json: has other bytes",
    ]  # fmt: skip


@pytest.mark.slow
def test_drivers_workers_nodes_and_heads_are_killed_on_simulated_nodes():
    run = subprocess.run(
        [sys.executable, "-m", "tests.torture", "kills=10", "seed=5", "samples=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("kills=x", "error: torture kills=x: expected a number, as in kills=50\n"),
        ("kills=0", "error: torture kills=0: expected more than 0, as in kills=50\n"),
        (
            "kill=5",
            "error: torture kill=5: no such argument (nearest: kills); there are kills, seed, nodes, samples, keep\n",
        ),
    ],
)
def test_an_argument_that_is_no_good_gets_one_line(argument, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main([argument])
    assert ended.value.code == 2 and capsys.readouterr().err == said
