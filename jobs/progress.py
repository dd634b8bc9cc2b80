"""Progress for people: what is done, results per second, time left; one bar for each method."""

from __future__ import annotations

import sys

from tqdm import tqdm

from jobs.ledger import Ledger

_QUIET_SECONDS = 20  # between lines where the output is no terminal
_WAIT_SECONDS = 15, 60  # without any line, until the first and between further ones that say what runs


class Bars:
    """Shows a ledger: tqdm bars on a terminal, or else periodic lines. The time left is that of all methods."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._bars: dict[str, tqdm] = {}
        self._printed: dict[str, float] = {}
        self._terminal = sys.stderr.isatty()
        self._begun: set[str] = set()
        self._spoken, self._waits = 0.0, 0  # time of the last line; lines of what runs, since a task ended

    def begin(self, method: str) -> None:
        """Print what begins, when the first task of a method starts."""
        if method in self._begun:
            return
        self._begun.add(method)
        if not self._terminal:
            counted = self._ledger.methods[method]
            count, work = counted.count_total - counted.count_kept, tqdm.format_interval(counted.estimated_left)
            self._print(f"{method}: begins, {count} {counted.noun}, about {work} of one worker")

    def wait(self) -> None:
        """Show that work goes on while no task ends; called every second or so."""
        for bar in self._bars.values():
            bar.refresh()
        running = [name for name, counted in self._ledger.methods.items() if counted.running]
        if self._terminal or not running:
            return
        if self._ledger.elapsed() - self._spoken >= _WAIT_SECONDS[min(self._waits, 1)]:
            self._waits += 1
            since = tqdm.format_interval(self._ledger.elapsed())
            self._print(f"running for {since}: {', '.join(running)}")

    def _print(self, line: str) -> None:
        self._spoken = self._ledger.elapsed()
        print(line, file=sys.stderr, flush=True)

    def show(self, method: str) -> None:
        """Show what has changed for a method, after one of its tasks has ended."""
        counted, now = self._ledger.methods[method], self._ledger.elapsed()
        rate, left = self._ledger.rate(method), self._ledger.seconds_left()
        words = f"{rate:.1f} {counted.noun}/s, {'?' if left is None else tqdm.format_interval(left)} left"
        if self._terminal:
            bar = self._bars.get(method)
            if bar is None:
                form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}{postfix}]"
                bar = self._bars[method] = tqdm(
                    total=counted.count_total,
                    initial=counted.count_kept,
                    desc=method,
                    unit=counted.noun,
                    bar_format=form,
                    position=len(self._bars),
                )
            bar.total = counted.count_total
            bar.set_postfix_str(words, refresh=False)
            bar.update(counted.count_stored - bar.n)
        elif not counted.left or now - self._printed.setdefault(method, now) > _QUIET_SECONDS:
            self._printed[method] = now
            done = f"{counted.count_stored}/{counted.count_total} {counted.noun}"
            self._waits = 0
            self._print(f"{method}: {done}, {words}")

    def say(self, line: str) -> None:
        """Print a line, above the bars."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()
