"""An untrained prior of the project's own form, as a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline.priors.generator import Generator, GeneratorShape
from pipeline.priors.prior import Prior, trained_prior, write_prior


def untrained(entries: int = 3, side: int = 16, name: str = "untrained") -> Prior:
    """Codes of a network's `fc` to images of at least `side` pixels."""
    torch.manual_seed(3)
    shape = GeneratorShape(
        code=(entries,), image=(side, side), hidden=8, grid_channels=8, least_channels=4, twice_up_to=4, slope=0.3,
        scale=1.0,
    )  # fmt: skip
    random = np.random.RandomState(0)
    return trained_prior(
        name=name, network="tiny", network_digest="", code_layer="fc", generator=Generator(shape),
        code_mean=random.uniform(0.5, 1, entries), code_deviation=random.uniform(0.5, 1, entries),
        trained_on={"dataset": "nothing"}, licence="free", card="# Untrained\n",
    )  # fmt: skip


def write_untrained(folder: Path, **shape: object) -> Path:
    write_prior(folder, untrained(**shape), half=True)
    return folder
