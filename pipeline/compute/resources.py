"""What tasks share in a process: the network on its device, the images, and a device set to repeat itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import torch

from pipeline.data.source import ImageSource
from pipeline.nets.network import Network
from pipeline.settings import DeviceSettings

PACKAGES = ("numpy", "pillow", "torch")  # the packages whose versions can move a result


@dataclass(frozen=True, eq=False)
class Resources:
    """network : in float32, on the CPU. source : the dataset's images, or None."""

    network: Network
    source: ImageSource | None = None

    @property
    def key(self) -> str:
        """Equal keys mean equal resources."""
        return self.network.digest + ("" if self.source is None else self.source.digest)


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


def package_versions() -> list[str]:
    """The versions that computed a result, as "name version"."""
    return [f"{name} {version(name)}" for name in PACKAGES]
