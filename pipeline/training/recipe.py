"""What decides the weights of a classifier of drawings, and what was measured of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SettingsError, WeightsError, nearest
from pipeline.training.weights_file import read_about

NETWORKS = ("doodlenet", "doodlejudge", "doodlevgg")


@dataclass(frozen=True)
class ClassifierSettings:
    """Everything that decides the weights, on one kind of machine."""

    network: str  # one of NETWORKS
    seed: int  # of first weights, order, augmentation
    train_seed: int  # of the drawings to learn from
    train_count: int
    held_out_seed: int  # of the drawings that accuracy is measured on
    held_out_count: int
    epochs: int
    batch: int
    rate: float  # at its highest: after the first tenth of the steps; it then falls linearly to zero
    momentum: float
    weight_decay: float  # of weights, not of biases and normalisations
    label_smoothing: float
    noise: float  # largest deviation of Gaussian noise, pixel levels
    blur: float  # largest sigma of the blur that a third of the pictures get, pixels
    fade: float  # largest share of contrast taken away
    attack: float  # L2 radius of the adversarial shift, pixel levels over the picture; 0 trains without
    attack_steps: int
    threads: int  # of arithmetic: another number may give other last digits
    checkpoint_every: int  # steps

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise SettingsError(
                f"network: got {self.network!r}, expected one of {', '.join(NETWORKS)}{nearest(self.network, NETWORKS)}"
            )
        if self.train_seed == self.held_out_seed:
            raise SettingsError(f"held_out_seed: got {self.held_out_seed}, expected another than train_seed")
        for name in ("train_count", "held_out_count", "epochs", "batch", "threads", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if self.batch > self.train_count:
            raise SettingsError(f"batch: got {self.batch}, expected at most train_count ({self.train_count})")
        for name in ("rate", "momentum", "weight_decay", "noise", "blur", "fade", "attack", "attack_steps"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if not (0 <= self.label_smoothing < 1 and self.fade <= 1):
            raise SettingsError("label_smoothing and fade: expected shares, label_smoothing below 1")

    @property
    def steps(self) -> int:
        """All steps; the drawings that do not fill a last batch wait for another epoch's order."""
        return self.epochs * (self.train_count // self.batch)


@dataclass(frozen=True)
class Metrics:
    """What was measured at the end of a training."""

    steps: int
    accuracy: float  # share of held-out drawings that are named right
    attacked_accuracy: float  # the same, each drawing first shifted as in training
    parameters: int


def recipe(weights: Path) -> ClassifierSettings:
    """Return the settings that a weight file was trained with: the file repeats them.

    Raises WeightsError when the file is missing, damaged, or does not say.
    """
    about = read_about(weights)
    try:
        return ClassifierSettings(**about["settings"])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{weights}: was not trained on drawings here ({error}); name a file that was") from error
