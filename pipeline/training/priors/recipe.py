"""The recipe of a prior: everything that, with the network and the images, decides its weights."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import SettingsError

PRESETS = ("small", "published")
LOSSES = ("relative", "published")


@dataclass(frozen=True)
class PriorRecipe:
    """Everything that, with network and images, decides a prior's weights on one kind of machine."""

    preset: str
    loss: str  # "relative": errors as shares, adversary capped; "published": sums of squares, Dosovitskiy & Brox 2016
    seed: int  # of initial weights, order of the images, and shifts
    steps: int  # 0: an untrained generator, the baseline that a prior has to beat
    batch: int  # images of a step, of each process
    # The generator; see pipeline.priors.generator.
    hidden: int | None  # None: the width of the code; of a map, its channels
    grid_channels: int
    least_channels: int
    twice_up_to: int
    slope: float
    even: bool  # after every step, the kernels of a doubling are made to treat its pixels alike, against a mesh
    notch: bool  # after training, a notch filter removes the frequency of a checkerboard from its images
    # Its losses
    comparator: tuple[str, ...]  # layers whose values, after their ReLUs, are compared
    image_weight: float
    feature_weight: float
    shared_weight: float  # of the mean error over the images of about fifty steps: marks at fixed positions
    adversarial_weight: float  # relative: share of the other losses' gradient; published: a factor
    adversarial_cap: float  # relative: the largest factor of the adversarial gradient, times its first factor
    adversary_from: float  # share of the steps before the adversary begins
    adversary_alone: int  # steps in which only the discriminator then learns from the adversarial loss
    shift: int  # images are shifted before they are compared, by at most this many pixels in each direction
    shift_share: float  # share of the steps with a shift
    # The discriminator
    discriminator: str  # "patch", or "published"
    discriminator_channels: int
    discriminator_noise: float  # standard deviation of noise on its images, so that grain alone cannot reveal a photo
    skip_below: float  # it is not trained while its loss over the generator's adversarial loss is below this …
    resume_above: float  # … until the ratio is above this
    # Optimization: Adam
    rate: float
    rate_with_adversary: float  # the rate changes linearly to this until the adversary begins, and then falls to 0
    discriminator_rate: float
    beta1: float
    discriminator_decay: float  # weight decay
    average: float  # decay, per step, of the exponential average of the weights that is kept; 0 keeps the last weights
    precision: str  # "fp32", or mixed precision: "bf16"
    threads: int  # of arithmetic on a CPU; their number decides the last digits
    checkpoint_every: int  # steps
    show_every: int  # steps between two snapshots of reconstructions

    def __post_init__(self) -> None:
        for name, options in (
            ("preset", PRESETS),
            ("loss", LOSSES),
            ("discriminator", ("patch", "published")),
            ("precision", ("fp32", "bf16")),
        ):
            if getattr(self, name) not in options:
                raise SettingsError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(options)}")
        for name in ("batch", "grid_channels", "least_channels", "threads", "checkpoint_every",
                     "show_every", "discriminator_channels"):  # fmt: skip
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected at least 1")
        for name in (
            "steps",
            "image_weight",
            "feature_weight",
            "shared_weight",
            "adversarial_weight",
            "shift",
            "rate",
            "discriminator_rate",
            "discriminator_noise",
        ):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("adversary_from", "shift_share", "beta1", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name}: got {getattr(self, name)}, expected a share of 1")
        if not self.comparator:
            raise SettingsError("comparator: got no layer, expected at least one, such as [pool2,conv4,fc6]")

    @property
    def first_adversarial(self) -> int:
        """The step at which the discriminator begins to learn; `steps` if the recipe has no adversary."""
        return self.steps if self.adversarial_weight == 0 else round(self.adversary_from * self.steps)

    def rate_at(self, step: int) -> float:
        """Return the generator's learning rate at a step."""
        first = self.first_adversarial
        if step < first:
            return self.rate + (self.rate_with_adversary - self.rate) * step / first
        return self.rate_with_adversary * (self.steps - step) / max(1, self.steps - first)
