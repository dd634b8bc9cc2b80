"""Whether what is measured over time stays level: straight lines fitted to everything after the warm-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Row = Mapping[str, float]
WARM_UP = 0.25  # share of the time that is left out
WINDOW = 120.0  # seconds over which a speed is taken


@dataclass(frozen=True)
class Measure:
    """Something that should be level.

    of : rows → times, s, and values.
    limit : largest growth from the warm-up to the end, as a share of the median.
    both : whether falling counts as well.
    """

    of: Callable[[Sequence[Row]], list[tuple[float, float]]]
    limit: float
    both: bool = False


def after_warm_up(rows: Sequence[Row], measure: Measure) -> list[tuple[float, float]]:
    """The times and values that count, while tasks were computed."""
    end = _end(rows)
    return [(at, value) for at, value in measure.of(rows) if WARM_UP * end <= at <= end]


def growth(rows: Sequence[Row], measure: Measure) -> float:
    """The growth from the warm-up to the end of a line fitted by least squares, as a share of the median value."""
    points = after_warm_up(rows, measure)
    if len(points) < 3:
        return 0.0
    times, values = np.array(points).T
    slope = np.polyfit(times, values, 1)[0]
    return float(slope * (times[-1] - times[0]) / max(np.median(values), 1e-9))


def _end(rows: Sequence[Row]) -> float:
    """The time at which the last task was stored."""
    most = max(row["stored"] for row in rows)
    return next(row["seconds"] for row in rows if row["stored"] == most)


def _plain(name: str) -> Callable[[Sequence[Row]], list[tuple[float, float]]]:
    return lambda rows: [(row["seconds"], row[name]) for row in rows]


def _each(name: str, of: str) -> Callable[[Sequence[Row]], list[tuple[float, float]]]:
    return lambda rows: [(row["seconds"], row[name] / row[of]) for row in rows if row[of]]


def _windows(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """All windows of measurements, one ending with each row."""
    first = 0
    for last, row in enumerate(rows):
        while rows[first]["seconds"] < row["seconds"] - WINDOW:
            first += 1
        if row["seconds"] - rows[first]["seconds"] >= WINDOW / 2:
            yield rows[first : last + 1]


def _passed(window: Sequence[Row], name: str) -> float:
    return window[-1][name] - window[0][name]


def speed(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Tasks a second and node."""
    return [
        (
            window[-1]["seconds"],
            _passed(window, "stored") / _passed(window, "seconds") / np.mean([r["nodes"] for r in window]),
        )
        for window in _windows(rows)
    ]


def cost(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """CPU seconds of the driver for a task."""
    return [
        (window[-1]["seconds"], _passed(window, "driver_seconds") / _passed(window, "stored"))
        for window in _windows(rows)
        if _passed(window, "stored")
    ]


LEVEL = {
    "memory of the driver, bytes": Measure(_plain("driver_bytes"), 0.05),
    "handles of the driver": Measure(_plain("driver_handles"), 0.05),
    "threads of the driver": Measure(_plain("driver_threads"), 0.05),
    "tasks a second and node": Measure(speed, 0.10, both=True),
    # Merges of a growing atlas may take a twentieth of the time, half as much again as all else that the driver does.
    "CPU seconds of the driver for a task": Measure(cost, 0.5),
    "bytes of OUT for a stored task": Measure(_each("out_bytes", "stored"), 0.05),
    "files in OUT": Measure(_plain("out_files"), 0.25),
    "memory of the head, bytes": Measure(_plain("head_bytes"), 0.10),
    "memory of a node, bytes": Measure(_each("nodes_bytes", "nodes"), 0.10),
}
