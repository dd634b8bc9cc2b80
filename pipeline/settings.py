"""What a run is asked to do, as frozen values that check themselves. Defaults stand in conf/ alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.errors import SettingsError, nearest

POLICIES = ("constant", "progress", "progress01", "scale_free")
STARTS = ("item", "reference")
START_IMAGES = ("mean_plus_rand", "randu", "mean")
CANVASES = ("window", "image")
KEEPS = ("best", "last")
DIRECTIONS = ("maximize", "minimize")


def check(where: str, value: float, expected: str, good: bool) -> None:
    """Raise SettingsError "where: got value, expected …" unless `good`."""
    if not good:
        raise SettingsError(f"{where}: got {value}, expected {expected}; set it by {where}=…")


def check_choice(where: str, value: str, choices: Collection[str]) -> None:
    """Raise SettingsError with the near match unless `value` is one of `choices`."""
    if value not in choices:
        raise SettingsError(
            f"{where}: got {value!r}, expected one of {', '.join(choices)}{nearest(str(value), choices)}"
        )


@dataclass(frozen=True)
class ModelSettings:
    """How to find and read a network; what an option of conf/model states.

    form : "caffe" (definition is a prototxt) or "torch" (build is module:callable, called with build_arguments).
    definition : path, or "package:caffenet.prototxt" for the ones that come with the project.
    weights : path; "package:….safetensors"; None for the published file, fetched once from weights_url.
    weights_sha1, weights_git_blob, weights_sha256 : what the publisher (or the user) says of the file; any may be None.
    mean : per-channel numbers in pixel levels 0…255 and the network's channel order, or the path of an .npy or
        .binaryproto file, or "package:…", or None for zero; mean_url, when the published mean is to be fetched.
    order : channel order, "RGB", "BGR" or "L". size : (height, width), or None to take it from the definition.
    gain : one factor a channel between pixel levels and the network's input (1 for Caffe; 1 / (255·std) for
        networks that read (p/255 − mean) / std).
    labels : path of a text file (one a line, "wnid name, other name" or "name"), "package:…", "module:NAME" for
        a tuple in a module, or None. class_layer : None to find it.
    """

    name: str
    form: str
    definition: str | None
    build: str | None
    build_arguments: tuple[tuple[str, object], ...]
    weights: str | None
    weights_url: str | None
    weights_sha1: str | None
    weights_git_blob: str | None
    weights_sha256: str | None
    mean: str | tuple[float, ...] | None
    mean_url: str | None
    mean_sha1: str | None
    gain: tuple[float, ...] | None
    order: str
    size: tuple[int, int] | None
    labels: str | None
    class_layer: str | None
    licence: str

    def __post_init__(self) -> None:
        check_choice("model.form", self.form, ("caffe", "torch"))
        if not self.name or any(letter in self.name for letter in "@:/ "):
            raise SettingsError(f"model.name: got {self.name!r}, expected a name without spaces, @, : and /")
        needed = "definition" if self.form == "caffe" else "build"
        if getattr(self, needed) is None:
            raise SettingsError(f"model.{needed}: missing for model {self.name}; give it by model.{needed}=…")
        if self.form == "torch" and self.size is None:
            raise SettingsError(f"model.size: missing for model {self.name}; give it by model.size=[224,224]")


@dataclass(frozen=True)
class StyleSettings:
    """One setting of the regularizers and of the steps of gradient ascent.

    decay : share of the image taken away in every update (θ_decay). blur_radius : σ in pixels, blur_every :
    iterations (θ_b_width, θ_b_every); 0 for none. small_val_percentile : of single entries.
    small_norm_percentile (θ_n_pct), px_benefit_percentile (signed), px_abs_benefit_percentile (θ_c_pct) : of pixels.
    policy : "constant" (rate), "progress" (max_rate, desired_progress), "progress01" (max_rate, early_progress,
    late_progress_factor) or "scale_free" (step_start → step_end pixel levels, linear; rate = step / mean|g|).
    max_iter : iterations, of which the last only evaluates. start_image : "mean_plus_rand", "randu" or "mean".
    keep : "best" iterate from iteration `keep_from` on, or "last". direction : "maximize" or "minimize".
    Source: Yosinski et al. 2015, section 3 and table 1.
    """

    name: str
    decay: float
    blur_radius: float
    blur_every: int
    small_val_percentile: float
    small_norm_percentile: float
    px_benefit_percentile: float
    px_abs_benefit_percentile: float
    policy: str
    rate: float
    max_rate: float
    desired_progress: float
    early_progress: float
    late_progress_factor: float
    step_start: float
    step_end: float
    max_iter: int
    start_image: str
    keep: str
    keep_from: int
    direction: str

    def __post_init__(self) -> None:
        where = f"style.{self.name}"
        if not self.name or not all(letter.isalnum() or letter in "_-" for letter in self.name):
            raise SettingsError(f"{where}.name: got {self.name!r}, expected letters, digits, _ and -")
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

    @property
    def sign(self) -> int:
        return 1 if self.direction == "maximize" else -1


@dataclass(frozen=True)
class AscentSettings:
    """What all styles of a run share.

    canvas : "window" optimizes the centre unit's window alone, "image" the whole input.
    start : "item" gives every (layer, unit, style, sample) a start of its own; "reference" is the original's,
    one legacy seed for all units, sample i drawn with seed + i.
    image_dtype : of the image that is optimized, "float32" or "float64"; the network computes in float32.
    fresh_starts : further starts tried where the gradient is zero, not a number, or the unit never active.
    trace_points : how many points of the climb are kept.
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
class DeviceSettings:
    """Sizes that cut work for one kind of device; they decide results and are never measured.

    kind : "cpu" or "cuda". threads : of one task. batch_bytes : of the activations of one micro-batch.
    max_batch : items of one micro-batch. task_seconds : aim for one task. macs_per_second :
    what one task's share of the device is taken to do.
    """

    kind: str
    threads: int
    batch_bytes: int
    max_batch: int
    task_seconds: float
    macs_per_second: float

    def __post_init__(self) -> None:
        check_choice("device.kind", self.kind, ("cpu", "cuda"))
        for name in ("threads", "batch_bytes", "max_batch", "task_seconds", "macs_per_second"):
            check(f"device.{name}", getattr(self, name), "more than 0", getattr(self, name) > 0)


@dataclass(frozen=True)
class ClusterSettings:
    """Where tasks run; decides no result.

    kind : "serial", "local" or "ray". workers : tasks at a time, None for what the machine or cluster has.
    address : of the running cluster ("ray" only), None for the one this machine belongs to. retries : further tries
    after a lost worker. gpus_per_task : GPUs (or a share of one) reserved for a task on a GPU. memory_bytes : reserved
    for a task. store_bytes : size of the object store that "local" starts.
    """

    kind: str
    workers: int | None
    address: str | None
    retries: int
    gpus_per_task: float
    memory_bytes: int
    store_bytes: int

    def __post_init__(self) -> None:
        check_choice("cluster", self.kind, ("serial", "local", "ray"))
        if self.workers is not None:
            check("cluster.workers", self.workers, "1 or more", self.workers >= 1)
        check("cluster.retries", self.retries, "0 or more", self.retries >= 0)
