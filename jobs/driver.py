"""Drive tasks to their shards: skip stored ones, send the others to a cluster, store results, record failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jobs.cluster import Cluster, Done
from pipeline.store.shard import ShardFolder
from pipeline.task import Task

log = logging.getLogger("atlas")


class Progress(Protocol):
    """Receives the progress of a method's tasks."""

    def start(self, method: str, total: Sequence[Task], done: Sequence[Task]) -> None: ...

    def advance(self, task: Task) -> None: ...

    def close(self) -> None: ...


@dataclass
class ExecutionReport:
    """What a run did.

    kept : number of tasks whose shards were stored before.
    computed : number of tasks computed now.
    failed : description of a task → reason.
    """

    kept: int = 0
    computed: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: ExecutionReport) -> None:
        """Add the report of another part of the same run."""
        self.kept += other.kept
        self.computed += other.computed
        self.failed.update(other.failed)


def run(
    tasks: Sequence[Task],
    shards: ShardFolder,
    cluster: Callable[[], Cluster],
    work: Callable[[Task, object], bytes],
    shared: object,
    key: str,
    progress: Progress,
    problems: list[str],
) -> ExecutionReport:
    """Compute every task that has no shard, and store the results in the order of their arrival.

    cluster : returns the cluster; called only if a task has to be computed.
    work : called as work(task, shared) in a worker.
    shared, key : see `Cluster.run`.
    problems : a line for every shard that was set aside is added.
    The failure of a task is recorded in place of its shard; the other tasks continue.
    """
    report = ExecutionReport()
    open_tasks, done = [], []
    for task in tasks:
        (done if _is_done(task, shards, problems) else open_tasks).append(task)
    report.kept = len(done)
    if not open_tasks:
        return report
    opened = cluster()
    progress.start(tasks[0].method, tasks, done)
    try:
        started = time.monotonic()
        for task, outcome in opened.run(work, shared, key, open_tasks):
            if isinstance(outcome, Done):
                shards.write(task.id, outcome.data)
                report.computed += 1
                log.info("task %s done, %d bytes, %.1f s since start", task.id, len(outcome.data),
                         time.monotonic() - started)  # fmt: skip
            else:
                shards.write_reason(task.id, outcome.reason)
                report.failed[f"{task.method} of {task.words}"] = outcome.reason
                log.error("task %s failed: %s\n%s", task.id, outcome.reason, outcome.detail)
            progress.advance(task)
    finally:
        progress.close()
    return report


def _is_done(task: Task, shards: ShardFolder, problems: list[str]) -> bool:
    before = len(problems)
    shard = shards.take(task.id, task.record(), problems)
    flaw = None if shard is None else task.flaw(shard.facts)
    if flaw is not None:
        aside = shards.set_aside(task.id).name
        problems.append(f"shard {aside}: records a fault of a machine ({flaw}); it will be computed again")
        shard = None
    for problem in problems[before:]:
        log.warning("%s", problem)
    return shard is not None
