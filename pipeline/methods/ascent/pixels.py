"""The pixel parameterization: the image itself, with the regularizers of a style."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.climb.parameterization import Parameterization, Step
from pipeline.climb.seeds import StartKey, item_random, legacy_random
from pipeline.methods.ascent.rates import step_rates
from pipeline.methods.ascent.regularizers import clip_range, regularize
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import Cone
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.window import Window

NOISE_LEVELS = 10.0  # standard deviation of mean_plus_rand, pixel levels; the authors' program


class Pixels(Parameterization):
    """Centred images (item, channel, row, column) under a cone's window.

    Source: Yosinski et al. 2015, section 3; order of operations of the authors' program.
    """

    def __init__(self, cone: Cone, layer: str, seed: int, settings: AscentSettings) -> None:
        self.dtype = getattr(torch, settings.image_dtype)
        self.seed, self.layer = seed, layer
        self._cone, self._settings = cone, settings
        self._mean: Tensor | None = None

    def start(self, key: StartKey, setting: StyleSettings) -> np.ndarray:
        cone = self._cone
        return start_image(key, setting.start_image, self._settings.start, cone.network.preprocessing, cone.window)

    def image(self, parameters: Tensor) -> Tensor:
        return parameters

    def bound(self, parameters: Tensor) -> None:
        if self._mean is None:
            self._mean = torch.tensor(self._cone.mean, dtype=self.dtype, device=parameters.device)
        clip_range(parameters, self._mean, out=parameters)

    def steps(self, settings: Sequence[StyleSettings], device: torch.device) -> Step:
        return regularized_steps(settings)


def regularized_steps(settings: Sequence[StyleSettings]) -> Step:
    """A step along the gradient, then the regularizers, style by style."""
    groups, start = [], 0
    for style, items in itertools.groupby(settings):
        stop = start + len(list(items))
        groups.append((style, slice(start, stop)))
        start = stop

    def step(image: Tensor, gradient: Tensor, objective: Tensor, iteration: int) -> Tensor:
        stepped = []
        for style, items in groups:
            at, slope = image[items], gradient[items]
            if iteration < style.max_iter - 1:
                rate = step_rates(style, slope, objective[items], iteration)
                at = regularize(torch.addcmul(at, slope, rate[:, None, None, None]), slope, style, iteration)
            stepped.append(at)
        return stepped[0] if len(stepped) == 1 else torch.cat(stepped)

    return step


def start_image(key: StartKey, image: str, start: str, preprocessing: Preprocessing, window: Window) -> np.ndarray:
    """The centred start image under the window, float64 (channel, row, column), before any clipping.

    image : "mean_plus_rand", the mean and normal noise; "randu", uniform pixel levels 0…255; "mean".
    start : "item" draws the window from a generator seeded by the whole key; "reference" draws the whole input
        from NumPy's legacy generator with seed + sample, for every unit and style alike, and cuts the window out.
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
        drawn = _draw(item_random(key), image, (preprocessing.channels, window.height, window.width))
    return drawn - preprocessing.full_mean[inside] if image == "randu" else drawn.copy()


def _draw(random: np.random.Generator | np.random.RandomState, image: str, shape: tuple[int, ...]) -> np.ndarray:
    return random.uniform(0, 255, shape) if image == "randu" else random.normal(0, NOISE_LEVELS, shape)


@functools.lru_cache(maxsize=16)  # one entry for each sample, which all units share
def _legacy_draw(seed: int, attempt: int, image: str, shape: tuple[int, ...]) -> np.ndarray:
    drawn = _draw(legacy_random(seed, attempt), image, shape)
    drawn.flags.writeable = False
    return drawn
