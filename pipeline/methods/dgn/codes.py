"""The code parameterization: starts, bounds and steps of the codes of a prior's generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.climb.parameterization import Parameterization, Step
from pipeline.climb.seeds import StartKey, item_random, legacy_random
from pipeline.methods.dgn.settings import RunRecord, RunSettings


@dataclass(frozen=True, eq=False)
class CodeRange:
    """Statistics of the codes of real images.

    mean, deviation : of every entry, float (entry,).
    rectified : whether codes are never negative.
    """

    mean: np.ndarray
    deviation: np.ndarray
    rectified: bool

    def unit(self, settings: RunSettings) -> float:
        """The factor of steps and noise. Departure: it is 1 in the authors' program."""
        return 1.0 if settings.unit == "entry" else float(self.deviation.astype(np.float64).mean())

    def bounds(self, settings: RunSettings) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest value of every entry, float64 (entry,), or None for no bounds.

        Source: Nguyen et al. 2016, section 3: 0 to 3 standard deviations around the mean; their program: [−1, 1].
        """
        mean, deviation = self.mean.astype(np.float64), self.deviation.astype(np.float64)
        if settings.clip:
            return np.full_like(mean, -1.0), np.full_like(mean, 1.0)
        if settings.sigmas is None:
            return None
        low = np.zeros_like(mean) if self.rectified else mean - settings.sigmas * deviation
        return low, mean + settings.sigmas * deviation


class Codes(Parameterization):
    """Codes (item, entry); an adapter turns them into centred images under the cone's window.

    Source: Nguyen et al. 2016, section 3; update and order of operations of the authors' program, whose own
    normalization of the gradient at the image cancels out.
    """

    starts_by_number = False

    def __init__(
        self,
        adapter: Callable[[Tensor], Tensor],
        layer: str,
        record: RunRecord,
        real_codes: CodeRange,
        image_code: np.ndarray | None,
        dtype: torch.dtype = torch.float32,
        lowered: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """
        adapter : codes → centred images.
        layer : name of the units' layer; it is part of the key of a start.
        image_code : (entry,), code of the start image, or None.
        lowered : the adapter with its generator in bfloat16, for a climb in bfloat16; None for the same adapter.
        """
        self._adapter, self._lowered = adapter, adapter if lowered is None else lowered
        self.dtype, self.seed, self.layer = dtype, record.seed, layer
        self.several_starts = record.settings.drawn
        self.kept_shape = (real_codes.mean.size,)
        self._codes, self._image_code = real_codes, image_code

    def image(self, parameters: Tensor) -> Tensor:
        return self._adapter(parameters)

    def drawn(self, parameters: Tensor) -> Tensor:
        return self._lowered(parameters)

    def start(self, key: StartKey, setting: RunRecord) -> np.ndarray:
        return start_code(key, setting.settings, self._codes, self._image_code)

    def steps(self, settings: Sequence[RunRecord], device: torch.device) -> Step:
        (run,) = set(settings)  # a task has one run
        bounds = self._codes.bounds(run.settings)
        return code_steps(
            run.settings,
            self._codes.unit(run.settings),
            None if bounds is None else tuple(torch.from_numpy(bound).to(device, self.dtype) for bound in bounds),
        )


def code_steps(settings: RunSettings, unit: float, bounds: tuple[Tensor, Tensor] | None) -> Step:
    """The update of codes: a step of size · h / mean|h| with h = ∂(objective − λ‖y‖)/∂y, then bounds, then shrinking.

    unit : factor of the step sizes.
    bounds : lowest and highest values, (entry,) each, or None.
    """

    def step(code: Tensor, gradient: Tensor, objective: Tensor, iteration: int) -> Tensor:
        slope = gradient
        if settings.penalty:
            norm = code.norm(dim=1, keepdim=True)
            slope = slope - settings.penalty * torch.where(norm > 0, code / norm, 0)
        size = slope.abs().mean(dim=1, keepdim=True)
        code = code + torch.where(size > 0, unit * step_size(settings, iteration) / size, 0) * slope
        if bounds is not None:
            code = torch.minimum(torch.maximum(code, bounds[0]), bounds[1])
        return code * settings.shrink

    return step


def step_size(settings: RunSettings, iteration: int) -> float:
    """The mean change of a code's entry at an iteration, in units."""
    return settings.step_start + (settings.step_end - settings.step_start) * iteration / settings.iterations


def start_code(
    key: StartKey, settings: RunSettings, real_codes: CodeRange, image_code: np.ndarray | None
) -> np.ndarray:
    """The start of a climb, float64 (entry,), before any bound.

    image_code : (entry,), for start "image".
    Source: the authors' program of Nguyen et al. 2016 for "reference" (its default) and "image".
    """
    start = settings.start
    if start == "mean":
        return real_codes.mean.astype(np.float64)
    if start == "image":
        return np.asarray(image_code, np.float64).reshape(-1)
    if start == "reference":
        return legacy_random(key.seed + key.sample, key.attempt).normal(0, 1, real_codes.mean.size)
    drawn = item_random(key).normal(0, 1, real_codes.mean.size)
    if start == "noise":
        return drawn * real_codes.unit(settings)
    drawn = real_codes.mean.astype(np.float64) + real_codes.deviation.astype(np.float64) * drawn
    return np.maximum(drawn, 0) if real_codes.rectified else drawn
