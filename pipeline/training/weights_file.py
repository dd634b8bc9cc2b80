"""Weight files that say how they were made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import WeightsError


def write_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, object], *, half: bool) -> None:
    """Write a state with what is to be known of it, whole or not at all. half : floats in 16 bits on disk."""
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    content = save(tensors, metadata={"about": json.dumps(about)})  # one entry, for the order of several is random
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def read_about(path: Path) -> dict:
    """What a weight file says of itself. Raises WeightsError when it is missing, damaged, or does not say."""
    try:
        with safe_open(path, framework="np") as file:
            return json.loads((file.metadata() or {})["about"])
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path}: expected weights that repeat the settings of their training, "
            f"got {type(error).__name__}: {' '.join(str(error).split())}; name a file trained here"
        ) from error


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state as a file in half precision gives it back."""
    return {name: value.half().float() if value.is_floating_point() else value.clone() for name, value in state.items()}


def autocast(kind: str, precision: str) -> torch.autocast:
    """The context of mixed precision on a device: "bf16", or nothing for "fp32"."""

    return torch.autocast(kind, dtype=torch.bfloat16, enabled=precision != "fp32")
