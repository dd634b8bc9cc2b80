"""The checkpoint of a training run: written atomically, and read back only by a training run with the same settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import OutputError


@dataclass(frozen=True)
class Checkpoint:
    """The next step, and the state of everything that a training run changes."""

    settings: str  # everything that decides the result, as text
    step: int
    states: dict[str, Any]  # name -> state dict, of networks and optimizers


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`; if the process is killed, either the old file or the new one is there."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    content = {"settings": checkpoint.settings, "step": checkpoint.step, "states": checkpoint.states}
    with open(unfinished, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def load_checkpoint(path: Path, *, settings: str) -> Checkpoint | None:
    """Return the checkpoint at `path`, or None if the file does not exist.

    settings : everything that decides the result, as text; it must equal the text in the checkpoint.
    Raises OutputError if the file cannot be read, or belongs to a training run with other settings.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = Checkpoint(content["settings"], content["step"], content["states"])
    except Exception as error:  # torch passes on any exception of its unpickler
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutputError(f"{path}: cannot be read as a checkpoint ({reason}); remove it to start anew") from error
    if checkpoint.settings != settings:
        raise OutputError(
            f"{path}: a checkpoint of other settings ({_difference(checkpoint.settings, settings)}); "
            "remove it, or name another output folder"
        )
    return checkpoint


def _difference(stored: str, asked: str) -> str:
    """Name the first line in which two texts of settings differ."""
    for old, new in zip(stored.splitlines(), asked.splitlines(), strict=False):
        if old != new:
            return f"stored {old.rstrip(',')}, asked {new.rstrip(',')}"
    return "stored and asked have different fields"
