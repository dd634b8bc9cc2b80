"""What the writers of an atlas share while it is merged, and what a method's writer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h5py
import numpy as np

from pipeline.card import LayerCard
from pipeline.plan import Plan
from pipeline.store.shard import Shard
from pipeline.task import Task
from pipeline.work import Work


@dataclass
class MergeReport:
    """What a merge did.

    pictures : how many were asked for; missing, failed : how many of them are not there.
    reasons : address → why its pictures failed.
    statuses : name of a status → how many pictures have it.
    """

    pictures: int = 0
    missing: int = 0
    failed: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)


@dataclass
class Merge:
    """One merge: the file, the work whose shards it takes, and what is known so far.

    groups : layer → name of its group.
    packages : versions that computed what is in the file, as "name version".
    advance : called with the number of tasks just taken.
    """

    file: h5py.File
    work: Work
    groups: Mapping[str, str]
    report: MergeReport
    packages: set[str]
    advance: Callable[[int], None]

    @property
    def plan(self) -> Plan:
        return self.work.plan

    def shard(self, task: Task) -> tuple[Shard | None, str | None]:
        """A task's shard, or None and, if it failed, the reason."""
        self.advance(1)
        shard = self.work.shard(task)
        if shard is None:
            return None, self.work.shards.reason(task.id)
        self.packages.update(shard.facts.get("packages", ()))
        return shard, None


class Writer:
    """Writes what one method has found. A method's `store` module offers one for each of its names in WRITERS."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        """Write a layer's share; return statuses (unit, sample) that count for the status of its units."""
        return []

    def write_rest(self) -> None:
        """Write what belongs to no single layer, after all layers."""
