"""Drive tasks to their shards: skip stored ones, send the others to a cluster, store results, record failures."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jobs.cluster import Cluster
from jobs.dispatch import Event, TaskQueue
from jobs.ledger import Ledger
from jobs.outcome import Compute, Done
from jobs.progress import Bars
from pipeline.store.shard import ShardFolder
from pipeline.task import Task

log = logging.getLogger("atlas")
_SHOWN = 10  # failures that are printed


@dataclass
class ExecutionReport:
    """What a run did.

    kept : number of tasks whose shards were stored before.
    computed : number of tasks computed now.
    failed : description of a task that failed now → reason.
    certain : those of them that failed by their own fault, and would fail again.
    failed_before : the same for tasks that failed by their own fault in an earlier run, and were not tried.
    """

    kept: int = 0
    computed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    certain: dict[str, str] = field(default_factory=dict)
    failed_before: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What failed, in a few lines for people, and what the next run does about it."""
        shown = {**self.failed, **self.failed_before}
        lines = [f"failed: {words}: {reason}" for words, reason in list(shown.items())[:_SHOWN]]
        if len(shown) > _SHOWN:
            lines.append(f"failed: {len(shown) - _SHOWN} more, see the log")
        sure = {**self.certain, **self.failed_before}
        if sure:
            (reason, count), *_ = Counter(sure.values()).most_common(1)
            of_all = "" if count == len(sure) else f" ({count} of them)"
            before = f", {len(self.failed_before)} of them in earlier runs" if self.failed_before else ""
            lines.append(
                f"{len(sure)} tasks failed by their own fault{before}, and would fail again: {reason}{of_all}; "
                f"retry_failed=true tries them all the same"
            )
        if len(self.failed) > len(self.certain):
            lines.append(
                f"{len(self.failed) - len(self.certain)} tasks failed by faults of machines; the same command tries "
                f"them again"
            )
        return lines


@dataclass(eq=False)
class Batch:
    """Tasks that were added together.

    left : how many of them have no outcome yet.
    stored : called after each of their results was stored.
    """

    left: int = 0
    stored: Callable[[], None] = lambda: None


@dataclass
class Driver:
    """Drives tasks, which may be added while others run, to their shards.

    cluster : returns the cluster; called only if a task has to be computed.
    work : called as work(task, shared) in a worker.
    shared, key : see `Cluster.run`.
    problems : a line for every shard that was set aside is added.
    retry_failed : whether to try tasks that failed by their own fault before.
    tick : called after each outcome.
    The failure of a task is recorded in place of its shard; the other tasks continue.
    """

    shards: ShardFolder
    cluster: Callable[[], Cluster]
    work: Compute
    shared: object
    key: str
    ledger: Ledger
    problems: list[str]
    retry_failed: bool = False
    tick: Callable[[], None] = lambda: None
    report: ExecutionReport = field(default_factory=ExecutionReport)

    def __post_init__(self) -> None:
        self._queue = TaskQueue()
        self._batches: dict[int, Batch] = {}  # task → its batch
        self._bars = Bars(self.ledger)

    def add(self, tasks: Sequence[Task], order: int = 0, stored: Callable[[], None] = lambda: None) -> Batch:
        """Add tasks; those that are stored, or would fail again, are settled at once.

        order : tasks of a lower order start first.
        stored : called after each result that is stored.
        """
        waiting, kept, failed = [], [], []
        for task in tasks:
            if self._is_stored(task):
                kept.append(task)
            elif (reason := self._would_fail_again(task)) is not None:
                failed.append(task)
                self.report.failed_before[_words(task)] = reason
            else:
                waiting.append(task)
        self.report.kept += len(kept)
        self.ledger.add(waiting, stored=kept, failed_before=failed)
        batch = Batch(len(waiting), stored)
        self._batches |= {id(task): batch for task in waiting}
        self._queue.add(waiting, order)
        return batch

    def run(self, settled: Callable[[Batch], None] = lambda batch: None) -> None:
        """Compute all tasks that were added. settled : called when the last task of a batch has its outcome.

        Raises EnvironmentFault if no machine is left that works, OutputError if a result cannot be stored.
        """
        if not len(self._queue):
            return
        outcomes = self.cluster().run(self.work, self.shared, self.key, self._queue, self._note)
        try:
            for task, outcome in outcomes:
                batch = self._batches.pop(id(task))
                if isinstance(outcome, Done):
                    self.shards.write(task.id, outcome.data)
                    self.report.computed += 1
                    batch.stored()
                else:
                    self.shards.write_reason(task.id, outcome.reason, certain=not outcome.environment)
                    self.report.failed[_words(task)] = outcome.reason
                    if not outcome.environment:
                        self.report.certain[_words(task)] = outcome.reason
                self.ledger.settled(task, outcome)
                batch.left -= 1
                if not batch.left:
                    settled(batch)
                self._bars.show(task.method)
                self.tick()
        finally:
            outcomes.close()  # cancels what is in flight
            self._bars.close()

    def _note(self, event: Event) -> None:
        self.ledger.note(event)
        if event.name == "started":
            self._bars.begin(event.facts["task"].method)
        elif event.name == "tick":
            self._bars.wait()
        if event.name == "left_out":
            facts = event.facts
            self._bars.say(
                f"{facts['node']} is left out, because {facts['tasks']} tasks in a row failed there: {facts['reason']}"
            )

    def _is_stored(self, task: Task) -> bool:
        before = len(self.problems)
        shard = self.shards.take(task.id, task.record(), self.problems)
        flaw = None if shard is None else task.flaw(shard.facts)
        if flaw is not None:
            aside = self.shards.set_aside(task.id).name
            self.problems.append(f"shard {aside}: records a fault of a machine ({flaw}); it will be computed again")
            shard = None
        for problem in self.problems[before:]:
            log.warning("%s", problem)
        return shard is not None

    def _would_fail_again(self, task: Task) -> str | None:
        """The reason for which a task failed before, if that is its own fault."""
        failure = None if self.retry_failed else self.shards.failure(task.id)
        return failure.reason if failure is not None and failure.certain else None


def _words(task: Task) -> str:
    return f"{task.method} of {task.words}"
