"""What the tasks of a process share: the network, images and priors, and a device that computes reproducibly."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import numpy as np
import torch

from pipeline.card import PriorCard
from pipeline.data.source import ImageSource
from pipeline.errors import EnvironmentFault, MissingError
from pipeline.nets.network import Network
from pipeline.priors.generator import Lowered
from pipeline.priors.prior import Prior
from pipeline.processor import instructions
from pipeline.settings import DeviceSettings

FAST_BF16 = frozenset({"amx_bf16"})  # CPU flags with which bfloat16 is faster than float32
SLOW_BF16 = frozenset({"avx512_bf16"})  # with these alone it is slower: 0.7 times as fast on CaffeNet's conv5 and fc8
BF16_CAPABILITY = 8  # compute capability from which GPUs multiply bfloat16
PACKAGES = ("numpy", "pillow", "torch")  # packages whose versions can change a result


@dataclass(frozen=True, eq=False)
class Resources:
    """What tasks read.

    network : float32, on the CPU.
    source : the dataset's images, or None.
    priors : digest → prior.
    start_codes : digest → code (entry,) of an image from which runs start.
    """

    network: Network
    source: ImageSource | None = None
    priors: Mapping[str, Prior] = field(default_factory=dict)
    start_codes: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal keys mean equal resources."""
        source = "" if self.source is None else self.source.digest
        return self.network.digest + source + "".join((*sorted(self.priors), *sorted(self.start_codes)))

    def prior(self, card: PriorCard) -> Prior:
        """The prior with the card's digest. Raises MissingError if it is not open."""
        if card.digest not in self.priors:
            raise MissingError(f"prior {card.name}: not open in this run; give its folder by priors=[…]")
        return self.priors[card.digest]


def has_gpu() -> bool:
    """Whether torch finds a GPU on this machine."""
    return torch.cuda.is_available()


def computes_bf16(kind: str, *, fast: bool) -> bool:
    """Whether the device of this kind states that it multiplies bfloat16; nothing is measured.

    fast : only if this is faster than float32.
    """
    if kind == "cuda":
        return has_gpu() and torch.cuda.get_device_capability()[0] >= BF16_CAPABILITY
    wanted = FAST_BF16 if fast else FAST_BF16 | SLOW_BF16
    return not wanted.isdisjoint(instructions())


def prepare(settings: DeviceSettings, precision: str = "float32") -> torch.device:
    """Make this process compute reproducibly, and return its device.

    This also sets the thread count, because it decides results. On a GPU single precision is exact: TF32, which keeps
    10 bits of the factors, is off for convolutions and for matrix products.

    precision : of climbs, "float32" or "bf16".
    Raises EnvironmentFault if the device cannot compute in this precision.
    """
    if precision == "bf16" and not computes_bf16(settings.kind, fast=False):
        lacks = "compute capability 8.0" if settings.kind == "cuda" else "amx_bf16 or avx512_bf16 among its CPU's flags"
        raise EnvironmentFault(
            f"precision: the task climbs in bf16, and this machine lacks {lacks}; run it on others, or make another "
            "atlas with precision=float32"
        )
    torch.set_num_threads(settings.threads)
    if settings.kind == "cuda":
        torch.backends.cudnn.benchmark = False  # it chooses algorithms by measured time
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(settings.kind)


_on_device: dict[tuple[str, bool], Network] = {}  # of this process: digest, layout → the network last used on a GPU


def placed(network: Network, device: torch.device, channels_last: bool | None = None) -> Network:
    """The network on the device; each process moves it once.

    channels_last : whether a GPU's convolutions run in this layout, which they take from their weights.
    """
    if device.type == "cpu":
        return network
    key = network.digest, bool(channels_last)
    if key not in _on_device:
        _on_device.clear()
        moved = network.to(device=device)
        if channels_last:
            moved.graph.to(memory_format=torch.channels_last)
        _on_device[key] = moved
    return _on_device[key]


# Of this process: digest, kind of device, layout, precision → prior.
_priors_placed: dict[tuple[str, str, bool, str], Prior] = {}


def placed_prior(
    prior: Prior, device: torch.device, channels_last: bool | None = None, precision: str = "float32"
) -> Prior:
    """The prior with its generator on the device, in "float32" or "bf16"; each process moves it once.

    On a CPU the weights are converted to channels_last, with which a step of a batch runs 1.25 times as fast.
    channels_last : the same on a GPU.
    """
    key = prior.digest, device.type, bool(channels_last), precision
    if key not in _priors_placed:
        generator = copy.deepcopy(prior.generator).to(device).requires_grad_(False)
        if device.type == "cpu" or channels_last:
            generator = generator.to(memory_format=torch.channels_last)
        if precision == "bf16":
            generator = Lowered(generator)
        _priors_placed[key] = replace(prior, generator=generator)
    return _priors_placed[key]


def package_versions() -> list[str]:
    """Versions of the packages that decide results, as "name version"."""
    return [f"{name} {version(name)}" for name in PACKAGES]
