"""Settings as frozen values that check themselves. Their defaults are in conf/ only."""

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
    """Raise SettingsError with the nearest match unless `value` is one of `choices`."""
    if value not in choices:
        raise SettingsError(
            f"{where}: got {value!r}, expected one of {', '.join(choices)}{nearest(str(value), choices)}"
        )


def check_name(where: str, name: str) -> None:
    """Raise SettingsError unless `name` is valid in overrides and file names: letters, digits, _ and -."""
    if not name or not all(letter.isalnum() or letter in "_-" for letter in name):
        raise SettingsError(f"{where}.name: got {name!r}, expected letters, digits, _ and -")


@dataclass(frozen=True)
class ModelSettings:
    """How to find and read a network: an option of conf/model.

    form : "caffe" (definition is a prototxt) or "torch" (build is module:callable, called with build_arguments).
    definition : path, or "package:caffenet.prototxt" for a definition that comes with the project.
    weights : path; "package:….safetensors"; None for the published file, which is fetched once from weights_url.
    weights_sha1, weights_git_blob, weights_sha256 : digests of the file, from its publisher or the user; any may be
        None.
    weights_key : torch: which of several sets of weights in the file that fit, by the prefix of their names; None if
        only one fits.
    mean : per-channel numbers in pixel levels 0…255 and the network's channel order; the path of an .npy or
        .binaryproto file; "package:…"; or None for zero.
    mean_url : address of a published mean to fetch, or None.
    order : channel order, "RGB", "BGR" or "L".
    size : (height, width), or None to take it from the definition.
    gain : factor per channel from pixel levels to the network's input (1 for Caffe; 1 / (255·std) for networks that
        read (p/255 − mean) / std).
    labels : path of a text file (one a line, "wnid name, other name" or "name"), "package:…", "module:NAME" for
        a tuple in a module, or None.
    class_layer : name of the class layer; None to detect it.
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
    weights_key: str | None
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
    """How to find and read a prior: an option of conf/prior.

    folder : folder that `make prior` wrote, or "package:NAME" for a prior that comes with the project. The other
        fields describe a published Caffe generator, and must be None if `folder` is set.
    definition, weights, weights_url, weights_sha1, weights_sha256 : as in ModelSettings.
    mean : one number per channel, pixel levels, to add to the generator's images.
    order : channel order of the images.
    network : name of the network whose codes the generator inverts.
    code_layer : layer whose values, after the ReLU, are the codes.
    range_3x, range_1x : path or address of a file with mean + 3 (or 1) deviations of every entry over real images, as
        a line of numbers. Without range_1x the mean counts as zero; the bound at 3 deviations stays right.
    range_3x_sha256, range_1x_sha256 : digests of these files, or None.
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
                raise SettingsError(f"{where}.{name}: missing for a Caffe generator; give it by {where}.{name}=…")
        if self.weights is None and self.weights_url is None:
            raise SettingsError(f"{where}.weights: missing; give the file by {where}.weights=PATH")
        check_choice(f"{where}.order", self.order, ("RGB", "BGR", "L"))  # type: ignore[arg-type]
        if self.range_3x is None:
            raise SettingsError(
                f"{where}.range_3x: missing, and codes need bounds to give images; give the file with mean + 3 "
                f"deviations of every entry by {where}.range_3x=PATH"
            )


@dataclass(frozen=True)
class DeviceSettings:
    """Sizes that cut work for one kind of device. They decide results and are never measured.

    kind : "cpu" or "cuda".
    threads : threads of one task.
    batch_bytes : bytes of the activations of one micro-batch.
    max_batch : maximum number of items in a micro-batch.
    task_seconds : target duration of a task.
    macs_per_second : assumed speed of one task's share of the device, multiply-accumulates per second.
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
    """Where tasks run. This decides no result.

    kind : "serial", "local" or "ray".
    workers : tasks at a time; None for as many as the machine or cluster can run.
    address : address of the running cluster ("ray" only); None for the cluster that this machine belongs to.
    retries : further tries of a task whose worker was lost.
    gpus_per_task : GPUs (or a share of one) reserved for a task on a GPU.
    memory_bytes : memory reserved for a task.
    store_bytes : size of the object store that "local" starts.
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
