"""The tasks of the machine interpretability score: one layer's units, with one network that compares pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.methods.interpretability.settings import INTERPRETABILITY_REVISION, InterpretabilityRecord
from pipeline.methods.method import Method
from pipeline.plan import Plan
from pipeline.records import Record
from pipeline.task import Task
from pipeline.work import Work


@dataclass(frozen=True)
class InterpretabilityTask(Task):
    """The scores of a layer's units for all kinds of pictures. The job itself computes it, as it has opened the judge.

    model : digest of the atlas's network.
    """

    model: str
    asked: InterpretabilityRecord

    method, noun = "interpretability", "units"
    given_back = True
    seconds = 0.01

    @property
    def count(self) -> int:
        return len(self.asked.units)

    @property
    def words(self) -> str:
        return f"{self.asked.layer}, by {self.asked.judge}"

    def record(self) -> Record:
        about = {"method": self.method, "revision": INTERPRETABILITY_REVISION, "model": self.model}
        return about | self.asked.record()


class Interpretability(Method):
    """How well pictures tell a unit's most from its least exciting images; `make interpretability` requests it."""

    name, setting, requested, stated = "interpretability", InterpretabilityRecord, False, False
    after = ()

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        work.stage(self.name, interpretability_tasks(work.plan))
        yield ()


INTERPRETABILITY = Interpretability()


def interpretability_tasks(plan: Plan) -> tuple[InterpretabilityTask, ...]:
    """All scores of a plan, layer by layer, in the order in which they are stored."""
    rank = {layer.name: place for place, layer in enumerate(plan.card.layers)}
    asked = sorted(plan.of(INTERPRETABILITY.name).values(), key=lambda one: (rank[one.layer], one.judge))
    return tuple(InterpretabilityTask(plan.card.digest, one) for one in asked)
