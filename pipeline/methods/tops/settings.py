"""Settings of the dataset side: what is kept for every unit, and the record of everything that decides it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.dataset_settings import DatasetRecord
from pipeline.plan import NamedSettings
from pipeline.records import number
from pipeline.settings import DeviceSettings, check, check_choice

REDUNDANT = 0.98  # |correlation| above which two units count as redundant
FEWEST_POSITIONS = 64  # images whose positions are counted at least
RULES = ("deconvnet", "gradient", "guided")


@dataclass(frozen=True)
class TopsSettings:
    """What is kept of a dataset for every unit.

    k, smallest, own_class, quantiles, positions : see `pipeline.methods.tops.mine.MineSettings`.
    sample : maximum number of images from which quantiles and correlations are computed.
    position_share : share of the images from whose maps the statistics of all positions are computed; see
        `position_images`.
    rules : back-projections of the best images, some of "deconvnet", "gradient", "guided".
    whole_image_rules : the same for layers whose window is (nearly) the whole image.
    lrn : "derivative", or "ignore" to pass deconvnet's signal through normalization unchanged.
    pixels : "stored", or "pointers" to keep only keys and windows.
    batch : images of one forward pass.
    """

    k: int
    smallest: bool
    own_class: bool
    quantiles: bool
    positions: bool
    sample: int
    rules: tuple[str, ...]
    whole_image_rules: tuple[str, ...]
    lrn: str
    pixels: str
    batch: int
    position_share: float = number(absent=1.0)

    def __post_init__(self) -> None:
        check("tops.k", self.k, "1 or more", self.k >= 1)
        check("tops.sample", self.sample, "2 or more", self.sample >= 2)
        check("tops.position_share", self.position_share, "(0, 1]", 0 < self.position_share <= 1)
        check("tops.batch", self.batch, "1 or more", self.batch >= 1)
        for rule in (*self.rules, *self.whole_image_rules):
            check_choice("tops.rules", rule, RULES)
        check_choice("tops.lrn", self.lrn, ("derivative", "ignore"))
        check_choice("tops.pixels", self.pixels, ("stored", "pointers"))

    def mined(self) -> dict[str, object]:
        """The fields that decide the pass over the dataset."""
        names = ("k", "smallest", "own_class", "quantiles", "positions", "sample")
        share = {} if self.position_share == 1 else {"position_share": self.position_share}  # as in records of before
        return {name: getattr(self, name) for name in names} | share

    def position_images(self, images: int) -> int:
        """How many of a dataset's images have their positions counted: their share, within limits unless it is 1."""
        if self.position_share == 1:
            return images
        return min(images, max(FEWEST_POSITIONS, min(self.sample, math.ceil(self.position_share * images))))


@dataclass(frozen=True)
class MiningRecord(NamedSettings):
    """Everything that decides the dataset side of an atlas; an atlas has one."""

    dataset: DatasetRecord
    tops: TopsSettings = number(spelling="top")
    device: DeviceSettings

    name = "dataset"

    def clash(self, changes: list[str], swept: bool) -> str:
        spoken = [change for change in changes if not change.startswith("dataset.digest")] or ["other images"]
        return (
            f"dataset {self.dataset.name}: the atlas has been mined with other settings or another dataset "
            f"({'; '.join(spoken)}), and results of the two do not mix; use the same ones, or choose another folder by "
            f"OUT=…"
        )
