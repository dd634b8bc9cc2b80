"""What decides the weights of a prior, and what its training keeps an eye on."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import SettingsError

PRESETS = ("small", "published")
LOSSES = ("relative", "published")


@dataclass(frozen=True)
class PriorRecipe:
    """Everything that, with network and images, decides a prior's weights on one kind of machine.

    loss : "relative", errors as shares of what they are of, the adversary's gradient capped by the rest's; or
    "published", sums of squares with the weights of Dosovitskiy & Brox 2016.
    """

    preset: str
    loss: str
    seed: int  # of first weights, order, shifts
    steps: int  # 0: none, first weights, the baseline that a prior has to beat
    batch: int  # images of one process
    # The generator; see pipeline.priors.generator.
    hidden: int | None  # None: as wide as the code, of a map as its channels
    grid_channels: int
    least_channels: int
    twice_up_to: int
    slope: float
    notch: bool  # the images of what was trained lack a checkerboard's frequency
    # Its losses
    comparator: tuple[str, ...]  # layers whose values are compared, after their ReLUs
    image_weight: float
    feature_weight: float
    shared_weight: float  # of what the images of some fifty steps have wrong alike: marks at fixed places
    adversarial_weight: float  # relative: share of the other losses' gradient; published: a factor
    adversarial_cap: float  # relative: most that the adversary's gradient is enlarged, times what it was at first
    adversary_from: float  # share of the steps without an adversary
    adversary_alone: int  # steps that the discriminator then learns alone
    shift: int  # pixels that images are shifted before they are compared, either way
    shift_share: float  # of the batches
    # The discriminator
    discriminator: str  # "patch", or "published"
    discriminator_channels: int
    discriminator_noise: float  # deviation of noise on all that it sees: grain alone must not give a photo away
    skip_below: float  # loss of the discriminator over the generator's adversarial loss: it waits below …
    resume_above: float  # … until above
    # Optimisation: Adam
    rate: float
    rate_with_adversary: float  # the rate falls linearly to this until the adversary comes, and then to 0
    discriminator_rate: float
    beta1: float
    discriminator_decay: float
    average: float  # of the weights that are kept: exponential, per step; 0 keeps the last
    precision: str  # "fp32", or mixed: "bf16"
    threads: int
    checkpoint_every: int
    show_every: int  # steps between two looks at reconstructions

    def __post_init__(self) -> None:
        for name, known in (
            ("preset", PRESETS),
            ("loss", LOSSES),
            ("discriminator", ("patch", "published")),
            ("precision", ("fp32", "bf16")),
        ):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(known)}")
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
        """The step at which the discriminator begins to learn; `steps` where there is no adversary."""
        return self.steps if self.adversarial_weight == 0 else round(self.adversary_from * self.steps)

    def rate_at(self, step: int) -> float:
        """The generator's rate at a step."""
        first = self.first_adversarial
        if step < first:
            return self.rate + (self.rate_with_adversary - self.rate) * step / first
        return self.rate_with_adversary * (self.steps - step) / max(1, self.steps - first)
