"""One run of an atlas: its shards, its cluster, what its tasks share, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jobs import driver
from jobs.cluster import Cluster
from jobs.progress import Bars
from pipeline.store.shard import ShardFolder


@dataclass
class Run:
    """Computes tasks, part after part, on one cluster. resources : a pipeline.compute.Resources."""

    shards: ShardFolder
    cluster: Callable[[], Cluster]
    resources: object
    report: driver.RunReport = field(default_factory=driver.RunReport)

    def compute(self, tasks: Sequence[driver.Task]) -> None:
        """Compute those whose shards are not there."""
        from pipeline.compute import compute

        key = self.resources.key  # type: ignore[attr-defined]
        done = driver.run(tasks, self.shards, self.cluster, compute, self.resources, key, Bars())
        self.report.add(done)
