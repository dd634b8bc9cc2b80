"""The images that ascents start from, each drawn from a seed of its own."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import astuple, dataclass

import numpy as np

from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.window import Window

NOISE_LEVELS = 10.0  # standard deviation of mean_plus_rand, pixel levels; the authors' program


@dataclass(frozen=True)
class StartKey:
    """All that decides a start's randomness; attempt counts the fresh starts, 0 is the first."""

    seed: int
    layer: str
    unit: int
    style: str
    sample: int
    attempt: int


def start_image(key: StartKey, image: str, start: str, preprocessing: Preprocessing, window: Window) -> np.ndarray:
    """The centred start image under the window, float64 (channel, row, column), before any clipping.

    image : "mean_plus_rand", the mean and normal noise; "randu", uniform pixel levels 0…255; "mean".
    start : "item" draws the window from a generator seeded by the whole key; "reference" draws the whole input
    from numpy's legacy generator with seed + sample, for every unit and style alike, and cuts the window out.
    Source: Yosinski et al. 2015, the authors' program, for "reference".
    Departure: noise has the shape of the input, where the program took the mean's; fresh starts are ours.
    """
    if image == "mean":
        return np.zeros((preprocessing.channels, window.height, window.width))
    inside = (slice(None), slice(window.top, window.bottom), slice(window.left, window.right))
    if start == "reference":
        shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        drawn = _legacy_draw(key.seed + key.sample, key.attempt, image, shape)[inside]
    else:
        random = item_random(key)
        drawn = _draw(random, image, (preprocessing.channels, window.height, window.width))
    return drawn - preprocessing.full_mean[inside] if image == "randu" else drawn.copy()


def item_random(key: object) -> np.random.Generator:
    """A generator of random numbers for this key, a dataclass, alone."""
    digest = hashlib.sha256(json.dumps(astuple(key)).encode()).digest()  # type: ignore[call-overload]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))  # as many bits as it takes


def legacy_random(seed: int, attempt: int) -> np.random.RandomState:
    """numpy's legacy generator as the authors' programs seed it; fresh starts are ours."""
    return np.random.RandomState(seed if attempt == 0 else [seed, attempt])


def _draw(random: np.random.Generator | np.random.RandomState, image: str, shape: tuple[int, ...]) -> np.ndarray:
    return random.uniform(0, 255, shape) if image == "randu" else random.normal(0, NOISE_LEVELS, shape)


@functools.lru_cache(maxsize=16)  # all units share the few samples
def _legacy_draw(seed: int, attempt: int, image: str, shape: tuple[int, ...]) -> np.ndarray:
    drawn = _draw(legacy_random(seed, attempt), image, shape)
    drawn.flags.writeable = False
    return drawn
