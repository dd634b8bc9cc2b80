"""Compute the tasks of an atlas on one cluster, and report what happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jobs import driver
from jobs.cluster import Cluster
from jobs.progress import Bars
from pipeline.methods.method import Method
from pipeline.methods.registry import METHODS
from pipeline.task import Task
from pipeline.work import Work


@dataclass
class Execution:
    """Computes the tasks of a plan, stage by stage, on one cluster.

    tick : called after each outcome of a task.
    """

    work: Work
    cluster: Callable[[], Cluster]
    tick: Callable[[], None] = lambda: None
    report: driver.ExecutionReport = field(default_factory=driver.ExecutionReport)

    def compute_all(self, only: Method | None = None) -> None:
        """Compute every task of the plan that has no shard.

        only : a method; the tasks of methods in other folders are cut for the merge, but not computed.
        """
        for method in METHODS:
            chosen = only is None or type(method).__module__ == type(only).__module__
            for tasks in method.stages(self.work):
                if chosen:
                    self.compute(tasks)

    def compute(self, tasks: Sequence[Task]) -> None:
        """Compute the tasks that have no shard."""
        from pipeline.compute import compute

        if not tasks:
            return
        resources = self.work.resources
        done = driver.run(
            tasks,
            self.work.shards,
            self.cluster,
            compute,
            resources,
            resources.key,
            Bars(),
            self.work.problems,
            self.tick,
        )
        self.report.add(done)
