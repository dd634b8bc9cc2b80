"""Settings of DGN-AM: the numbers of a run, a run with its prior, and sets of units to excite together."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.card import LayerCard, PriorCard
from pipeline.errors import SettingsError
from pipeline.plan import NamedSettings
from pipeline.records import number, transforms
from pipeline.settings import DIRECTIONS, DeviceSettings, check, check_choice
from pipeline.units import Members

UNITS = ("entry", "deviation")
START_CODES = ("noise", "reference", "mean", "entries", "image")


@dataclass(frozen=True)
class RunSettings:
    """The numbers of one run of DGN-AM: ascent in the code space of a generator.

    The metadata of each field states what it means and its value in the authors' program.
    Source: Nguyen et al. 2016, section 3, and the authors' program.
    """

    iterations: int = number(
        title="Iterations", measured_in="iterations", meaning="Iterations; the last one only evaluates.", published=200
    )
    unit: str = number(
        title="Unit",
        meaning="Unit of steps and noise: the mean deviation of the code's entries over real images (deviation), or 1 "
        "(entry).",
    )
    step_start: float = number(
        title="First step",
        measured_in="units",
        meaning="Mean change of a code's entry in the first step.",
        axis="step",
        published=8.0,
        logarithmic=True,
    )
    step_end: float = number(
        title="to",
        measured_in="units",
        meaning="Mean change of a code's entry at the end; linear in between.",
        axis="step",
        published=1e-10,
    )
    sigmas: float | None = number(
        title="Bounds of the code",
        measured_in="deviations over real images",
        meaning="Keeps every entry between 0 and its mean plus this many deviations.",
        axis="bounds",
        neutral=None,
        published=3.0,
        read_when="clip=false",
    )
    clip: bool = number(
        title="Clipping to 1",
        meaning="Clips entries to [−1, 1], in place of the bound by sigmas.",
        axis="clip",
        neutral=False,
        published=False,
    )
    shrink: float = number(
        title="Shrinking",
        measured_in="factor of the code after each step",
        meaning="Pulls the code towards zero after every step: the regularizer of the authors' program.",
        axis="shrink",
        neutral=1.0,
        below=1.0,
        published=0.99,
    )
    penalty: float = number(
        title="Penalty on the norm",
        symbol="λ",
        measured_in="activation per unit of the code's norm",
        meaning="Subtracts λ‖y‖ from the objective: the regularizer of the paper.",
        axis="penalty",
        neutral=0.0,
        logarithmic=True,
        published=0.0,
    )
    jitter: float = number(
        title="Jitter",
        measured_in="share of the sides",
        meaning="Shifts the image at random before each evaluation but the last; its edges are replicated.",
        axis="jitter",
        transform=True,
        neutral=0.0,
        below=0.5,
        published=0.0,
        absent=0.0,
        stored=True,
    )
    start: str = number(
        title="Start",
        meaning="noise: N(0, 1) units; reference: as published, sample i drawn with seed + i; mean: the mean code; "
        "entries: each entry drawn from its mean and deviation; image: the code of an image file.",
        published="noise",
    )
    image: str | None = number(
        title="Start image",
        meaning="The image file whose code the start is, for start=image.",
        absent=None,
        recorded=False,
        shown=False,
    )
    fresh_starts: int = number(
        title="Fresh starts",
        meaning="Further starts if the first gradient is zero, values are not finite, or the unit stays off.",
    )
    trace_points: int = number(title="Trace points", meaning="Points kept of each climb.", shown=False)
    direction: str = number(title="Direction", meaning="maximize or minimize.", published="maximize", absent="maximize")

    def __post_init__(self) -> None:
        check("dgn.iterations", self.iterations, "1 or more", self.iterations >= 1)
        check_choice("dgn.unit", self.unit, UNITS)
        check("dgn.step_start", self.step_start, "more than 0", self.step_start > 0)
        check("dgn.step_end", self.step_end, "0 or more", self.step_end >= 0)
        if self.sigmas is not None:
            check("dgn.sigmas", self.sigmas, "more than 0, or null", self.sigmas > 0)
        check("dgn.shrink", self.shrink, "(0, 1]", 0 < self.shrink <= 1)
        check("dgn.penalty", self.penalty, "0 or more", self.penalty >= 0)
        check("dgn.jitter", self.jitter, "[0, 0.5)", 0 <= self.jitter < 0.5)
        check_choice("dgn.start", self.start, START_CODES)
        check("dgn.fresh_starts", self.fresh_starts, "0 or more", self.fresh_starts >= 0)
        check("dgn.trace_points", self.trace_points, "2 or more", self.trace_points >= 2)
        check_choice("dgn.direction", self.direction, DIRECTIONS)

    def check_image(self) -> None:
        """Raise SettingsError unless an image is given for start "image", and for no other start."""
        if (self.start == "image") != (self.image is not None):
            wanted = "give the file by dgn.image=PATH" if self.image is None else "set dgn.start=image, or remove it"
            raise SettingsError(f"dgn.image: got {self.image} with dgn.start={self.start}; {wanted}")

    @property
    def drawn(self) -> bool:
        """Whether another sample or attempt begins at another start."""
        return self.start not in ("mean", "image")

    @property
    def sign(self) -> int:
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True)
class RunRecord(NamedSettings):
    """Everything that decides a run's pictures.

    start_code : SHA-256 of the code of the start image, or None.
    precision : "float32", or "bf16" for bfloat16 in layers whose cones, with the generator, are large enough.
    """

    name: str
    prior: PriorCard
    settings: RunSettings
    start_code: str | None
    seed: int
    device: DeviceSettings
    precision: str = number(absent="float32")

    def climbs(self, layer: LayerCard) -> str:
        """The precision in which units of a layer climb."""
        return self.device.precision(self.precision, layer.macs["window"] + self.prior.macs)

    # `pipeline.climb.parameterization.Setting`
    @property
    def iterations(self) -> int:
        return self.settings.iterations

    @property
    def sign(self) -> int:
        return self.settings.sign

    @property
    def first_kept(self) -> int:
        return 0

    @property
    def transforms(self) -> dict[str, float]:
        return transforms(self.settings)

    def clash(self, changes: list[str], swept: bool) -> str:
        rename = "" if swept else "make this a variant with a name of its own by +dgn.variants.NAME.…, or "
        return (
            f"run {self.name}: the atlas has it with other numbers ({'; '.join(changes)}); {rename}choose another "
            f"folder with OUT=…"
        )


@dataclass(frozen=True)
class CombinationSettings:
    """A set of combinations; the units of a combination are excited together.

    units : addresses "layer:a+b", units by number or label, weights as in "2*a"; without a layer, units of `layer`.
    random : number of further pairs of units of `layer`, drawn from the seed.
    layer : None for the class layer.
    balance : γ of the penalty on the difference of the activations; 0 for none.
    samples : pictures of each combination.
    Source: Nguyen et al. 2016, supplementary section S8, Eq. 2.
    """

    units: tuple[str, ...]
    random: int
    layer: str | None
    balance: float
    samples: int

    def __post_init__(self) -> None:
        check("combination.random", self.random, "0 or more", self.random >= 0)
        check("combination.balance", self.balance, "0 or more", self.balance >= 0)
        check("combination.samples", self.samples, "1 or more", self.samples >= 1)


@dataclass(frozen=True)
class CombinationRecord(NamedSettings):
    """A set of combinations. items : the units of one layer, with weights, that are excited together."""

    name: str
    layer: str
    items: tuple[Members, ...]
    balance: float
    samples: int
    run: RunRecord = number(spelling="search")

    def clash(self, changes: list[str], swept: bool) -> str:
        spoken = ["other units" if change.startswith("items:") else change for change in changes]
        return (
            f"combinations {self.name}: the atlas has them with other numbers ({'; '.join(spoken)}); give these a name "
            f"of their own, or choose another folder with OUT=…"
        )
