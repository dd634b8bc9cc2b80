"""How the machine interpretability score of a layer's units is computed."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.plan import NamedSettings
from pipeline.settings import DeviceSettings, check

INTERPRETABILITY_REVISION = 2  # raise it when the scores change


@dataclass(frozen=True)
class TrialSettings:
    """The trials of a unit.

    images : maximum number of images, chosen by hash, among which its most and least exciting ones are found.
    trials : trials of a unit; fewer where there are too few images.
    shown : pictures on each side of a trial.
    temperature : difference of similarities that counts as a unit of log-odds.
    seed : of the draw of the trials and of noise.
    """

    images: int
    trials: int
    shown: int
    temperature: float
    seed: int

    def __post_init__(self) -> None:
        check("interpretability.images", self.images, "4 or more", self.images >= 4)
        for name in ("trials", "shown"):
            check(f"interpretability.{name}", getattr(self, name), "1 or more", getattr(self, name) >= 1)
        check("interpretability.temperature", self.temperature, "more than 0", self.temperature > 0)
        check("interpretability.seed", self.seed, "0 or more", self.seed >= 0)


@dataclass(frozen=True)
class InterpretabilityRecord(NamedSettings):
    """The request for the scores of a layer's units with one network that compares pictures.

    judge : its name.
    embedding : its layer whose values are compared.
    pictures : (path in the layer, digest) of each kind of stored pictures, sorted.
    dataset : digest of the images.
    """

    judge: str
    judge_digest: str
    embedding: str
    layer: str
    units: tuple[int, ...]
    pictures: tuple[tuple[str, str], ...]
    dataset: str
    device: DeviceSettings
    settings: TrialSettings

    @property
    def name(self) -> str:
        """The layer and the judge; of several requests for both, the latest counts."""
        return f"{self.layer}\n{self.judge}"
