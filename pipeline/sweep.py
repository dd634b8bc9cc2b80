"""A sweep: each regularizer of a method alone, from off to too strong, and random draws of all of them together."""

from __future__ import annotations

import math
import random
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import SettingsError, nearest
from pipeline.plan import SweepPlace
from pipeline.records import UNSET, Number, axes, neutral, numbers
from pipeline.request import typed
from pipeline.settings import check

NONE, RANDOM = "none", "random"  # in place of an axis: the setting without any regularizer, and the draws
_DIGITS = 3  # significant digits of a drawn number, so that a person can read and retype it


@dataclass(frozen=True)
class SweepRows:
    """The strengths of each number alone, each stronger than the one before.

    kind : class of the settings that are swept.
    strengths : field that leads an axis → strengths. The neutral value is not listed: it comes first in every row.
    beside : further field of an axis → its value in the axis's row.
    """

    kind: type
    strengths: Mapping[str, tuple[float, ...]]
    beside: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        about = numbers(self.kind)
        _check_fields(self.kind, "sweep.rows", [*self.strengths, *self.beside])
        for name, value in self.beside.items():
            check(f"sweep.rows.{name}", value, "1 or more", value >= 1)
        for name, strengths in self.strengths.items():
            ends = _ends(about[name])
            order = (ends[0], *strengths, ends[1])
            rises = ends[0] < ends[1]
            good = all(one < other if rises else one > other for one, other in zip(order, order[1:], strict=False))
            wanted = f"{'rising' if rises else 'falling'} strengths {_between_words(about[name])}"
            check(f"sweep.rows.{name}", list(strengths), wanted, good)


@dataclass(frozen=True)
class SweepDraws:
    """Random draws: their number, their seed, and the range of each number.

    kind : class of the settings that are swept.
    share : probability that an axis takes part in a draw.
    ranges : field → (smallest, largest). Draws are uniform, or uniform in the logarithm if the metadata says so.
    Source: Yosinski et al. 2015, section 3, who drew 300; their ranges are not published.
    """

    kind: type
    count: int
    seed: int
    share: float
    ranges: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        check("sweep.draws.count", self.count, "0 to 1000", 0 <= self.count <= 1000)
        check("sweep.draws.share", self.share, "above 0, at most 1", 0 < self.share <= 1)
        _check_fields(self.kind, "sweep.draws", list(self.ranges))
        about = numbers(self.kind)
        for name, (low, high) in self.ranges.items():
            limit = _limit(about[name])
            good = 0 < low <= high < limit
            wanted = f"[smallest, largest] above 0{_below(about[name])}"
            check(f"sweep.draws.{name}", [low, high], wanted, good)


@dataclass(frozen=True)
class Swept:
    """One setting of a sweep.

    changes : field → value, where it differs from the base.
    axis, place : see `SweepPlace`.
    """

    name: str
    changes: Mapping[str, Any]
    axis: str
    place: int

    def placed(self, base: str) -> SweepPlace:
        """Its position, for a plan. base : name of the setting that provides all other numbers."""
        return SweepPlace(self.axis, self.place, base)


def read_rows(kind: type, values: Mapping[str, Any]) -> SweepRows:
    """The rows of a configuration, where a list holds strengths and a single value belongs to `beside`."""
    hints, strengths, beside = typing.get_type_hints(kind), {}, {}
    for name, value in values.items():
        where = f"sweep.rows.{name}"
        _check_fields(kind, "sweep.rows", [name])
        if isinstance(value, list | tuple):
            strengths[name] = typed(value, tuple[float, ...], where)
        else:
            beside[name] = typed(value, hints[name], where)
    return SweepRows(kind, strengths, beside)


def read_draws(kind: type, values: Mapping[str, Any]) -> SweepDraws:
    """The draws of a configuration: count, seed and share, and [smallest, largest] for each number."""
    plain = {"count": int, "seed": int, "share": float}
    missing = [name for name in plain if name not in values]
    if missing:
        raise SettingsError(f"sweep.draws.{missing[0]}: missing; set it by sweep.draws.{missing[0]}=…")
    hints, ranges = typing.get_type_hints(kind), {}
    for name, value in values.items():
        if name not in plain:
            _check_fields(kind, "sweep.draws", [name])
            number = int if hints[name] is int else float
            ranges[name] = typed(value, tuple[number, number], f"sweep.draws.{name}")
    single = {name: typed(values[name], hint, f"sweep.draws.{name}") for name, hint in plain.items()}
    return SweepDraws(kind, ranges=ranges, **single)


def swept_settings(rows: SweepRows, draws: SweepDraws) -> tuple[Swept, ...]:
    """All settings of a sweep: `none`, the rows, the draws.

    A row varies one regularizer, with all others off. A row of a number that is not a regularizer leaves the
    regularizers as in the base.
    """
    off = neutral(rows.kind)
    return (
        Swept(NONE, off, NONE, 0),
        *_row_settings(rows, off),
        *(_drawn(draws, off, number) for number in range(draws.count)),
    )


def _row_settings(rows: SweepRows, off: Mapping[str, Any]) -> Iterator[Swept]:
    about = numbers(rows.kind)
    for axis, name in axes(rows.kind).items():
        beside = {other: value for other, value in rows.beside.items() if about[other].axis == axis}
        others = off if name in off else {}
        for place, strength in enumerate(rows.strengths.get(name, ()), 1):
            yield Swept(f"{axis}_{place}", {**others, name: strength, **beside}, axis, place)


def _drawn(draws: SweepDraws, off: Mapping[str, Any], number: int) -> Swept:
    """Draw `number`. Each draw has a generator of its own, so that asking for more draws keeps the first ones.

    Python guarantees that the stream of its generator stays the same. A draw that enables nothing is repeated.
    """
    about = numbers(draws.kind)
    leading = {name: axis for axis, name in axes(draws.kind).items() if name in draws.ranges}
    source = random.Random(f"{draws.seed} {number}")
    while not any(on := [source.random() < draws.share for _ in leading]):
        pass
    drawn: dict[str, Any] = {
        name: _between(source, draws.ranges[name], log=about[name].logarithmic) for name in leading
    }
    for name, (smallest, largest) in draws.ranges.items():
        if name not in leading:
            drawn[name] = smallest + int(source.random() * (largest - smallest + 1))
    chosen = {axis for axis, taken in zip(leading.values(), on, strict=True) if taken}
    kept = {name: value for name, value in drawn.items() if about[name].axis in chosen}
    return Swept(f"{RANDOM}_{number:03d}", {**off, **kept}, RANDOM, number)


def _between(source: random.Random, ends: Sequence[float], *, log: bool) -> float:
    """A random number between the ends, rounded to _DIGITS; it is drawn even if the setting does not use it."""
    low, high = (math.log(end) for end in ends) if log else ends
    value = low + source.random() * (high - low)
    return float(f"{math.exp(value) if log else value:.{_DIGITS}g}")


def _check_fields(kind: type, where: str, names: Sequence[str]) -> None:
    """Raise SettingsError for a field that belongs to no axis."""
    swept = [name for name, about in numbers(kind).items() if about.axis]
    for name in names:
        if name not in swept:
            raise SettingsError(f"{where}.{name}: not a number that a sweep can vary{nearest(name, swept)}; remove it")


def _limit(about: Number) -> float:
    return math.inf if about.below is UNSET else about.below  # type: ignore[return-value]


def _ends(about: Number) -> tuple[float, float]:
    """Exclusive limits of a row's strengths: the neutral value and the strongest possible one."""
    if about.neutral is None:
        return math.inf, 0.0
    if isinstance(about.neutral, float) and about.neutral > 0:
        return about.neutral, 0.0
    return 0.0, _limit(about)


def _between_words(about: Number) -> str:
    start, end = _ends(about)
    if start > end:
        return "above 0" + (f" and below {start:g}" if math.isfinite(start) else "")
    return f"above 0{_below(about)}"


def _below(about: Number) -> str:
    return "" if about.below is UNSET else f" and below {about.below:g}"
