"""The weights of torch modules: read from a file and loaded, or refused with the names that do not fit."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import WeightsError, nearest

_INNER = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints keep the weights
_WRAPPER = "module."  # prefix that DataParallel adds to every name
_COUNTER = "num_batches_tracked"  # of batch normalisation; unused in evaluation mode


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Name → tensor on the CPU; floating point values as float32.

    The weights may be nested in a checkpoint, such as under "state_dict". The prefix "module." of all names is removed.
    Pickled code is never run.

    path : a .safetensors file, or a state dict that torch saved (.pt, .pth).
    Raises WeightsError if the file is missing, cut short, or not a weights file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file; fetch it, or give its path by model.weights=…")
    content = _from_safetensors(path) if path.suffix == ".safetensors" else _from_torch(path)
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"weights {path}: holds no tensors by name; save model.state_dict() and give that file")
    if all(name.startswith(_WRAPPER) for name in tensors):
        tensors = {name.removeprefix(_WRAPPER): value for name, value in tensors.items()}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def load_state(module: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load the tensors of a state into the module.

    state : name → tensor.
    source : the file, for messages.
    Raises WeightsError, and leaves the module unchanged, if a tensor is missing, has another shape, or is not of this
    module. The message names the first tensor of each kind of fault.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith(_COUNTER)]
    foreign = [name for name in state if name not in expected]
    faults = []
    for name, value in expected.items():
        if name in state and state[name].shape != value.shape:
            faults.append(f"{name} has shape {tuple(state[name].shape)}, expected {tuple(value.shape)}")
            break
    if missing:
        faults.append(f"{missing[0]} is missing{nearest(missing[0], foreign)}{_further(missing)}")
    if foreign:
        faults.append(f"{foreign[0]} is not of this network{_further(foreign)}")
    if faults:
        raise WeightsError(f"weights {source}: {'; '.join(faults)}; give the weights of this network")
    module.load_state_dict(state, strict=False)  # only counters may be missing


def _further(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: cannot be read ({_line(error)}); fetch the file again") from None


def _from_torch(path: Path) -> dict[str, object]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # damaged, or objects where tensors should be
        raise WeightsError(
            f"weights {path}: no plain state dict of tensors ({path.stat().st_size} bytes); fetch the file again, "
            "or save model.state_dict() and give that file"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"weights {path}: cut short, or no torch file ({_line(error)}); fetch the file again"
        ) from None
    for inner in _INNER:
        if isinstance(content, dict) and isinstance(content.get(inner), dict):
            content = content[inner]
    return content if isinstance(content, dict) else {}


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
