"""The state of a merge, which all writers share, and the interface of a method's writer."""

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

    file : the new atlas.
    work : the work whose shards are merged.
    groups : layer → name of its group.
    packages : versions that computed the content of the file, as "name version".
    advance : called with the number of tasks just merged.
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
        """(shard, None) of a task; (None, reason) if it failed; (None, None) if it is missing."""
        self.advance(1)
        shard = self.work.shard(task)
        if shard is None:
            return None, self.work.shards.reason(task.id)
        self.packages.update(shard.facts.get("packages", ()))
        return shard, None


class Writer:
    """Writes the results of one method. WRITERS in a method's `store` module maps its names to their writers."""

    def __init__(self, merge: Merge) -> None:
        self.merge = merge

    def write_layer(self, layer: LayerCard, group: str) -> list[np.ndarray]:
        """Write the results in a layer; return the statuses (unit, sample) that decide the status of its units."""
        return []

    def write_rest(self) -> None:
        """Write, after all layers, what belongs to no single layer."""
