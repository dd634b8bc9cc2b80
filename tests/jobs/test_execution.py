"""Methods run as one stream: those that do not wait for each other overlap, and results do not depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

import pipeline.compute
from jobs import execution
from jobs.cluster import Serial
from jobs.execution import Execution
from jobs.outcome import Done
from jobs.status import read_status
from pipeline.errors import ShardError
from pipeline.store.shard import ShardFolder, encode_shard
from pipeline.task import Task


@dataclass(frozen=True)
class Step(Task):
    """A task of a stage of a method."""

    method: str
    stage: int
    number: int

    count, seconds = 1, 1.0

    @property
    def words(self) -> str:
        return f"{self.stage}.{self.number}"

    def record(self):
        return {"method": self.method, "stage": self.stage, "number": self.number}


class Staged:
    """A method with stages of two tasks each. after : as in Method."""

    def __init__(self, name: str, stages: int, after=(), seen=None) -> None:
        self.name, self.count, self.after, self.seen = name, stages, after, seen

    def stages(self, work):
        for stage in range(self.count):
            self.seen.append(f"{self.name} {stage} begins")
            yield [Step(self.name, stage, number) for number in range(2)]
        self.seen.append(f"{self.name} ends")
        yield ()

    def stored(self, work):
        self.seen.append(f"{self.name} stored")


class InReverse(Serial):
    """Runs the last task that waits first, as the slowest of many machines might."""

    def run(self, compute, shared, key, tasks, notify):
        while len(tasks):
            taken = [tasks.take(True) for _ in range(len(tasks))]
            tasks.add(taken[:-1])
            yield taken[-1], Done(compute(taken[-1], shared), "here", 1.0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that computes methods, and returns what happened in its order."""

    def compute_all(*shape, cluster=Serial, bad=None, only=None, expected=0.0):
        seen: list[str] = []
        methods = [Staged(name, stages, after, seen) for name, stages, after in shape]

        def compute(task, resources):
            if task == bad:
                raise ShardError("broken on purpose")
            seen.append(f"{task.method} {task.words}")
            return encode_shard(task.record(), {}, {})

        monkeypatch.setattr(execution, "METHODS", methods)
        monkeypatch.setattr(pipeline.compute, "compute", compute)
        (tmp_path / "log").mkdir(exist_ok=True)
        work = SimpleNamespace(
            shards=ShardFolder(tmp_path / "shards"), resources=SimpleNamespace(key="key"), problems=[]
        )
        done = Execution(work, cluster, lambda: seen.append("tick"), expected=expected)
        done.compute_all(only)
        return seen, done.report

    return compute_all


CHAIN = (("one", 2, ()), ("two", 2, ()), ("three", 1, ("one", "two")))


@pytest.mark.parametrize("cluster", [Serial, InReverse])
def test_each_stage_begins_when_the_last_one_is_complete_and_each_method_after_those_it_reads(run, cluster):
    seen, report = run(*CHAIN, cluster=cluster)
    assert report.computed == 10
    at = {what: place for place, what in enumerate(seen)}
    for method in ("one", "two"):
        assert max(at[f"{method} 0.0"], at[f"{method} 0.1"]) < at[f"{method} 1 begins"]
        assert at[f"{method} ends"] < at["three 0 begins"]
    assert seen.count("tick") == 10
    assert [seen.count(f"{method} stored") for method in ("one", "two", "three")] == [4, 4, 2]


def test_a_method_begins_before_an_earlier_one_is_complete(run):
    seen, _ = run(*CHAIN)
    assert seen.index("two 0 begins") < seen.index("one 0.0")
    work = [line for line in seen if "." in line]
    assert work[:4] == ["one 0.0", "one 0.1", "one 1.0", "one 1.1"]  # yet what comes first in the plan starts first


def test_a_method_that_does_not_say_what_it_reads_waits_for_all_before_it(run):
    seen, _ = run(("one", 1, ()), ("two", 1, ()), ("added", 1, None), ("last", 1, ()))
    assert seen.index("added 0 begins") > max(seen.index("one ends"), seen.index("two ends"))
    assert seen.index("last 0 begins") < seen.index("one 0.0")


def test_what_is_stored_or_failed_before_settles_its_stage_at_once(run, tmp_path):
    bad = Step("one", 0, 1)
    _, report = run(*CHAIN, bad=bad)
    assert list(report.certain) == ["one of 0.1"]
    seen, report = run(*CHAIN)
    assert (report.kept, report.computed, len(report.failed_before)) == (9, 0, 1)
    assert "three ends" in seen
    counted = read_status(tmp_path)["methods"]["one"]
    assert (counted["stored"], counted["failed_before"], counted["left"]) == (3, 1, 0)


def test_only_the_methods_of_one_folder_are_computed_if_one_is_named(run):
    seen, report = run(*CHAIN, only=execution.METHODS[0])
    assert report.computed == 0
    assert "three ends" in seen  # the tasks of the others are cut all the same


def test_nothing_is_left_at_the_end_though_more_was_expected(run, tmp_path):
    run(*CHAIN, expected=1000.0)
    assert read_status(tmp_path)["seconds_left"] == 0
