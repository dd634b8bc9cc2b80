"""Files of trained weights whose metadata holds the recipe and the measurements."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import WeightsError


def write_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, object], *, half: bool) -> None:
    """Write a state dict and its description into one file, atomically.

    about : plain values that become JSON.
    half : store floating-point tensors with 16 bits.
    """
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    content = save(tensors, metadata={"about": json.dumps(about)})  # one entry: the order of several is not fixed
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def read_about(path: Path) -> dict:
    """Return the description in a file of weights.

    Raises WeightsError if the file is missing, is damaged, or has no description.
    """
    try:
        with safe_open(path, framework="np") as file:
            return json.loads((file.metadata() or {})["about"])
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path}: expected weights that repeat the settings of their training, "
            f"got {type(error).__name__}: {' '.join(str(error).split())}; name a file trained here"
        ) from error


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the values that a file of 16-bit weights gives back."""
    return {name: value.half().float() if value.is_floating_point() else value.clone() for name, value in state.items()}
