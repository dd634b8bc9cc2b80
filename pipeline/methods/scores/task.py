"""The tasks of judging: one judge's verdicts on all pictures of one setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.methods.method import Method
from pipeline.methods.scores.settings import SCORE_REVISION, ScoreRecord
from pipeline.plan import Plan
from pipeline.records import Record
from pipeline.task import Task
from pipeline.work import Work


@dataclass(frozen=True)
class ScoreTask(Task):
    """A judge's verdicts on pictures of an atlas. The job itself computes it, because it has opened the judge."""

    asked: ScoreRecord

    method = "score"
    given_back = True
    seconds = 0.01

    @property
    def count(self) -> int:
        return len(self.asked.units)

    @property
    def words(self) -> str:
        return f"{self.asked.layer}, {self.asked.setting}, by {self.asked.judge}"

    def record(self) -> Record:
        return {"method": self.method, "revision": SCORE_REVISION} | self.asked.record()


class Scores(Method):
    """Judges' verdicts on the pictures; `make score` and `make sweep` request them for an existing atlas."""

    name, setting, requested, stated = "scores", ScoreRecord, False, False
    after = ()

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        work.stage(self.name, score_tasks(work.plan))
        yield ()


SCORES = Scores()


def score_tasks(plan: Plan) -> tuple[ScoreTask, ...]:
    """All scores of a plan, in the order in which they are stored."""
    asked = sorted(plan.of("scores").values(), key=lambda one: (one.layer, one.judge, one.made_by, one.setting))
    return tuple(ScoreTask(one) for one in asked)
