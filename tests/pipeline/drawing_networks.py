"""The networks for drawings, read from a weights file as it was written."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from torch import nn

from pipeline.nets.doodlenet import doodlejudge, doodlenet, doodlevgg


def load(path: Path) -> tuple[nn.Sequential, tuple[str, ...]]:
    """The network that the file's own metadata names, ready to run, and the names of its classes."""
    build = {"doodlenet": doodlenet, "doodlejudge": doodlejudge, "doodlevgg": doodlevgg}
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    labels = tuple(about["classes"])
    network = build[about["network"]](classes=len(labels))
    network.load_state_dict(state)
    return network.eval(), labels
