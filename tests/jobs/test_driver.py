"""What the driver does with results, faults and what is there already, in any order of arrival."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from cards import small_plan

from jobs.cluster import Serial
from jobs.driver import Driver
from jobs.ledger import STATUS, Ledger
from pipeline.errors import EnvironmentFault, OutputError, ShardError
from pipeline.methods.ascent.task import ascent_tasks
from pipeline.methods.tops.task import ImagesTask
from pipeline.store import shard
from pipeline.store.shard import ShardFolder, encode_shard


class Shuffled(Serial):
    """Outcomes arrive in a random order."""

    def run(self, work, shared, key, tasks, notify):
        outcomes = list(super().run(work, shared, key, tasks, notify))
        random.Random(1).shuffle(outcomes)
        yield from outcomes


def work(task, shared) -> bytes:
    if task.layer == shared:
        raise ShardError("broken on purpose")
    return encode_shard(task.record(), {}, {})


def unreadable(task, shared) -> bytes:
    if task.layer == shared:
        raise FileNotFoundError(2, "No such file or directory", "/data/images")
    return encode_shard(task.record(), {}, {})


TASKS = ascent_tasks(small_plan(2))
BAD = [task for task in TASKS if task.layer == "fc8"]


def run(folder, cluster=Serial, *, work=work, shared=None, tasks=TASKS, problems=None, logs=None, **settings):
    problems = [] if problems is None else problems
    driver = Driver(folder, cluster, work, shared, "key", Ledger(logs), problems, **settings)
    driver.add(tasks)
    driver.run()
    return driver.report


@pytest.mark.parametrize("cluster", [Serial, Shuffled])
def test_every_task_is_stored_whatever_the_order(tmp_path, cluster):
    folder = ShardFolder(tmp_path)
    report = run(folder, cluster)
    assert (report.kept, report.computed, report.failed) == (0, len(TASKS), {})
    assert all(folder.read(task.id, task.record()) for task in TASKS)


def test_a_second_run_computes_only_what_is_missing_or_damaged(tmp_path):
    folder = ShardFolder(tmp_path)
    run(folder)
    folder.path(TASKS[0].id).unlink()
    folder.path(TASKS[1].id).write_bytes(b"half a shard")
    problems = []
    report = run(folder, problems=problems)
    assert (report.kept, report.computed) == (len(TASKS) - 2, 2)
    assert len(problems) == 1
    assert run(folder).computed == 0


def test_no_cluster_is_opened_for_nothing(tmp_path):
    folder = ShardFolder(tmp_path)
    run(folder)

    def never():
        raise AssertionError("opened a cluster")

    assert run(folder, never).kept == len(TASKS)


def test_a_task_that_fails_by_its_own_fault_costs_itself_alone_and_is_not_tried_again_unless_asked(tmp_path):
    folder = ShardFolder(tmp_path)
    report = run(folder, shared="fc8")
    assert len(report.certain) == len(report.failed) == len(BAD)
    assert report.computed == len(TASKS) - len(BAD)
    assert all(folder.reason(task.id) == "broken on purpose" for task in BAD)
    report = run(folder)
    assert (report.computed, report.failed, len(report.failed_before)) == (0, {}, len(BAD))
    assert "would fail again: broken on purpose; retry_failed=true" in report.lines()[-1]
    report = run(folder, retry_failed=True)
    assert (report.computed, report.failed) == (len(BAD), {})
    assert all(folder.reason(task.id) is None for task in BAD)


def test_a_fault_of_the_machine_is_no_result_and_the_next_run_tries_again(tmp_path):
    folder, some = ShardFolder(tmp_path), [*TASKS[:3], BAD[0]]
    report = run(folder, work=unreadable, shared="fc8", tasks=some)
    (reason,) = report.failed.values()
    assert reason == "FileNotFoundError: [Errno 2] No such file or directory: '/data/images'"
    assert (report.computed, report.certain) == (len([task for task in some if task.layer != "fc8"]), {})
    assert "the same command tries them again" in report.lines()[-1]
    assert run(folder, tasks=some).computed == 1


def test_the_run_stops_with_one_line_where_the_machine_fails_every_task(tmp_path):
    folder = ShardFolder(tmp_path / "shards")

    def gone(task, shared):
        raise EnvironmentFault("dataset photos: /data/photos cannot be opened")

    with pytest.raises(EnvironmentFault, match=r"3 tasks in a row failed on this machine: dataset photos: .*continues"):
        run(folder, work=gone)
    assert run(folder).computed == len(TASKS)


def test_a_reason_that_an_earlier_version_recorded_is_tried_again(tmp_path):
    folder = ShardFolder(tmp_path)
    folder.write_reason(TASKS[0].id, "whatever")
    folder._reason_path(TASKS[0].id).write_text("plain words")
    assert folder.reason(TASKS[0].id) == "plain words"
    assert run(folder).computed == len(TASKS)


def test_a_full_disk_stops_the_run_with_one_line_and_loses_nothing(tmp_path, monkeypatch):
    folder, real = ShardFolder(tmp_path / "shards"), shard.write_whole
    written = []

    def full(path, data):
        if len(written) == 3:
            raise OutputError(f"{path}: cannot be written (No space left on device); free space or choose OUT=…")
        written.append(path)
        real(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(shard, "write_whole", full)
        with pytest.raises(OutputError, match="No space left on device"):
            run(folder)
    report = run(folder)
    assert (report.kept, report.computed) == (3, len(TASKS) - 3)


def test_tasks_that_are_added_meanwhile_run_in_the_order_of_their_methods(tmp_path):
    seen = []

    def note(task, shared):
        seen.append(task)
        return encode_shard(task.record(), {}, {})

    driver = Driver(ShardFolder(tmp_path), Serial, note, None, "key", Ledger(), [])
    plain = [replace(task, shown_first=False) for task in TASKS]
    first, second, later = plain[:1], plain[1:3], plain[3:4]
    batch = driver.add(first, order=0)
    driver.add(later, order=2)
    driver.run(lambda done: driver.add(second, order=1) if done is batch else None)
    assert seen == [*first, *second, *later]


def test_progress_and_status_count_what_a_task_makes(tmp_path, capsys):
    class Known:  # a dataset's record needs no dataset here
        kind = "folder"

        def reading(self):
            return {}

    image = ImagesTask(dataset=Known(), image=(4, 4), fill=(0, 0, 0), numbers=(1, 2, 5))
    run(
        ShardFolder(tmp_path / "shards"), tasks=[TASKS[0], image], logs=tmp_path,
        work=lambda task, shared: encode_shard(task.record(), {}, {}),
    )  # fmt: skip
    said = capsys.readouterr().err
    assert f"ascent: {TASKS[0].count}/{TASKS[0].count} pictures, " in said
    assert "images: 3/3 images, " in said and " images/s, " in said
    record = json.loads((tmp_path / STATUS).read_text())
    assert record["methods"]["images"]["total"] == 1
