"""How codes of a prior are searched, which priors there are, and which units are excited together."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import SettingsError
from pipeline.settings import check, check_choice

UNITS = ("entry", "deviation")
START_CODES = ("noise", "reference", "mean", "entries", "image")


@dataclass(frozen=True)
class SearchSettings:
    """One setting of DGN-AM: ascent in the code space of a generator.

    unit : what steps and noise are measured in: "entry", the code's own numbers; "deviation", the mean deviation of
    its entries over real images, for codes differ in size by orders of magnitude between networks.
    iterations : of which the last only evaluates. step_start, step_end : mean change of a code's entry; iteration i of
    n takes step_start + (step_end − step_start) · i / n. sigmas : every entry of a code stays within 0 and its
    mean + sigmas · deviation (from mean − sigmas · deviation on where codes may be negative); None for no bound.
    clip : stay within [−1, 1] instead. shrink : factor of the code after every step, 1 for none. penalty : λ of the
    objective's λ‖y‖. jitter : before every evaluation but the last the image is shifted by chance, at most by that
    share of its sides, its edges repeated; 0 for none, as published. start : "noise", N(0, 1) units; "reference", the
    authors' own, sample i drawn with the seed + i; "mean", the mean code; "entries", each from N(mean, deviation);
    "image", the code of the image file `image`. fresh_starts : further starts where the gradient is zero, not a
    number, or the unit never active. trace_points : how many points of the climb are kept.
    Source: Nguyen et al. 2016, section 3, and the authors' program.
    """

    iterations: int
    unit: str
    step_start: float
    step_end: float
    sigmas: float | None
    clip: bool
    shrink: float
    penalty: float
    jitter: float
    start: str
    image: str | None
    fresh_starts: int
    trace_points: int

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
        if (self.start == "image") != (self.image is not None):
            wanted = "give the file by dgn.image=PATH" if self.image is None else "set dgn.start=image, or remove it"
            raise SettingsError(f"dgn.image: got {self.image} with dgn.start={self.start}; {wanted}")
        check("dgn.fresh_starts", self.fresh_starts, "0 or more", self.fresh_starts >= 0)
        check("dgn.trace_points", self.trace_points, "2 or more", self.trace_points >= 2)

    @property
    def drawn(self) -> bool:
        """Whether another sample or attempt starts elsewhere."""
        return self.start not in ("mean", "image")


@dataclass(frozen=True)
class PriorSettings:
    """How to find and read a prior; what an option of conf/prior states.

    folder : of a prior of ours, or "package:NAME" for one that comes with the project; the rest is for a published
    Caffe generator and must be None then.
    definition, weights, weights_url, weights_sha1, weights_sha256 : as in ModelSettings. mean : one number a channel,
    pixel levels, that the generator's images lack. order : of its channels. network : name of the network whose codes
    it inverts. code_layer : whose values they are, after the ReLU. range_3x, range_1x : path or address of a file with
    mean + 3 (or 1) deviations of every entry over real images, a line of numbers; without the second, the mean counts
    as zero, which leaves the bound at 3 deviations right. range_3x_sha256, range_1x_sha256 : what is known of them.
    """

    name: str
    folder: str | None
    definition: str | None
    weights: str | None
    weights_url: str | None
    weights_sha1: str | None
    weights_sha256: str | None
    mean: tuple[float, ...] | None
    order: str | None
    network: str | None
    code_layer: str | None
    range_3x: str | None
    range_3x_sha256: str | None
    range_1x: str | None
    range_1x_sha256: str | None
    trained_on: str
    licence: str

    def __post_init__(self) -> None:
        where = f"prior.{self.name}"
        if not self.name or not all(letter.isalnum() or letter == "_" for letter in self.name):
            raise SettingsError(f"{where}.name: got {self.name!r}, expected letters, digits and _")
        if self.folder is not None:
            return
        for name in ("definition", "mean", "order", "network", "code_layer"):
            if getattr(self, name) is None:
                raise SettingsError(f"{where}.{name}: missing for a generator of Caffe; give it by {where}.{name}=…")
        if self.weights is None and self.weights_url is None:
            raise SettingsError(f"{where}.weights: missing; give its place by {where}.weights=PATH")
        check_choice(f"{where}.order", self.order, ("RGB", "BGR", "L"))  # type: ignore[arg-type]
        if self.range_3x is None:
            raise SettingsError(
                f"{where}.range_3x: missing, and codes without bounds give no images; give the file with mean + 3 "
                f"deviations of every entry by {where}.range_3x=PATH"
            )


@dataclass(frozen=True)
class CombinationSettings:
    """A set of combinations of units, each excited together.

    units : addresses "layer:a+b", units by number or label, with weights as "2*a"; without a layer, of `layer`.
    random : further pairs of units of `layer`, drawn from the seed. layer : None for the class layer.
    balance : γ of the penalty on the difference of the activations; 0 for none. samples : pictures of each.
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
