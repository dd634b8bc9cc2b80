"""What a run is asked to do, as frozen values that check themselves. Defaults stand in conf/ alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.errors import SettingsError, nearest

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


def check_name(where: str, name: str) -> None:
    """Raise SettingsError unless `name` can stand in overrides and file names: letters, digits, _ and -."""
    if not name or not all(letter.isalnum() or letter in "_-" for letter in name):
        raise SettingsError(f"{where}.name: got {name!r}, expected letters, digits, _ and -")


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
