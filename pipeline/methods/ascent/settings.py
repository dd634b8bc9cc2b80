"""Settings of gradient ascent: a style, which sets the regularizers and steps, and the settings that styles share."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.card import LayerCard
from pipeline.errors import SettingsError
from pipeline.plan import NamedSettings
from pipeline.records import number, transforms
from pipeline.settings import DIRECTIONS, DeviceSettings, check, check_choice, check_name

POLICIES = ("constant", "progress", "progress01", "scale_free")
STARTS = ("item", "reference")
START_IMAGES = ("mean_plus_rand", "randu", "mean")
CANVASES = ("window", "image")
KEEPS = ("best", "last")


@dataclass(frozen=True)
class StyleSettings:
    """One setting of the regularizers and of the steps of gradient ascent.

    The metadata of each field states what it means, its symbol in the paper, and the value that switches it off.
    Source: Yosinski et al. 2015, section 3 and table 1.
    """

    name: str
    decay: float = number(
        title="L2 decay",
        symbol="θ_decay",
        measured_in="share removed in each update",
        meaning="Pulls every pixel towards the mean, so that a few extreme pixels cannot dominate.",
        axis="decay",
        neutral=0.0,
        below=1.0,
        logarithmic=True,
    )
    blur_radius: float = number(
        title="Gaussian blur",
        symbol="θ_b_width",
        measured_in="σ in pixels",
        meaning="Removes high frequencies, which excite units but look like noise to a person.",
        axis="blur",
        neutral=0.0,
        logarithmic=True,
    )
    blur_every: int = number(
        title="every",
        symbol="θ_b_every",
        measured_in="iterations",
        meaning="Iterations from one blur to the next; the first iteration blurs.",
        axis="blur",
        neutral=0,
    )
    small_val_percentile: float = number(
        title="Clipping small values",
        measured_in="percentile of the entries’ magnitude",
        meaning="Sets single entries of small magnitude to the mean. In the authors' program, not in the paper.",
        axis="values",
        neutral=0.0,
        below=100.0,
    )
    small_norm_percentile: float = number(
        title="Clipping small norms",
        symbol="θ_n_pct",
        measured_in="percentile of the pixels’ norm",
        meaning="Sets pixels of small norm to the mean, so that only the important regions remain.",
        axis="norm",
        neutral=0.0,
        below=100.0,
    )
    px_benefit_percentile: float = number(
        title="Clipping signed contributions",
        measured_in="percentile of the pixels’ signed contribution",
        meaning="Sets to the mean the pixels with the lowest gain predicted for zeroing them, −g·x. The paper mentions "
        "a signed variant and rejects it.",
        axis="signed contribution",
        neutral=0.0,
        below=100.0,
    )
    px_abs_benefit_percentile: float = number(
        title="Clipping small contributions",
        symbol="θ_c_pct",
        measured_in="percentile of the pixels’ contribution",
        meaning="Sets the pixels that contribute least to the activation to the mean.",
        axis="contribution",
        neutral=0.0,
        below=100.0,
    )
    policy: str = number(
        title="Step policy", meaning="Rule for the size of a step: constant, progress, progress01 or scale_free."
    )
    rate: float = number(title="Rate", meaning="Factor of the gradient.", read_when="policy=constant")
    max_rate: float = number(
        title="Largest rate", meaning="Largest factor of the gradient.", read_when="policy=progress,progress01"
    )
    desired_progress: float = number(
        title="Desired progress",
        measured_in="activation",
        meaning="Gain of activation that one step aims at.",
        read_when="policy=progress",
    )
    early_progress: float = number(
        title="Early progress",
        measured_in="activation",
        meaning="Largest gain that one step aims at, for units in [0, 1].",
        read_when="policy=progress01",
    )
    late_progress_factor: float = number(
        title="Late progress",
        measured_in="share",
        meaning="Share of the distance to 1 that one step aims at.",
        read_when="policy=progress01",
    )
    step_start: float = number(
        title="First step",
        measured_in="pixel levels",
        meaning="Mean change of an entry at the first update.",
        read_when="policy=scale_free",
    )
    step_end: float = number(
        title="Last step",
        measured_in="pixel levels",
        meaning="Mean change of an entry at the last update; linear in between.",
        read_when="policy=scale_free",
    )
    max_iter: int = number(
        title="Iterations", measured_in="iterations", meaning="Iterations; the last one only evaluates."
    )
    start_image: str = number(
        title="Start image",
        meaning="mean_plus_rand: the mean plus normal noise of 10 levels; randu: uniform levels; mean: the mean.",
    )
    keep: str = number(title="Kept", meaning="Which iterate is kept: the best one, or the last one.")
    keep_from: int = number(
        title="Kept from", measured_in="iterations", meaning="First iteration that may be the best one."
    )
    direction: str = number(title="Direction", meaning="maximize or minimize.")
    jitter: float = number(
        title="Jitter",
        measured_in="share of the sides",
        meaning="Shifts the image at random before each evaluation, at most by this share of its sides.",
        axis="jitter",
        transform=True,
        neutral=0.0,
        below=0.5,
        absent=0.0,
    )

    def __post_init__(self) -> None:
        where = f"style.{self.name}"
        check_name(where, self.name)
        check(f"{where}.decay", self.decay, "[0, 1)", 0 <= self.decay < 1)
        check(f"{where}.blur_radius", self.blur_radius, "0 or more", self.blur_radius >= 0)
        check(f"{where}.blur_every", self.blur_every, "0 or more", self.blur_every >= 0)
        for kind in ("small_val", "small_norm", "px_benefit", "px_abs_benefit"):
            percentile = getattr(self, f"{kind}_percentile")
            check(f"{where}.{kind}_percentile", percentile, "[0, 100)", 0 <= percentile < 100)
        check_choice(f"{where}.policy", self.policy, POLICIES)
        for kind in ("rate", "max_rate", "step_start"):
            check(f"{where}.{kind}", getattr(self, kind), "more than 0", getattr(self, kind) > 0)
        check(f"{where}.step_end", self.step_end, "0 or more", self.step_end >= 0)
        check(f"{where}.max_iter", self.max_iter, "1 or more", self.max_iter >= 1)
        check_choice(f"{where}.start_image", self.start_image, START_IMAGES)
        check_choice(f"{where}.keep", self.keep, KEEPS)
        good = 0 <= self.keep_from < self.max_iter
        check(f"{where}.keep_from", self.keep_from, f"[0, max_iter = {self.max_iter})", good)
        check_choice(f"{where}.direction", self.direction, DIRECTIONS)
        check(f"{where}.jitter", self.jitter, "[0, 0.5)", 0 <= self.jitter < 0.5)

    @property
    def iterations(self) -> int:
        return self.max_iter

    @property
    def transforms(self) -> dict[str, float]:
        return transforms(self)

    @property
    def sign(self) -> int:
        return 1 if self.direction == "maximize" else -1

    @property
    def first_kept(self) -> int:
        """The first iteration whose image may be kept."""
        return self.keep_from if self.keep == "best" else self.max_iter - 1


@dataclass(frozen=True)
class AscentSettings:
    """The settings that all styles share.

    canvas : "window" optimizes only the window of the centre position, "image" the whole input.
    start : "item" draws a start for each (layer, unit, style, sample); "reference" draws as the authors' program: one
        legacy seed for all units, seed + i for sample i.
    image_dtype : type of the image that is optimized, "float32" or "float64"; the network computes in float32.
    fresh_starts : further starts if the first gradient is zero, values are not finite, or the unit stays off.
    trace_points : points kept of each climb.
    """

    canvas: str
    start: str
    image_dtype: str
    fresh_starts: int
    trace_points: int

    def __post_init__(self) -> None:
        check_choice("ascent.canvas", self.canvas, CANVASES)
        check_choice("ascent.start", self.start, STARTS)
        check_choice("ascent.image_dtype", self.image_dtype, ("float32", "float64"))
        check("ascent.fresh_starts", self.fresh_starts, "0 or more", self.fresh_starts >= 0)
        check("ascent.trace_points", self.trace_points, "2 or more", self.trace_points >= 2)


@dataclass(frozen=True)
class StyleRecord(NamedSettings):
    """Everything that decides a style's pictures: its numbers, the shared settings, the seed and the device's sizes.

    precision : "float32", or "bf16" for bfloat16 in layers whose cones are large enough.
    """

    style: StyleSettings
    ascent: AscentSettings
    seed: int
    device: DeviceSettings
    precision: str = number(absent="float32")

    @property
    def name(self) -> str:
        return self.style.name

    def climbs(self, layer: LayerCard) -> str:
        """The precision in which units of a layer climb."""
        return self.device.precision(self.precision, layer.macs[self.ascent.canvas])

    def clash(self, changes: list[str], swept: bool) -> str:
        rename = "" if swept else f"give this variant a name of its own by style.{self.name}.name=…, or "
        return (
            f"style {self.name}: the atlas has it with other numbers ({'; '.join(changes)}); {rename}choose another "
            f"folder with OUT=…"
        )


def check_distinct(styles: tuple[StyleRecord, ...]) -> None:
    """Raise SettingsError if two styles of a request have the same name."""
    if len({style.name for style in styles}) < len(styles):
        names = ", ".join(style.name for style in styles)
        raise SettingsError(f"styles: got {names}, expected each name once; give a variant its own by style.….name=…")
