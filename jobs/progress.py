"""Progress for people: what is done, results per second, time left; one bar for each method."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from pipeline.task import Task

_QUIET_SECONDS = 20  # between lines where the output is no terminal


class Bars:
    """A tqdm bar on a terminal, or else periodic lines. The time left follows from the cost of the tasks left."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def start(self, method: str, total: Sequence[Task], done: Sequence[Task]) -> None:
        self._method, self._noun = method, total[0].noun
        self._total = sum(task.count for task in total)
        self._pictures = self._before = sum(task.count for task in done)
        self._left = sum(task.seconds for task in total) - sum(task.seconds for task in done)
        self._worked = 0.0
        self._started = self._printed = time.monotonic()
        if self._total == self._before:
            return
        if sys.stderr.isatty():
            form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}{postfix}]"
            self._bar = tqdm(total=self._total, initial=self._before, desc=method, unit=self._noun, bar_format=form)

    def advance(self, task: Task) -> None:
        self._pictures += task.count
        self._worked += task.seconds
        self._left -= task.seconds
        elapsed = time.monotonic() - self._started
        rate = (self._pictures - self._before) / max(elapsed, 1e-9)
        left = tqdm.format_interval(elapsed * max(self._left, 0.0) / max(self._worked, 1e-9))
        if self._bar is not None:
            self._bar.set_postfix_str(f"{rate:.1f} {self._noun}/s, {left} left", refresh=False)
            self._bar.update(task.count)
        elif time.monotonic() - self._printed > _QUIET_SECONDS or self._pictures == self._total:
            self._printed = time.monotonic()
            print(
                f"{self._method}: {self._pictures}/{self._total} {self._noun}, {rate:.1f} {self._noun}/s, {left} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
