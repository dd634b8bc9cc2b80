"""Kill drivers, workers, nodes and heads while an atlas is computed, and compare it with one that nothing disturbed.

usage: python -m tests.torture [kills=NUMBER] [seed=NUMBER] [nodes=NUMBER] [samples=NUMBER] [keep=FOLDER]

kills : how many; atlases are made until they are used up, in turn as one whole file and in parts.
seed : of the kinds, the moments and the victims; an odd one begins with an atlas in parts.
nodes : with one CPU each; a dead one is replaced.
samples : pictures of each unit and style, 12 tasks each.
keep : a folder for the atlases and what the runs print; without it they are removed.
The exit code is 1 if a result differs, a task was computed without need, or anything is left.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.accounts import account
from tests.torture.arguments import read
from tests.torture.folders import differences
from tests.torture.nodes import SimulatedCluster
from tests.torture.request import OPEN, ROOT, WHOLE, command, environment, given

KINDS = {"worker": 8, "node": 5, "driver": 5, "head": 2}  # of twenty kills
WAIT = 3.0  # longest time between two kills, seconds of a run that computes
PAUSE = 0.4  # longest pause of a task, seconds
MERGES = {"merge_seconds": 0.5, "merge_share": 0.5}  # so that many deaths fall into one
HANGS = 300.0  # seconds without a kill and without a result after which a run counts as hanging
AT_ONCE = 0.25  # share of the new runs that may be hit before they compute anything


@dataclass
class Tally:
    """What was done, and what is wrong. commands : how often the command was started."""

    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    stored: int = 0
    again: int = 0
    twice: int = 0
    problems: list[str] = field(default_factory=list)


class Torture:
    """One atlas after the other, until the kills are used up."""

    def __init__(self, folder: Path, kills: int, seed: int, nodes: int, samples: int) -> None:
        self._folder, self._nodes, self._seed = folder, nodes, seed
        self._random = random.Random(seed)
        self._left = _kinds(kills, self._random)
        self._overrides = (*given(folder / "given"), f"samples={samples}")
        self._cluster = SimulatedCluster(folder)
        self._process: subprocess.Popen | None = None
        self._log = open(folder / "printed.txt", "wb")  # noqa: SIM115 - of all runs
        self._began = time.monotonic()
        self.tally = Tally()

    def run(self) -> Tally:
        """Make all atlases, each held to the one that nothing disturbed."""
        expected = self._folder / "undisturbed"
        self._start(expected, WHOLE, pause=0.0, cluster=("cluster=serial",))
        if self._process.wait() != 0:
            self.tally.problems.append("the undisturbed run failed")
            return self.tally
        forms, number = (WHOLE, OPEN), 0
        try:
            self._cluster.start(self._nodes)
            while self._left and not self.tally.problems:
                out = self._folder / f"atlas-{number}"
                self._atlas(out, forms[(self._seed + number) % 2])
                self._judge(expected, out)
                number += 1
        finally:
            self._end()
            self._cluster.stop()
            self._log.close()
        return self.tally

    def _atlas(self, out: Path, whole_below: float) -> None:
        """Run the command until the atlas is complete, and kill meanwhile."""
        self._run(out, whole_below)
        due, seen, heard = self._next(out, new=True), 0, time.monotonic()
        joining: list[float] = []
        while (code := self._process.poll()) is None:
            now = time.monotonic()
            if (size := _size(out / "log")) != seen:
                seen, heard = size, now
            if now - heard > HANGS:
                self.tally.problems.append(f"{out.name}: nothing has happened for {HANGS:.0f} s")
                return
            joining += [now] * self._cluster.remove_dead()
            if joining and now >= min(joining):
                joining.remove(min(joining))
                self._cluster.add()
            if due is None:
                due = self._next(out, new=False) if b'"event": "stored"' in _newest_run(out) else None
            elif self._left and now >= due:
                kind, heard = self._left.pop(), now
                if not self._kill(kind, out, whole_below):
                    self._left.append(kind)  # there was none: later
                elif kind == "node":
                    joining.append(now + self._random.uniform(0, WAIT))
                due = self._next(out, new=kind in ("driver", "head"))
            time.sleep(0.02)
        if code != 0:
            self.tally.problems.append(f"{out.name}: the command ended with exit code {code}, and nobody had killed it")

    def _next(self, out: Path, *, new: bool) -> float | None:
        """When to kill next; None for a run that is to compute something before."""
        if new and self._random.random() >= AT_ONCE:
            return None
        return time.monotonic() + self._random.uniform(0, WAIT)

    def _kill(self, kind: str, out: Path, whole_below: float) -> bool:
        """Kill something, and start again what has to be started by hand; False if there was nothing of this kind."""
        if kind == "worker":
            done = self._cluster.kill_worker(self._random)
        elif kind == "node":
            done = self._cluster.kill_node(self._random)
        elif kind == "driver":
            self._end()
            done = True
            self._run(out, whole_below)
        else:
            which = self._cluster.kill_head(self._random)
            self._await_end(out, which)
            done = True
            self._cluster.start(self._nodes)
            self._run(out, whole_below)
        if done:
            self.tally.kills[kind] += 1
            print(f"{time.monotonic() - self._began:6.0f} s  {out.name}: killed a {kind}", file=sys.stderr, flush=True)
        return done

    def _await_end(self, out: Path, which: str) -> None:
        """A command without a head must end by itself, with a line and no traceback.

        Only if it is joining at this moment, Ray may end the process itself, with exit code 1 and a line of its own.
        """
        printed = self._folder / "printed.txt"
        at = printed.stat().st_size
        try:
            code = self._process.wait(timeout=HANGS / 3)
        except subprocess.TimeoutExpired:
            self.tally.problems.append(f"{out.name}: the command goes on without a head ({which})")
            self._end()
            return
        said = printed.read_bytes()[at:].decode(errors="replace")
        joined = b'"event": "joined"' in _newest_run(out)
        if code not in ((0, 2) if joined else (0, 1, 2)) or "Traceback" in said:
            self.tally.problems.append(
                f"{out.name}: without a head ({which}) the command ended with exit code {code}: {said[-2000:]}"
            )

    def _run(self, out: Path, whole_below: float) -> None:
        self._start(out, whole_below, PAUSE, ("cluster=ray", f"cluster.address={self._cluster.address}",
                                              "cluster.memory_bytes=0"))  # fmt: skip

    def _start(self, out: Path, whole_below: float, pause: float, cluster: Sequence[str]) -> None:
        self.tally.commands += 1
        words = command(
            (*self._overrides, *cluster, f'out="{out}"'),
            whole_below=whole_below,
            pause=pause,
            **MERGES,
        )
        self._process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=self._log, stderr=self._log)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _judge(self, expected: Path, out: Path) -> None:
        """Compare a complete atlas with the undisturbed one, and its logs with what may have happened."""
        if self.tally.problems:
            return
        seen = account(out / "log")
        self.tally.stored += len(seen.stored)
        self.tally.again += seen.again
        self.tally.twice += sum(count - 1 for count in seen.stored.values())
        self.tally.problems += [f"{out.name}: {line}" for line in seen.problems]
        if seen.lost > self._nodes:  # one CPU each
            self.tally.problems.append(f"{out.name}: a run that died had {seen.lost} tasks running")
        self.tally.problems += [f"{out.name}: {line}" for line in differences(expected, out)]


def _kinds(kills: int, choice: random.Random) -> list[str]:
    """The kinds of all kills, in their shares, shuffled."""
    twenty = [kind for kind, count in KINDS.items() for _ in range(count)]
    kinds = [twenty[place * len(twenty) // kills] for place in range(kills)]
    choice.shuffle(kinds)
    return kinds


def _newest_run(out: Path) -> bytes:
    """What the log says of the last run; two that begin in one second share a file."""
    logs = sorted((out / "log").glob("*.jsonl"))
    return logs[-1].read_bytes().rpartition(b'"event": "run"')[2] if logs else b""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jsonl")) if folder.is_dir() else 0


def main(arguments: Sequence[str]) -> int:
    """Torture, print a table, and return the exit code."""
    numbers = read("torture", arguments, {"kills": 50, "seed": 0, "nodes": 3, "samples": 8, "keep": None})
    keep = numbers.pop("keep")
    folder = Path(keep) if keep is not None else Path(tempfile.mkdtemp(prefix="torture-", dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(environment())
    started = time.monotonic()
    try:
        tally = Torture(folder, **numbers).run()
        _print(tally, time.monotonic() - started)
        if tally.problems:
            print((folder / "printed.txt").read_bytes()[-3000:].decode(errors="replace"), file=sys.stderr)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if tally.problems else 0


def _print(tally: Tally, seconds: float) -> None:
    rows = [(f"killed: {kind}", tally.kills[kind]) for kind in KINDS]
    rows += [
        ("commands started", tally.commands),
        ("tasks stored", tally.stored),
        ("in flight at a kill, computed again", tally.again),
        ("stored twice", tally.twice),
        ("seconds", round(seconds)),
    ]
    for name, value in rows:
        print(f"{name:<40} {value:>8}")
    print(f"{'same files, same bytes':<40} {'no' if tally.problems else 'yes':>8}")
    for problem in tally.problems:
        print(f"wrong: {problem}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
