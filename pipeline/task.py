"""Tasks: the smallest pieces of work that are stored and resumed, each with everything that decides its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.costs import PASSES_PER_STEP
from pipeline.records import Record, record_digest
from pipeline.settings import DeviceSettings

DEFLATED_SHARE = 0.5  # size of synthesized pictures after deflate, as a share of the raw pixels


class Task(ABC):
    """A piece of work with everything that decides its result. Tasks with equal ids have equal results.

    method : name of the method in reports and records.
    noun : what `count` counts.
    given_back : whether an atlas gives the result back, so that its shard is removed once it is merged.
    seconds : estimated time on its share of the device.
    needs_device : whether it computes on the run's device; without, any CPU will do.
    shown_first : whether it starts before all others: the first pages are worth a look with its result.
    """

    method: str
    seconds: float
    noun = "pictures"
    given_back = False
    needs_device = True
    shown_first = False

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of pictures (or of whatever `noun` names) that the task yields."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The task in a few words."""

    @abstractmethod
    def record(self) -> Record:
        """Everything that decides the result, as plain JSON values. Its keys never change."""

    @cached_property
    def id(self) -> str:
        return record_digest(self.record())

    def flaw(self, facts: Mapping[str, object]) -> str | None:
        """Why a stored result with these facts has to be computed again; None if it can be used."""
        return None


@dataclass(frozen=True)
class Sizes:
    """How items are cut into tasks and micro-batches.

    batch : maximum number of items in a micro-batch.
    block : maximum number of items in a task.
    """

    batch: int
    block: int

    @classmethod
    def of(cls, device: DeviceSettings, item_macs: int, item_bytes: float, precision: str = "float32") -> Sizes:
        """Sizes by static costs: as many items as fit in memory, rounded down to a power of two, a multiple of tiles.

        The items of a micro-batch share each read of the weights, and give the products of small maps enough rows. So
        a step of an item is the faster the larger the micro-batch is, up to about 16 in float32 and 32 in bfloat16, and
        larger ones cost nothing but memory and the repeats of a request for few units (docs/benchmarks/climbing.md).

        item_macs : multiply-accumulates of one item.
        item_bytes : bytes of its maps in one forward pass, in float32.
        precision : of the pass; maps in "bf16" take half the bytes.
        """
        share = 0.5 if precision == "bf16" else 1.0
        fitting = max(1, int(device.batch_bytes / (PASSES_PER_STEP * item_bytes * share)))
        batch = min(device.max_batch, 1 << fitting.bit_length() - 1)
        batches = max(1, int(device.task_seconds * device.macs_per_second / (item_macs * batch)))
        return cls(batch, batch * batches)

    def batch_of(self, items: int) -> int:
        """The shape of every micro-batch of a layer, or set, of this many items, however few of them a task has.

        The last bits of a picture depend on this shape. So it must not depend on what else was asked for, or a unit
        that is added later would differ from the same unit asked for at once. A task with fewer items is padded.
        """
        return min(self.batch, items)


def packed(asked: Mapping[int, Sequence[int]], block: int, batch: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The (numbers, samples) of each task: a block of numbers in one sample, or, of a few numbers, in several.

    Every micro-batch of a layer has one shape (`Sizes.batch_of`), so a task of few items would consist of repeats for
    the most part. It takes as many samples as fit into one micro-batch, on a fixed grid.

    asked : sample → ascending numbers of units or items.
    """
    samples: dict[tuple[int, ...], list[int]] = {}
    for sample in sorted(asked):
        for numbers in blocks(asked[sample], block):
            samples.setdefault(numbers, []).append(sample)
    return [
        (numbers, some) for numbers, every in samples.items() for some in blocks(every, max(1, batch // len(numbers)))
    ]


def sample_words(samples: Sequence[int]) -> str:
    """The samples of a task in words."""
    return f"sample {samples[0]}" if len(samples) == 1 else f"samples {samples[0]}-{samples[-1]}"


def sample_record(samples: Sequence[int]) -> int | list[int]:
    """The samples of a task in its record: the number of a single one, as before there could be several."""
    return samples[0] if len(samples) == 1 else list(samples)


def blocks(numbers: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Ascending numbers, cut at the multiples of `size`; empty blocks are left out."""
    cut: dict[int, list[int]] = {}
    for number in numbers:
        cut.setdefault(number // size, []).append(number)
    return [tuple(cut[block]) for block in sorted(cut)]
