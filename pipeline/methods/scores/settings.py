"""What a judge is asked of pictures of the classes."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plan import Asked
from pipeline.records import number

SCORE_REVISION = 1  # raise it when the numbers that judging computes change


@dataclass(frozen=True)
class ScoreRecord(Asked):
    """What a judge is asked: its verdicts on all pictures of one setting of a layer of classes.

    setting : name of the style or run.
    pictures : SHA-256 of the pixels.
    classes : for every unit the judge's class that stands for it, or −1.
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
        """Who is asked about which pictures: each question has one answer, the latest."""
        return self.judge, self.layer, self.made_by, self.setting

    @property
    def name(self) -> str:
        return "\n".join(self.question)
