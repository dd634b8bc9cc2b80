"""What the driver does with results, faults and what is there already, in any order of arrival."""

from __future__ import annotations

import random

import pytest
from cards import small_plan

from jobs import driver
from jobs.cluster import Done, Failed, Serial, attempt
from jobs.progress import Bars
from pipeline.errors import ShardError
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.tops.task import ImagesTask
from pipeline.store.shard import ShardFolder, encode_shard


class Silent:
    """Progress that counts what it is told."""

    def __init__(self) -> None:
        self.advanced = 0

    def start(self, method, total, done) -> None:
        self.total, self.done = len(total), len(done)

    def advance(self, task) -> None:
        self.advanced += 1

    def close(self) -> None:
        pass


class Shuffled(Serial):
    """Outcomes arrive in a random order."""

    def run(self, work, shared, key, tasks):
        outcomes = list(super().run(work, shared, key, tasks))
        random.Random(1).shuffle(outcomes)
        yield from outcomes


def work(task, shared) -> bytes:
    if task.layer == shared:
        raise ShardError("broken on purpose")
    return encode_shard(task.record(), {}, {})


TASKS = ascent_tasks(small_plan(2))


def run(folder, cluster=None, shared=None, tasks=TASKS, problems=None):
    progress = Silent()
    problems = [] if problems is None else problems
    return driver.run(tasks, folder, cluster or Serial, work, shared, "key", progress, problems), progress


@pytest.mark.parametrize("cluster", [Serial, Shuffled])
def test_every_task_is_stored_whatever_the_order(tmp_path, cluster):
    folder = ShardFolder(tmp_path)
    report, progress = run(folder, cluster)
    assert (report.kept, report.computed, report.failed) == (0, len(TASKS), {})
    assert progress.advanced == len(TASKS)
    assert all(folder.read(task.id, task.record()) for task in TASKS)


def test_a_second_run_computes_only_what_is_missing_or_damaged(tmp_path):
    folder = ShardFolder(tmp_path)
    run(folder)
    folder.path(TASKS[0].id).unlink()
    folder.path(TASKS[1].id).write_bytes(b"half a shard")
    problems = []
    report, progress = run(folder, problems=problems)
    assert (report.kept, report.computed) == (len(TASKS) - 2, 2)
    assert len(problems) == 1
    assert (progress.total, progress.done) == (len(TASKS), len(TASKS) - 2)
    assert run(folder)[0].computed == 0


def test_no_cluster_is_opened_for_nothing(tmp_path):
    folder = ShardFolder(tmp_path)
    run(folder)

    def never():
        raise AssertionError("opened a cluster")

    assert run(folder, never)[0].kept == len(TASKS)


def test_a_task_that_fails_by_its_own_fault_costs_itself_alone_and_is_tried_again(tmp_path):
    folder = ShardFolder(tmp_path)
    report, _ = run(folder, shared="fc8")
    bad = [task for task in TASKS if task.layer == "fc8"]
    assert len(report.failed) == len(bad)
    assert report.computed == len(TASKS) - len(bad)
    assert all(folder.reason(task.id) == "broken on purpose" for task in bad)
    report, _ = run(folder)
    assert (report.computed, report.failed) == (len(bad), {})
    assert all(folder.reason(task.id) is None for task in bad)


def test_attempt_turns_any_exception_into_an_outcome():
    assert attempt(lambda task, shared: b"x", None, None) == Done(b"x")

    def broken(task, shared):
        raise ZeroDivisionError("by zero")

    outcome = attempt(broken, None, None)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "ZeroDivisionError: by zero"
    assert "Traceback" in outcome.detail


def test_progress_counts_what_a_task_makes(capsys):
    images = ImagesTask(dataset=None, image=(4, 4), fill=(0, 0, 0), numbers=(1, 2, 5))
    for tasks in (TASKS[:1], (images,)):
        bars = Bars()
        bars.start(tasks[0].method, tasks, [])
        bars.advance(tasks[0])
    said = capsys.readouterr().err
    assert f"ascent: {TASKS[0].count}/{TASKS[0].count} pictures, " in said
    assert "images: 3/3 images, " in said and " images/s, " in said
