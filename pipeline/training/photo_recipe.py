"""What decides the weights of a classifier of photos, and what was measured of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SettingsError, WeightsError, nearest
from pipeline.training.weights_file import read_about

PHOTO_NETWORKS = ("tinynet", "tinyjudge")


@dataclass(frozen=True)
class PhotoSettings:
    """Everything that, with the photos, decides the weights on one kind of machine."""

    network: str  # one of PHOTO_NETWORKS
    seed: int  # of first weights, order, views
    epochs: int
    batch: int
    rate: float  # at its highest: after the first tenth of the steps; it then falls linearly to zero
    momentum: float
    weight_decay: float  # of weights, not of biases and normalisations
    label_smoothing: float
    least_area: float  # of a photo that a view shows
    most_aspect: float  # of a view
    recolour: float  # most that brightness, contrast and saturation change, as a share
    blur: float  # most deviation, in pixels, that half of the views are blurred by
    recall: float  # weight of conv4's error as it is told from fc6 by a decoder; 0 for none
    first_size: int  # pixels: photos are this small …
    first_share: float  # … for this share of the steps
    closing_epochs: int  # after all others, with a low rate and views …
    closing_area: float  # … that show at least this share, as what is measured does
    closing_rate: float  # at first; it falls linearly to zero
    precision: str  # "fp32", or mixed: "bf16"
    threads: int  # of arithmetic: another number may give other last digits
    checkpoint_every: int  # steps

    def __post_init__(self) -> None:
        if self.network not in PHOTO_NETWORKS:
            raise SettingsError(
                f"network: got {self.network!r}, expected one of {', '.join(PHOTO_NETWORKS)}"
                f"{nearest(self.network, PHOTO_NETWORKS)}"
            )
        for name in ("epochs", "batch", "first_size", "threads", "checkpoint_every", "most_aspect"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected at least 1")
        amounts = "rate", "momentum", "weight_decay", "recolour", "blur", "recall", "closing_epochs", "closing_rate"
        for name in amounts:
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not (
            0 <= self.label_smoothing < 1
            and 0 < self.least_area <= 1
            and 0 < self.closing_area <= 1
            and 0 <= self.first_share <= 1
        ):
            raise SettingsError("label_smoothing, least_area, closing_area, first_share: expected shares of 1")
        if self.recall and self.network != "tinynet":
            raise SettingsError(
                f"recall: got {self.recall}, expected 0: {self.network} has no fc6 to tell anything from"
            )
        if self.precision not in ("fp32", "bf16"):
            raise SettingsError(f"precision: got {self.precision!r}, expected fp32 or bf16")

    def main_steps(self, photos: int) -> int:
        """The steps before the closing ones; the photos that do not fill a last batch wait for another epoch."""
        return self.epochs * (photos // self.batch)

    def steps(self, photos: int) -> int:
        """All steps."""
        return (self.epochs + self.closing_epochs) * (photos // self.batch)


@dataclass(frozen=True)
class PhotoMetrics:
    """What was measured at the end of a training, of the weights as they are stored."""

    steps: int
    photos: int  # measured on
    top1: float
    top5: float
    parameters: int


def photo_recipe(weights: Path) -> PhotoSettings:
    """Return the settings that a weight file was trained with: the file repeats them.

    Raises WeightsError when the file is missing, damaged, or does not say.
    """
    about = read_about(weights)
    try:
        return PhotoSettings(**about["settings"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{weights}: was not trained on photos here ({error}); name a file that was") from error
