"""Random generators of starts: one for each item, or the authors' legacy generator."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass

import numpy as np


@dataclass(frozen=True)
class StartKey:
    """Everything that seeds a start.

    unit : number of the unit, or the members of a weighted sum as text.
    setting : name of the style or run.
    attempt : number of the start; 0 is the first, the others are fresh starts.
    """

    seed: int
    layer: str
    unit: int | str
    setting: str
    sample: int
    attempt: int


def item_random(key: StartKey) -> np.random.Generator:
    """The random generator of this key."""
    digest = hashlib.sha256(json.dumps(astuple(key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))  # Philox takes 128 bits


def legacy_random(seed: int, attempt: int) -> np.random.RandomState:
    """NumPy's legacy generator, seeded as in the authors' programs. Departure: these have no fresh starts."""
    return np.random.RandomState(seed if attempt == 0 else [seed, attempt])
