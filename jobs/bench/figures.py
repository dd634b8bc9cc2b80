"""Figures of a measurement, and timing that is robust against drifts of a machine's speed."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Figures:
    """Named numbers with their units of measure, in the order in which they were added.

    spreads : name → first and third quartile, of figures that are medians.
    points : name → the curve on which the figure lies, and where along it.
    live : also print each to standard error as it is added; for measurements of an hour, of which a part may fail.
    """

    rows: list[tuple[str, float, str]] = field(default_factory=list)
    live: bool = False
    spreads: dict[str, tuple[float, float]] = field(default_factory=dict)
    points: dict[str, tuple[str, float]] = field(default_factory=dict)

    def add(self, name: str, value: float, measure: str) -> None:
        self.rows.append((name, value, measure))
        if self.live:
            print(f"  {name}: {value:.3f} {measure}", file=sys.stderr, flush=True)

    def add_median(self, name: str, values: list[float], measure: str) -> None:
        """Add the median of the runs, with its quartiles."""
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        self.spreads[name] = low, high
        self.add(name, middle, measure)

    def add_point(self, curve: str, at: int, along: str, value: float, measure: str) -> None:
        """Add a point of a curve: the value at so many of what it grows along."""
        name = f"{curve}, {at:,} {along}"
        self.points[name] = curve, at
        self.add(name, value, measure)

    def print(self) -> None:
        width = max(len(name) for name, _, _ in self.rows)
        for name, value, measure in self.rows:
            print(f"  {name:{width}}  {value:12.3f} {measure}")


def seconds_in_turn(
    runs: int, *works: Callable[[], object], clock: Callable[[], float] = time.perf_counter, warm: bool = False
) -> list[list[float]]:
    """Seconds of each piece of work in each run, in the order A B A B …, after an extra run that does not count.

    warm : whether all has run before, so that no extra run is needed.
    clock : what counts seconds; time.process_time counts those of the processor, whatever else the machine does.
    """
    times: list[list[float]] = [[] for _ in works]
    for run in range(warm, runs + 1):
        for place, work in enumerate(works):
            start = clock()
            work()
            if run:
                times[place].append(clock() - start)
    return times


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median over the runs of above / below, pair by pair."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
