"""One run over a plan: its tasks, cut once and handed to whatever computes, counts and merges them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.plan import Plan
from pipeline.store.shard import Shard, ShardFolder
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.resources import Resources


@dataclass(frozen=True)
class KnownImage:
    """What an atlas says of an image of the dataset.

    hash : SHA-256 of its file.
    label : class number, −1 for none.
    """

    key: str
    hash: bytes
    label: int


@dataclass
class Work:
    """What methods know of one another's share of a run.

    resources : what tasks read; None where nothing is computed and only stored results count.
    tasks : method → its tasks so far, in their order.
    results : method → what it has put together from its shards.
    images : number → every image of the dataset to which results refer.
    problems : a line for every shard that was set aside.
    notes : a line for everything else that a person should read.
    left_out : images of the dataset that could not be read, with reasons.
    """

    plan: Plan
    shards: ShardFolder
    resources: Resources | None = None
    tasks: dict[str, list[Task]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    images: dict[int, KnownImage] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def stage(self, method: str, tasks: Iterable[Task]) -> Sequence[Task]:
        """Keep a method's next tasks, and return them."""
        kept = list(tasks)
        self.tasks.setdefault(method, []).extend(kept)
        return kept

    def with_images(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks, or none where this run has not opened the images that they read."""
        return tasks if self.resources is None or self.resources.source is not None else ()

    def shard(self, task: Task) -> Shard | None:
        """A task's shard; a damaged one is set aside."""
        return self.shards.take(task.id, task.record(), self.problems)

    def asking(self, plan: Plan) -> Work:
        """The same tasks and results under a plan that asks for more of what needs no tasks."""
        return replace(self, plan=plan)
