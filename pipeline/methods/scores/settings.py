"""The record of a score: a judge and the class pictures that it judges."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plan import NamedSettings
from pipeline.records import number

SCORE_REVISION = 1  # raise it when the numbers that judging computes change


@dataclass(frozen=True)
class ScoreRecord(NamedSettings):
    """The request for a judge's verdicts on all pictures of one setting of a layer of classes.

    setting : name of the style or run.
    pictures : SHA-256 of the pixels.
    classes : of each unit, the number of its class in the judge, or −1.
    made_by : method that made the pictures.
    """

    judge: str
    judge_digest: str
    layer: str
    setting: str = number(spelling="style")
    pictures: str
    units: tuple[int, ...]
    classes: tuple[int, ...]
    made_by: str = number(absent="ascent")

    @property
    def question(self) -> tuple[str, str, str, str]:
        """The judge and the pictures; of several scores with the same question, the latest counts."""
        return self.judge, self.layer, self.made_by, self.setting

    @property
    def name(self) -> str:
        return "\n".join(self.question)
