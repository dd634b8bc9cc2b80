"""What tasks share in a process: the network on its device, the images, and a device set to repeat itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import numpy as np
import torch

from pipeline.card import PriorCard
from pipeline.data.source import ImageSource
from pipeline.errors import MissingError
from pipeline.nets.network import Network
from pipeline.priors.prior import Prior
from pipeline.settings import DeviceSettings

PACKAGES = ("numpy", "pillow", "torch")  # the packages whose versions can move a result


@dataclass(frozen=True, eq=False)
class Resources:
    """network : in float32, on the CPU. source : the dataset's images, or None. priors : by digest. start_codes : of
    the images that runs start from, by digest.
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
        """The prior of that card. MissingError if it is not here (any more)."""
        if card.digest not in self.priors:
            raise MissingError(f"prior {card.name}: not the one here; give the folder it was in by priors=[…]")
        return self.priors[card.digest]


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return torch.cuda.is_available()


def prepare(settings: DeviceSettings) -> torch.device:
    """Set this process to compute the same numbers wherever it runs; return its device.

    The thread count is set here, because it decides results.
    """
    torch.set_num_threads(settings.threads)
    if settings.kind == "cuda":
        torch.backends.cudnn.benchmark = False  # timing would choose the algorithm
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(settings.kind)


_on_device: dict[str, Network] = {}  # in this process: the network last used on a GPU, by digest


def placed(network: Network, device: torch.device) -> Network:
    """The network on the device; moved there once a process."""
    if device.type == "cpu":
        return network
    if network.digest not in _on_device:
        _on_device.clear()
        _on_device[network.digest] = network.to(device=device)
    return _on_device[network.digest]


_priors_placed: dict[tuple[str, str], Prior] = {}  # in this process: by digest and kind of device


def placed_prior(prior: Prior, device: torch.device) -> Prior:
    """The prior with its generator on the device; moved there once a process.

    On a CPU its weights lie as convolutions like them there, the channels of a pixel side by side: a step of a
    batch takes four fifths.
    """
    key = prior.digest, device.type
    if key not in _priors_placed:
        generator = copy.deepcopy(prior.generator).to(device).requires_grad_(False)
        if device.type == "cpu":
            generator = generator.to(memory_format=torch.channels_last)
        _priors_placed[key] = replace(prior, generator=generator)
    return _priors_placed[key]


def package_versions() -> list[str]:
    """The versions that computed a result, as "name version"."""
    return [f"{name} {version(name)}" for name in PACKAGES]
