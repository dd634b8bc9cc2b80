"""Compute the tasks of an atlas on one cluster, and report what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from jobs.cluster import Cluster
from jobs.driver import Batch, Driver, ExecutionReport
from jobs.ledger import Ledger
from pipeline.methods.method import Method
from pipeline.methods.registry import METHODS
from pipeline.task import Task
from pipeline.work import Work


@dataclass
class Execution:
    """Computes the tasks of a plan on one cluster, as one stream: methods that do not wait for each other overlap.

    tick : called after each outcome.
    retry_failed : whether to try tasks again that failed by their own fault.
    expected : estimated seconds of all tasks, for the time that is left while later stages are not cut yet.
    """

    work: Work
    cluster: Callable[[], Cluster]
    tick: Callable[[], None] = lambda: None
    retry_failed: bool = False
    expected: float = 0.0
    report: ExecutionReport = field(default_factory=ExecutionReport)

    def compute_all(self, only: Method | None = None, tick: Callable[[], None] | None = None) -> None:
        """Compute every task of the plan that has no shard.

        A method begins when those that it comes after are complete, and its next stage when its last one is. The tasks
        of methods that come first in the registry start first.

        only : a method; the tasks of methods in other folders are cut for the merge, but not computed.
        tick : called after each outcome, in place of `self.tick`.
        """
        driver = self._driver(self.tick if tick is None else tick)
        flows = [_Flow(order, method, method.stages(self.work)) for order, method in enumerate(METHODS)]

        def advance() -> None:
            """Request the next stages, until each method waits for a task, for another method, or is complete."""
            moved = True
            while moved:
                moved = False
                for flow in flows:
                    if flow.complete or flow.busy or flow.waits_for(flows):
                        continue
                    moved = True
                    tasks = next(flow.stages, None)
                    if tasks is None:
                        flow.complete = True
                    elif only is None or type(flow.method).__module__ == type(only).__module__:
                        flow.batch = driver.add(tasks, flow.order, partial(flow.method.stored, self.work))
            if all(flow.complete for flow in flows):
                driver.ledger.expected = 0.0

        self._drive(driver, advance)

    def compute(self, tasks: Sequence[Task]) -> None:
        """Compute the tasks that have no shard."""
        driver = self._driver(self.tick)
        self._drive(driver, lambda: driver.add(tasks), settled=lambda batch: None)

    def _driver(self, tick: Callable[[], None]) -> Driver:
        from pipeline.compute import compute

        resources = self.work.resources
        return Driver(
            shards=self.work.shards,
            cluster=self.cluster,
            work=compute,
            shared=resources,
            key=resources.key,
            ledger=Ledger(self.work.shards.folder.parent / "log", expected=self.expected),
            problems=self.work.problems,
            retry_failed=self.retry_failed,
            tick=tick,
            report=self.report,
        )

    @staticmethod
    def _drive(driver: Driver, advance: Callable[[], object], settled: Callable[[Batch], None] | None = None) -> None:
        """Add the first tasks and run; `advance` adds more whenever a batch is settled."""
        state = "failed"
        try:
            advance()
            driver.run((lambda batch: advance()) if settled is None else settled)
            state = "done"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            driver.ledger.close(state)


@dataclass(eq=False)
class _Flow:
    """The stages of a method on their way.

    order : place of the method in the registry.
    batch : the tasks of its last stage.
    """

    order: int
    method: Method
    stages: Iterator[Sequence[Task]]
    batch: Batch = field(default_factory=Batch)
    complete: bool = False

    def waits_for(self, flows: Sequence[_Flow]) -> bool:
        """Whether a method whose results its stages read is not complete."""
        after = self.method.after
        return any(
            not other.complete and (other.order < self.order if after is None else other.method.name in after)
            for other in flows
        )

    @property
    def busy(self) -> bool:
        """Whether tasks of its last stage have no outcome yet."""
        return self.batch.left > 0
