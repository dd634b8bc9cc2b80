"""Settings as frozen values that check themselves. Their defaults are in conf/ only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.errors import SettingsError, nearest
from pipeline.records import number

PRECISIONS = ("float32", "bf16", "auto")
DIRECTIONS = ("maximize", "minimize")
# How a network may be given → the setting that names it.
FORMS = {"caffe": "definition", "torch": "build", "timm": "timm", "torchvision": "torchvision", "huggingface": "repo"}
EXAMPLES = {"timm": "resnet50.a1_in1k", "torchvision": "resnet50", "huggingface": "microsoft/resnet-50"}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


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


def is_path(given: str) -> bool:
    """Whether a text can only be a path; "owner/name" may also be a repository of a hub."""
    return given.startswith(("/", "./", "../", "~")) or given.count("/") > 1


def safe_name(given: str | None, default: str) -> str:
    """A name for the atlas of a network that is given by its publisher's name or by a folder.

    "microsoft/resnet-50" becomes "microsoft_resnet-50"; a path gives the name of its last folder.

    default : the name if nothing is given.
    """
    if not given:
        return default
    source, _, named = given.partition(":")
    named = named if source in ("hf-hub", "hf_hub", "local-dir") else given
    parts = [part for part in named.split("/") if part not in ("", ".", "..", "~")]
    text = parts[-1] if parts and is_path(named) else "_".join(parts)
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text).strip("._")
    return safe if safe else default


@dataclass(frozen=True)
class ModelSettings:
    """How to find and read a network: an option of conf/model.

    With form "timm", "torchvision" or "huggingface" the publisher's card states size, order, mean, gain, interpolation,
    labels and class layer; a value given here overrides it, and None takes the card's.

    form : "caffe" (definition is a prototxt), "torch" (build is module:callable, called with build_arguments), "timm",
        "torchvision" or "huggingface" (the field timm, torchvision or repo names the network).
    definition : path, or "package:caffenet.prototxt" for a definition that comes with the project.
    build_arguments : of the callable, or of the publisher's.
    timm : name in timm, such as "resnet50.a1_in1k", "hf-hub:owner/name" or "local-dir:PATH".
    torchvision : name in torchvision, "resnet50" or with a choice of weights "resnet50:IMAGENET1K_V1".
    repo : repository of the Hugging Face hub, "owner/name" or "owner/name@revision", or a local folder.
    pretrained : False for random weights in place of the publisher's; None for True.
    output : which of several results of a torch module is the network's output; None for the only or first tensor.
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
    interpolation : filter that resizes photos to the input, one of INTERPOLATIONS; None for bilinear.
    gain : factor per channel from pixel levels to the network's input (1 for Caffe; 1 / (255·std) for networks that
        read (p/255 − mean) / std).
    labels : path of a text file (one a line, "wnid name, other name" or "name"), "package:…", "module:NAME" for
        a tuple in a module, or None.
    labels_url : address of a published file of labels, used without `labels`; or None.
    class_layer : name of the class layer; None to detect it.
    position : "LAYER:ROW,COLUMN", the position of a layer's map that stands for its units, in place of the centre;
        LAYER may hold * and ?.
    """

    name: str
    form: str
    definition: str | None
    build: str | None
    build_arguments: tuple[tuple[str, object], ...]
    timm: str | None
    torchvision: str | None
    repo: str | None
    pretrained: bool | None
    output: str | None
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
    order: str | None
    size: tuple[int, int] | None
    interpolation: str | None
    labels: str | None
    labels_url: str | None
    class_layer: str | None
    licence: str
    position: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("model.form", self.form, tuple(FORMS))
        if not self.name or any(letter in self.name for letter in "@:/ "):
            raise SettingsError(f"model.name: got {self.name!r}, expected a name without spaces, @, : and /")
        needed = FORMS[self.form]
        if not getattr(self, needed):
            example = EXAMPLES.get(self.form, "…")
            raise SettingsError(f"model.{needed}: missing for model {self.name}; give it by model.{needed}={example}")
        if self.interpolation is not None:
            check_choice("model.interpolation", self.interpolation, INTERPOLATIONS)
        if self.published:
            return
        if self.pretrained is not None:
            raise SettingsError(
                f"model.pretrained: model {self.name} has no publisher that trained it; remove it, or choose one of "
                f"{', '.join(f'MODEL={form}' for form in EXAMPLES)}"
            )
        if self.order is None:
            raise SettingsError(f"model.order: missing for model {self.name}; give it by model.order=RGB")
        if self.form == "torch" and self.size is None:
            raise SettingsError(f"model.size: missing for model {self.name}; give it by model.size=[224,224]")

    @property
    def published(self) -> bool:
        """Whether a publisher's package builds the network and states how it reads images."""
        return self.form in EXAMPLES


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
    channels_last : whether a GPU climbs with the channels of a pixel side by side in memory; None for the layout that
        suits the kind of device in single precision, which is this one on a CPU and the other on a GPU.
    bf16_macs : multiply-accumulates of an item's forward pass from which climbs in bfloat16 are faster.
    """

    kind: str
    threads: int
    batch_bytes: int
    max_batch: int
    task_seconds: float
    macs_per_second: float
    channels_last: bool | None = number(absent=None)
    bf16_macs: int = number(absent=20_000_000)

    def __post_init__(self) -> None:
        check_choice("device.kind", self.kind, ("cpu", "cuda"))
        layout = self.channels_last
        check("devices.cpu.channels_last", layout, "null, a CPU always does", layout is None or self.kind == "cuda")
        for name in ("threads", "batch_bytes", "max_batch", "task_seconds", "macs_per_second"):
            check(f"device.{name}", getattr(self, name), "more than 0", getattr(self, name) > 0)
        check("device.bf16_macs", self.bf16_macs, "0 or more", self.bf16_macs >= 0)

    def precision(self, asked: str, macs: int) -> str:
        """The precision of climbs, "float32" or "bf16", for items of so many multiply-accumulates a forward pass.

        asked : "bf16" lowers only what gains by it.
        """
        return asked if macs >= self.bf16_macs else "float32"


@dataclass(frozen=True)
class ClusterSettings:
    """Where tasks run. This decides no result.

    kind : "serial", "local" or "ray".
    workers : tasks at a time; None for as many as the machine or cluster can run.
    address : address of the running cluster ("ray" only); None for the cluster that this machine belongs to.
    retries : further attempts of a task after faults of machines: a lost worker, a file that cannot be read, a timeout.
    gpus_per_task : GPUs (or a share of one) reserved for a task on a GPU.
    memory_bytes : memory reserved for a task.
    store_bytes : size of the object store that "local" starts.
    timeout_seconds, timeout_factor : a task is cancelled and tried elsewhere after timeout_seconds, or timeout_factor
        times its estimated time if that is longer; timeout_seconds None for never.
    wait_for_nodes : seconds to wait for a node that can run a task; None for ever ("ray" only).
    """

    kind: str
    workers: int | None
    address: str | None
    retries: int
    gpus_per_task: float
    memory_bytes: int
    store_bytes: int
    timeout_seconds: float | None
    timeout_factor: float
    wait_for_nodes: float | None

    def __post_init__(self) -> None:
        check_choice("cluster", self.kind, ("serial", "local", "ray"))
        for name in ("timeout_seconds", "wait_for_nodes"):
            value = getattr(self, name)
            if value is not None:
                check(f"cluster.{name}", value, "more than 0, or null", value > 0)
        check("cluster.timeout_factor", self.timeout_factor, "1 or more", self.timeout_factor >= 1)
        if self.workers is not None:
            check("cluster.workers", self.workers, "1 or more", self.workers >= 1)
        check("cluster.retries", self.retries, "0 or more", self.retries >= 0)
