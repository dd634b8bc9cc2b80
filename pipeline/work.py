"""The work of a plan: its tasks, cut once and shared by the driver, the progress bar and the merge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.plan import Plan
from pipeline.store.shard import Shard, ShardFolder
from pipeline.task import Task

if TYPE_CHECKING:
    from pipeline.resources import Resources


@dataclass(frozen=True)
class KnownImage:
    """What an atlas stores of an image of the dataset, apart from its pixels.

    hash : SHA-256 of its file.
    label : class number, −1 for none.
    """

    key: str
    hash: bytes
    label: int


@dataclass
class Work:
    """The tasks and results of a plan, as far as methods share them.

    atlas : the file that the shards are merged into.
    left : the plan without what that file held when the work began; its tasks are those to compute.
    resources : what tasks read; None if only stored results are used.
    tasks : method → its tasks so far, in order.
    results : method → the result that it assembled from its shards.
    arriving : method → what takes in its results while others are computed.
    images : number → image of the dataset, for all images that results refer to.
    problems : a line for each shard that was set aside.
    notes : further lines for the user.
    left_out : images of the dataset that could not be read, with reasons.
    """

    plan: Plan
    shards: ShardFolder
    atlas: Path
    left: Plan
    resources: Resources | None = None
    tasks: dict[str, list[Task]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    arriving: dict[str, Any] = field(default_factory=dict)
    images: dict[int, KnownImage] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def stage(self, method: str, tasks: Iterable[Task]) -> Sequence[Task]:
        """Add a method's next tasks, and return them."""
        kept = list(tasks)
        self.tasks.setdefault(method, []).extend(kept)
        return kept

    def with_images(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks; none if this run has not opened the images that they read."""
        return tasks if self.resources is None or self.resources.source is not None else ()

    def shard(self, task: Task) -> Shard | None:
        """A task's shard; a damaged one is set aside."""
        return self.shards.take(task.id, task.record(), self.problems)

    def asking(self, plan: Plan) -> Work:
        """The same tasks and results with a later plan, whose additions need no tasks."""
        return replace(self, plan=plan)
