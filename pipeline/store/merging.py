"""The state of a merge, which all writers share, and the interface of a method's writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import h5py
import numpy as np

from pipeline.card import LayerCard
from pipeline.plan import Plan
from pipeline.store.held import HeldAtlas
from pipeline.store.parts import Parts
from pipeline.store.shard import Shard
from pipeline.task import Task
from pipeline.work import KnownImage, Work


@dataclass
class MergeReport:
    """Counts of a merge.

    pictures : number of requested pictures.
    missing, failed : how many of them are missing or failed.
    reasons : address → why its pictures failed.
    statuses : name of a status → number of pictures that have it.
    """

    pictures: int = 0
    missing: int = 0
    failed: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)


@dataclass
class Merge:
    """The state of one merge.

    file : the new atlas.h5, with the network and the units; all else is in parts.
    work : the work whose shards are merged.
    groups : layer → name of its group.
    packages : versions that computed the content of the file, as "name version".
    advance : called with the number of tasks just merged.
    held : what the atlas holds already.
    parts : the parts of the new atlas.
    merged : ids of the tasks whose shards are in the new atlas.
    """

    file: h5py.File
    work: Work
    groups: Mapping[str, str]
    report: MergeReport
    packages: set[str]
    advance: Callable[[int], None]
    held: HeldAtlas
    parts: Parts
    merged: list[str] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        return self.work.plan

    @cached_property
    def present(self) -> frozenset[str]:
        """Ids of the tasks that have a shard."""
        return self.work.shards.present()

    @cached_property
    def failed(self) -> frozenset[str]:
        """Ids of the tasks that have a record of their failure, and no shard."""
        return self.work.shards.failed() - self.present

    @cached_property
    def images(self) -> dict[int, KnownImage]:
        """Number → image, for all images that results refer to; as long as some are not known yet, also those held."""
        complete = "memorisation" in self.work.results
        return self.work.images if complete else {**self.held.images, **self.work.images}

    def news(self, tasks: Iterable[Task]) -> list[Task]:
        """The tasks with a result that is not in the atlas yet."""
        return [task for task in tasks if task.id in self.present]

    def failures(self, tasks: Iterable[Task]) -> dict[Task, str]:
        """Task → reason, for those that have no result because they failed."""
        reasons = {task: self.work.shards.reason(task.id) for task in tasks if task.id in self.failed}
        return {task: reason for task, reason in reasons.items() if reason is not None}

    def shard(self, task: Task) -> tuple[Shard | None, str | None]:
        """(shard, None) of a task; (None, reason) if it failed; (None, None) if it is missing."""
        self.advance(1)
        shard = self.work.shard(task)
        if shard is None:
            return None, self.work.shards.reason(task.id)
        self.packages.update(shard.facts.get("packages", ()))
        if task.given_back:
            self.merged.append(task.id)
        return shard, None

    def keep(self, root: str, group: h5py.Group) -> None:
        """Take over a group of the old atlas unchanged, with everything below it.

        root : its path in the new atlas.
        """
        self.parts.keep(root, group)


class Writer:
    """Writes the results of one method. WRITERS in a method's `store` module maps its names to their writers."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        """Write the results in a layer; return the statuses (unit, sample) that decide the status of its units."""
        return []

    def write_rest(self) -> None:
        """Write, after all layers, what belongs to no single layer."""
