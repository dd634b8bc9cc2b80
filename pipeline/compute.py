"""A task to its stored result, by handing it to its method: the only door for whatever drives the work."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch

from atlas_viewer import format
from pipeline.methods.ascent import AscentResult, Item, ascend
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network
from pipeline.plan import AscentTask
from pipeline.settings import DeviceSettings
from pipeline.store.shard import Pieces, encode_shard

PACKAGES = ("numpy", "pillow", "torch")  # the packages whose versions can move a result


def compute(task: AscentTask, network: Network) -> bytes:
    """The shard of a task.

    network : in float32, on the CPU. The thread count is set here, because it decides results.
    """
    record = task.style
    device = prepare(record.device)
    cone = layer_cone(_placed(network, device), task.layer, record.ascent.canvas)
    result = ascend(
        cone,
        [Item(unit, record.style, task.sample) for unit in task.units],
        layer=task.layer,
        seed=record.seed,
        settings=record.ascent,
        batch=task.batch,
        device=device,
    )
    return encode_shard(task.record(), _arrays(result), {"halved": result.halved, "packages": package_versions()})


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return torch.cuda.is_available()


def prepare(settings: DeviceSettings) -> torch.device:
    """Set this process to compute the same numbers wherever it runs; return its device."""
    torch.set_num_threads(settings.threads)
    if settings.kind == "cuda":
        torch.backends.cudnn.benchmark = False  # timing would choose the algorithm
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device(settings.kind)


_on_device: dict[str, Network] = {}  # in this process: the network last used on a GPU, by digest


def _placed(network: Network, device: torch.device) -> Network:
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


def _arrays(result: AscentResult) -> dict[str, np.ndarray | Pieces]:
    count = len(result.status)
    shown = [status in (format.Status.ok, format.Status.never_active) for status in result.status]
    encode = format.STYLE["pixels"].encode
    chunks = [encode(result.pixels[at][None, None]) if shown[at] else None for at in range(count)]
    small = {
        name: getattr(result, name)
        for name in ("activation", "activation_float", "best_step", "status", "attempt", "trace")
    }
    steps = result.trace_steps[0]
    return {"pixels": Pieces("u1", result.pixels.shape, chunks), "trace_step": steps, **small}
