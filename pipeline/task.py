"""Tasks: the smallest pieces that are stored and resumed, each with everything that decides its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.records import Record, record_digest
from pipeline.settings import DeviceSettings

PASSES_PER_STEP = 3  # a step of ascent is a forward pass and about two more for the gradient


class Task(ABC):
    """A piece of work with everything that decides its result; equal ids have equal results.

    method : what computes it, as reports and records say.
    noun : what `count` counts, in words.
    """

    method: str
    noun = "pictures"

    @property
    @abstractmethod
    def count(self) -> int:
        """How many pictures (or images, or …) the task yields."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Estimated time on its share of the device."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The task in a few words."""

    @abstractmethod
    def record(self) -> Record:
        """Everything that decides the result, as plain JSON values. Its keys keep their spelling for good."""

    @property
    def id(self) -> str:
        return record_digest(self.record())


@dataclass(frozen=True)
class Sizes:
    """How items are cut. batch : items of a micro-batch at most. block : items of a task at most."""

    batch: int
    block: int

    @classmethod
    def of(cls, device: DeviceSettings, item_macs: int, item_bytes: int) -> Sizes:
        """Sizes by static costs: multiply-accumulates of one item, and bytes of its maps in one forward pass."""
        batch = max(1, min(device.max_batch, device.batch_bytes // (PASSES_PER_STEP * item_bytes)))
        batches = max(1, int(device.task_seconds * device.macs_per_second / (item_macs * batch)))
        return cls(batch, batch * batches)

    def batch_of(self, items: int) -> int:
        """The micro-batch for so many items: rounds of equal size, so that hardly an item is padding."""
        rounds = -(-items // self.batch)
        return -(-items // rounds)


def blocks(numbers: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Rising numbers, cut where a grid of `size` cuts; empty blocks left out."""
    cut: dict[int, list[int]] = {}
    for number in numbers:
        cut.setdefault(number // size, []).append(number)
    return [tuple(cut[block]) for block in sorted(cut)]
