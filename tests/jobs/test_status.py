"""What `make status` prints, while a run goes on and after it ended in any way."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass

import pytest
from cards import small_plan

from jobs.console import run_job
from jobs.dispatch import Event
from jobs.ledger import STATUS, Ledger
from jobs.outcome import Done, Failed
from jobs.run_log import RunLogFile, log, read_events, write_event
from jobs.status import is_dead, lines, read_status, status
from pipeline.errors import OutputError
from pipeline.methods.ascent.task import ascent_tasks

TASKS = ascent_tasks(small_plan(2))


@dataclass(frozen=True)
class FakeTask:
    """A task of some method, with its estimated time."""

    method: str
    seconds: float
    noun, count, words, id = "images", 1, "images", "0" * 32


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger(tmp_path):
    """A ledger in the folder `log`, with a clock that the test turns: `ledger.clock.now`."""
    (tmp_path / "log").mkdir()
    return Ledger(tmp_path / "log", Clock())


def start(ledger, task, node):
    ledger.note(Event("started", {"task": task, "node": node, "attempt": 1}))


def test_a_ledger_counts_by_method_and_by_node(ledger):
    first, second, third, fourth, *rest = TASKS
    ledger.add([second, third, fourth, *rest], stored=[first], failed_before=[])
    for name, places in (("a", 2), ("b", 1)):
        ledger.note(Event("joined", {"node": name, "places": places}))
    for task, node in ((second, "a"), (third, "a"), (fourth, "b")):
        start(ledger, task, node)
    ledger.clock.now += 10
    ledger.settled(second, Done(b"xx", "a", 8.0))
    ledger.note(Event("again", {"task": third, "node": "a", "reason": "its worker was killed", "attempt": 1}))
    ledger.settled(fourth, Failed("ValueError: bad", "", node="b"))
    ledger.note(Event("left_out", {"node": "b", "reason": "no such device", "tasks": 3}))
    record = ledger.record()
    method = record["methods"]["ascent"]
    assert [method[name] for name in ("total", "kept", "stored", "running", "failed")] == [len(TASKS), 1, 2, 0, 1]
    assert method["left"] == len(TASKS) - 3
    assert method["rate"] == second.count / 10
    a, b = record["nodes"]["a"], record["nodes"]["b"]
    assert (a["stored"], a["failed"], a["running"], a["places"], a["seconds"]) == (1, 1, 0, 2, 8.0)
    assert (b["state"], b["reason"], b["failed"]) == ("left out", "no such device", 1)
    assert record["last_failure"] == "ValueError: bad"


def fakes(method: str, *seconds: float) -> list[FakeTask]:
    """Tasks that take long, so that the prior of the speed counts little beside them."""
    return [FakeTask(method, each) for each in seconds]


def test_the_time_left_follows_the_measured_speed_and_the_places_that_work(ledger):
    first, *others = fakes("ascent", 1e5, 1e5, 2e5, 3e5)
    ledger.add([first, *others], stored=[], failed_before=[])
    assert ledger.seconds_left() is None
    ledger.note(Event("joined", {"node": "a", "places": 2}))
    start(ledger, first, "a")
    ledger.settled(first, Done(b"", "a", 3e5))
    for task in others[:2]:
        start(ledger, task, "a")
    assert ledger.seconds_left() == pytest.approx(3 * 6e5 / 2, rel=1e-3)


def test_a_place_whose_task_has_just_ended_counts_until_its_node_is_gone(ledger):
    ledger.add(TASKS[:6], stored=[], failed_before=[])
    for node, task in zip("aab", TASKS, strict=False):
        ledger.note(Event("joined", {"node": node, "places": 2}))
        start(ledger, task, node)
    ledger.settled(TASKS[0], Done(b"", "a", TASKS[0].seconds))
    work = sum(task.seconds for task in TASKS[1:6])
    assert ledger.seconds_left() == pytest.approx(work / 3)
    ledger.note(Event("left", {"node": "a"}))
    assert ledger.seconds_left() == pytest.approx(work)


def test_each_method_has_its_own_measured_speed(ledger):
    """The pass over the dataset takes twice its estimate here, pictures half of theirs."""
    (first, second), (mined, block) = fakes("ascent", 1e5, 2e5), fakes("mine", 1e5, 3e5)
    ledger.add([first, second, mined, block], stored=[], failed_before=[])
    for task, slowness in ((first, 0.5), (mined, 2.0)):
        start(ledger, task, "a")
        ledger.settled(task, Done(b"", "a", slowness * task.seconds))
    assert ledger.seconds_left() == pytest.approx(0.5 * 2e5 + 2.0 * 3e5, rel=1e-3)


def test_the_speed_of_one_small_task_is_not_taken_for_that_of_all(ledger):
    """Five seconds of tasks that took what was estimated count beside the measured ones, in all and of each method."""
    small, large, other = *fakes("backproject", 0.25, 17.0), FakeTask("images", 3.0)
    ledger.add([small, large, other], stored=[], failed_before=[])
    start(ledger, small, "a")
    ledger.settled(small, Done(b"", "a", 0.75))
    usual = 5.75 / 5.25
    assert ledger.seconds_left() == pytest.approx(17.0 * (0.75 + 5 * usual) / 5.25 + 3.0 * usual)


def test_tasks_that_are_cut_later_count_by_the_plan_s_estimate(ledger):
    """Of ten estimated parts, seven are of stages that come when the first is done; all take twice their estimate."""
    ledger.expected = 1e6
    (first, second), (later,) = fakes("mine", 2e5, 1e5), fakes("backproject", 6.5e5)
    ledger.add([first, second], stored=[], failed_before=[])
    ledger.note(Event("joined", {"node": "a", "places": 2}))
    for task in (first, second):
        start(ledger, task, "a")
    ledger.settled(first, Done(b"", "a", 4e5))
    assert ledger.seconds_left() == pytest.approx((2e5 + 2 * 7e5) / 2, rel=1e-3)
    ledger.settled(second, Done(b"", "a", 2e5))
    assert ledger.seconds_left() == pytest.approx(2 * 7e5 / 2, rel=1e-3)
    ledger.add([later], stored=[], failed_before=[])
    ledger.expected = 0.0
    assert ledger.seconds_left() == pytest.approx(2 * 6.5e5, rel=1e-3)


def test_the_file_is_replaced_at_most_once_a_second(ledger, tmp_path):
    ledger.add(TASKS, stored=[], failed_before=[])
    file = tmp_path / "log" / STATUS
    assert json.loads(file.read_text())["methods"]["ascent"]["total"] == len(TASKS)
    before = file.stat().st_ino, file.read_text()
    ledger.clock.now += 0.5
    ledger.note(Event("tick", {}))
    assert (file.stat().st_ino, file.read_text()) == before
    ledger.clock.now += 1.0
    ledger.note(Event("tick", {}))
    assert file.read_text() != before[1]
    assert [path.name for path in (tmp_path / "log").iterdir()] == [STATUS]


def test_a_disk_that_is_full_does_not_stop_the_ledger(tmp_path):
    Ledger(tmp_path / "missing").close("done")


def test_the_status_in_words(ledger):
    ledger.add(TASKS[:2], stored=TASKS[2:3], failed_before=TASKS[3:4])
    ledger.note(Event("joined", {"node": "gpu1", "places": 8}))
    start(ledger, TASKS[0], "gpu1")
    said = "\n".join(lines(ledger.record()))
    assert said.startswith("the run runs; began ")
    assert "time left: not known yet" in said
    assert [line.split()[:5] for line in said.splitlines() if line.startswith("ascent")] == [
        ["ascent", "1/4", "1", "1", "2"]
    ]
    assert [line.split() for line in said.splitlines() if line.startswith("gpu1")] == [
        ["gpu1", "present", "1/8", "0", "0"]
    ]
    ledger.close("stopped")
    assert lines(ledger.record())[0].startswith("the run was stopped; began ")


def test_a_killed_run_is_not_said_to_run(ledger):
    record = ledger.record()
    assert not is_dead(record)
    gone = {**record, "process": _unused_process()}
    assert is_dead(gone)
    assert "was killed; the same command continues" in lines(gone, ended_badly=True)[0]
    elsewhere = {**gone, "host": "another"}
    assert not is_dead(elsewhere)
    assert is_dead({**elsewhere, "updated": "2020-01-01T00:00:00+00:00"})
    assert not is_dead({**gone, "state": "done"})


def _unused_process() -> int:
    """The number of a process that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_folder_without_a_run_says_what_to_do(tmp_path):
    with pytest.raises(OutputError, match=r"status.json: not found; start a run with make atlas OUT="):
        read_status(tmp_path)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / STATUS).write_text('{"state": 1')
    with pytest.raises(OutputError, match="cannot be read"):
        read_status(tmp_path)


def test_the_log_is_one_object_a_line_and_readable(ledger, tmp_path, capsys):
    handler = RunLogFile(tmp_path / "log")
    log.addHandler(handler)
    log.setLevel("INFO")
    try:
        ledger.add(TASKS[:1], stored=[], failed_before=[])
        start(ledger, TASKS[0], "a")
        ledger.settled(TASKS[0], Failed("ValueError: bad\u2028", "Traceback\n…", node="a", seconds=2.0))
        log.warning("a shard was %s", "damaged")
        write_event("merge", pictures=4)
    finally:
        log.removeHandler(handler)
        handler.close()
    path = next((tmp_path / "log").glob("*.jsonl"))
    with open(path, "a") as file:
        file.write('{"event": "half')  # as a killed run leaves it
    events = list(read_events(path))
    assert [event["event"] for event in events] == ["started", "failed", "note", "merge"]
    assert events[1] | {"time": ""} == {
        "time": "", "event": "failed", "task": TASKS[0].id, "method": "ascent", "of": TASKS[0].words, "node": "a",
        "seconds": 2.0, "fault": "task", "reason": "ValueError: bad\u2028", "detail": "Traceback\n…",
    }  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        run_job(status, "status", "", [f'out="{tmp_path}"', "log=true"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"failed ascent  of {TASKS[0].words}, node a, seconds 2.0, fault task, reason ValueError: bad" in said
    assert "note  text a shard was damaged" in said


def test_the_job_prints_the_status(ledger, tmp_path, capsys):
    ledger.add(TASKS, stored=[], failed_before=[])
    ledger.close("done")
    assert json.loads((tmp_path / "log" / STATUS).read_text())["host"] == platform.node()
    with pytest.raises(SystemExit) as ended:
        run_job(status, "status", "", [f'out="{tmp_path}"'])
    assert ended.value.code == 0
    assert "the run is done" in capsys.readouterr().out
