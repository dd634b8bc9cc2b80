"""The tasks of learned priors: searches of codes, and what an atlas says of a prior."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.records import Record
from pipeline.search_records import Members, PriorCard, SearchRecord
from pipeline.tasks import Task

DGN_REVISION = 1  # raise it when the numbers that DGN-AM computes change
PRIOR_REVISION = 1


@dataclass(frozen=True)
class DgnTask(Task):
    """One sample of a block of items of one layer in one search: the smallest piece that is stored and resumed.

    items : units with weights, a single one or several that are excited together, with the penalty `balance`.
    batch : items of a micro-batch; all have this shape.
    """

    model: str  # digest
    layer: str
    items: tuple[Members, ...]
    sample: int
    search: SearchRecord
    balance: float
    batch: int
    macs: int  # of the whole task

    method = "dgn"

    @property
    def pictures(self) -> int:
        return len(self.items)

    @property
    def seconds(self) -> float:
        """What the task is taken to cost on its share of the device."""
        return self.macs / self.search.device.macs_per_second

    @property
    def words(self) -> str:
        return f"{self.layer}, {self.search.name}, sample {self.sample}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": DGN_REVISION,
            "model": self.model,
            "layer": self.layer,
            "items": [[list(member) for member in members] for members in self.items],
            "sample": self.sample,
            "search": self.search.record(),
            "balance": self.balance,
            "batch": self.batch,
        }


@dataclass(frozen=True)
class PriorTask(Task):
    """What an atlas says of a prior, with the statistics of its codes."""

    prior: PriorCard

    method, noun = "priors", "priors"
    pictures = 1
    seconds = 0.01

    @property
    def words(self) -> str:
        return self.prior.name

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": PRIOR_REVISION,
            "name": self.prior.name,
            "digest": self.prior.digest,
        }
