"""Randomness of starts: every item draws from a generator of its own, or from the authors' legacy generator."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass

import numpy as np


@dataclass(frozen=True)
class StartKey:
    """All that decides a start's randomness.

    unit : number of the unit, or the members of a weighted sum in words.
    setting : name of the style or run.
    attempt : counts the fresh starts; 0 is the first start.
    """

    seed: int
    layer: str
    unit: int | str
    setting: str
    sample: int
    attempt: int


def item_random(key: StartKey) -> np.random.Generator:
    """A generator of random numbers for this key alone."""
    digest = hashlib.sha256(json.dumps(astuple(key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))  # as many bits as it takes


def legacy_random(seed: int, attempt: int) -> np.random.RandomState:
    """NumPy's legacy generator as the authors' programs seed it; fresh starts are ours."""
    return np.random.RandomState(seed if attempt == 0 else [seed, attempt])
