"""A style search: every regularizer alone, from none to too strong, and random draws of all of them together."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from pipeline.settings import StyleSettings, check

# What each axis raises; every other regularizer of a style is off. blur has its iterations beside it.
AXES = {
    "decay": "decay",
    "blur": "blur_radius",
    "norm": "small_norm_percentile",
    "contribution": "px_abs_benefit_percentile",
}
NONE, RANDOM = "none", "random"  # the settings of no axis: without any regularizer, and the draws
_OFF = {
    "decay": 0.0,
    "blur_radius": 0.0,
    "blur_every": 0,
    "small_val_percentile": 0.0,
    "small_norm_percentile": 0.0,
    "px_benefit_percentile": 0.0,
    "px_abs_benefit_percentile": 0.0,
}
_LIMITS = {"decay": 1.0, "small_norm_percentile": 100.0, "px_abs_benefit_percentile": 100.0}  # what no number reaches
_DIGITS = 3  # significant ones of a drawn number: what a person can read and type again


@dataclass(frozen=True)
class SweepRows:
    """The strengths of each regularizer alone, rising; none, which comes first in every row, is left out.

    blur_every : iterations between the blurs of the row of radii.
    """

    decay: tuple[float, ...]
    blur_radius: tuple[float, ...]
    blur_every: int
    small_norm_percentile: tuple[float, ...]
    px_abs_benefit_percentile: tuple[float, ...]

    def __post_init__(self) -> None:
        check("sweep.rows.blur_every", self.blur_every, "1 or more", self.blur_every >= 1)
        for name in AXES.values():
            strengths = getattr(self, name)
            limit = _LIMITS.get(name, math.inf)
            rising = all(low < high for low, high in zip((0.0, *strengths), (*strengths, limit), strict=True))
            check(f"sweep.rows.{name}", list(strengths), f"rising strengths above 0{_below(name)}", rising)


@dataclass(frozen=True)
class SweepSearch:
    """Random draws: how many, from which seed, and the range of each number, as (least, greatest).

    share : probability that a regularizer takes part in a draw. decay and blur_radius are drawn evenly in their
    logarithm, the others evenly.
    Source: Yosinski et al. 2015, section 3, who drew 300; their ranges are not published.
    """

    count: int
    seed: int
    share: float
    decay: tuple[float, float]
    blur_radius: tuple[float, float]
    blur_every: tuple[int, int]
    small_norm_percentile: tuple[float, float]
    px_abs_benefit_percentile: tuple[float, float]

    def __post_init__(self) -> None:
        check("sweep.search.count", self.count, "0 to 1000", 0 <= self.count <= 1000)
        check("sweep.search.share", self.share, "above 0, at most 1", 0 < self.share <= 1)
        for name in (field.name for field in fields(self) if field.name not in ("count", "seed", "share")):
            low, high = getattr(self, name)
            good = 0 < low <= high < _LIMITS.get(name, math.inf)
            check(f"sweep.search.{name}", [low, high], f"[least, greatest] above 0{_below(name)}", good)


@dataclass(frozen=True)
class SweepPlace:
    """Where a style stands in a search; it decides no picture.

    axis : "none", an axis, or "random". place : of a row, 0 for none; of a draw, its number.
    base : the style that every number but the regularizers is from.
    """

    axis: str
    place: int
    base: str


def swept_styles(
    base: StyleSettings, option: str, rows: SweepRows, search: SweepSearch
) -> tuple[tuple[StyleSettings, SweepPlace], ...]:
    """All styles of a search with their places: none, row by row, the draws.

    base : its steps, start and iterations are everybody's. option : its name on the command line.
    Raises SettingsError for a strength that no style may have.
    """
    return (
        (replace(base, name=NONE, **_OFF), SweepPlace(NONE, 0, option)),
        *_row_styles(base, option, rows),
        *((_drawn(base, search, number), SweepPlace(RANDOM, number, option)) for number in range(search.count)),
    )


def _below(name: str) -> str:
    return f" and below {_LIMITS[name]:g}" if name in _LIMITS else ""


def _row_styles(base: StyleSettings, option: str, rows: SweepRows) -> Iterator[tuple[StyleSettings, SweepPlace]]:
    for axis, field in AXES.items():
        beside = {"blur_every": rows.blur_every} if axis == "blur" else {}
        for place, strength in enumerate(getattr(rows, field), 1):
            numbers = {**_OFF, field: strength, **beside}
            yield replace(base, name=f"{axis}_{place}", **numbers), SweepPlace(axis, place, option)


def _drawn(base: StyleSettings, search: SweepSearch, number: int) -> StyleSettings:
    """Draw `number`: from a generator of its own, so that a longer search begins with the same settings.

    Python's own generator, whose stream is promised to stay as it is; a draw that switches nothing on is drawn again.
    """
    source = random.Random(f"{search.seed} {number}")
    while not any(on := [source.random() < search.share for _ in AXES]):
        pass
    numbers: dict[str, float] = {
        "decay": _between(source, search.decay, log=True),
        "blur_radius": _between(source, search.blur_radius, log=True),
        "small_norm_percentile": _between(source, search.small_norm_percentile, log=False),
        "px_abs_benefit_percentile": _between(source, search.px_abs_benefit_percentile, log=False),
    }
    least, greatest = search.blur_every
    every = least + int(source.random() * (greatest - least + 1))
    kept = {name: numbers[name] for name, chosen in zip(AXES.values(), on, strict=True) if chosen}
    beside = {"blur_every": every} if "blur_radius" in kept else {}
    return replace(base, name=f"{RANDOM}_{number:03d}", **{**_OFF, **kept, **beside})


def _between(source: random.Random, ends: Sequence[float], *, log: bool) -> float:
    """A number between the ends, rounded to the digits that a person can read; all callers draw, used or not."""
    low, high = (math.log(end) for end in ends) if log else ends
    value = low + source.random() * (high - low)
    return float(f"{math.exp(value) if log else value:.{_DIGITS}g}")
