"""Compute thousands of tasks while simulated nodes come and go, and see whether memory, handles and speed stay level.

usage: python -m tests.torture.soak [tasks=NUMBER] [minutes=NUMBER] [nodes=NUMBER] [seed=NUMBER] [out=FOLDER]

tasks : at least so many, each a picture of a tiny network, with pauses so that all take about `minutes`.
nodes : most at a time, with one CPU each.
seed : of the moments at which nodes come and go.
out : folder for soak.json and soak.png.
The exit code is 1 if a command fails, or anything grows that should be level.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.folder import MERGE_SHARE
from jobs.run_log import SUFFIX
from tests.torture import processes
from tests.torture.accounts import account
from tests.torture.arguments import read
from tests.torture.levels import LEVEL, Measure, growth
from tests.torture.nodes import SimulatedCluster
from tests.torture.request import ROOT, WHOLE, command, environment, given

OUT = Path("atlases/soak")
STYLES = ("low_frequency", "high_frequency", "sparse", "contribution")
EVERY = 5.0  # seconds between two measurements
STAY = (15.0, 45.0)  # seconds between two changes of the nodes
MERGES = {"merge_seconds": 30.0, "merge_share": MERGE_SHARE}
OVERHEAD = 0.08  # seconds of a task beside its pause, about
UNITS = 12  # of the network: tasks of a style and sample


class Soak:
    """One long run, its nodes, and what is measured."""

    def __init__(self, folder: Path, tasks: int, minutes: float, nodes: int, seed: int) -> None:
        self._out, self._nodes, self._random = folder / "atlas", nodes, random.Random(seed)
        samples = math.ceil(tasks / (UNITS * len(STYLES)))
        mean = max(0.0, minutes * 60 * (nodes - 0.5) / tasks - OVERHEAD)  # half of the time a node is missing
        self._overrides = (*given(folder / "given"), f"styles=[{','.join(STYLES)}]", f"samples={samples}",
                           "dgn.samples=2", "pages=false", "cluster=ray", "cluster.memory_bytes=0",
                           *(f"style.{name}.max_iter=5" for name in STYLES), f'out="{self._out}"')  # fmt: skip
        self._pause = 2 * mean
        self._cluster = SimulatedCluster(folder)
        self._printed = folder / "printed.txt"
        self.rows: list[dict[str, float]] = []
        self.changes: list[tuple[float, int]] = []  # time, nodes from then on
        self.problems: list[str] = []

    def run(self) -> None:
        """Run the command to its end."""
        with open(self._printed, "wb") as printed:
            self._cluster.start(self._nodes)
            address = f"cluster.address={self._cluster.address}"
            words = command((*self._overrides, address), whole_below=WHOLE, pause=self._pause, **MERGES)
            process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=printed, stderr=printed)
            try:
                self._watch(process)
            finally:
                process.kill()
                process.wait()
                self._cluster.stop()
        if process.returncode != 0:
            said = self._printed.read_text(errors="replace")[-2000:]
            self.problems.append(f"the command ended with exit code {process.returncode}: {said}")
        self.problems += account(self._out / "log").problems

    def _watch(self, process: subprocess.Popen) -> None:
        """Measure, and let nodes come and go, until the command ends."""
        began = time.monotonic()
        self.changes.append((0.0, len(self._cluster.nodes)))
        due, change = began, began + self._random.uniform(*STAY)
        while process.poll() is None:
            now = time.monotonic()
            if now >= due:
                self.rows.append({"seconds": now - began, **self._measured(process.pid)})
                due = now + EVERY
            self._cluster.remove_dead()
            if now >= change:
                if len(self._cluster.nodes) < self._nodes:
                    self._cluster.add()
                else:
                    self._cluster.kill_node(self._random)
                self.changes.append((time.monotonic() - began, len(self._cluster.nodes)))
                change = time.monotonic() + self._random.uniform(*STAY)
            time.sleep(0.2)

    def _measured(self, driver: int) -> dict[str, float]:
        """One row of numbers: bytes, counts."""
        groups = self._cluster.processes()
        memory = {name: [processes.resident(pid) for pid in pids] for name, pids in groups.items()}
        files = [Path(folder, name) for folder, _, names in os.walk(self._out) for name in names]
        return {
            "stored": self._stored(),
            "load": os.getloadavg()[0],
            "driver_seconds": processes.seconds(driver),
            "driver_bytes": processes.resident(driver),
            "driver_handles": processes.handles(driver),
            "driver_threads": processes.threads(driver),
            "out_bytes": sum(map(_size, files)),
            "out_log_bytes": sum(_size(path) for path in files if path.suffix == SUFFIX),
            "out_files": len(files),
            "nodes": len(self._cluster.nodes),
            "workers": len(groups["workers"]),
            "head_bytes": sum(memory["head"]),
            "nodes_bytes": sum(memory["nodes"]) + sum(memory["workers"]),
            "head_handles": sum(map(processes.handles, groups["head"])),
        }

    def _stored(self) -> int:
        try:
            status = json.loads((self._out / "log" / "status.json").read_text())
        except (OSError, ValueError):
            return 0
        return sum(method["stored"] for method in status["methods"].values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # renamed or removed meanwhile
        return 0


def main(arguments: Sequence[str]) -> int:
    """Soak, write the numbers and the plot, print a table, and return the exit code."""
    from tests.torture.soak_plot import draw

    asked = read("soak", arguments, {"tasks": 10_000, "minutes": 30.0, "nodes": 4, "seed": 0, "out": str(OUT)})
    tasks, minutes, nodes, seed = (asked[name] for name in ("tasks", "minutes", "nodes", "seed"))
    out = Path(asked["out"])
    os.environ.update(environment())
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
    try:
        soak = Soak(folder, tasks, minutes, nodes, seed)
        soak.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    grown = {name: growth(soak.rows, measure) for name, measure in LEVEL.items()}
    out.mkdir(parents=True, exist_ok=True)
    record = {"tasks": tasks, "nodes": nodes, "seed": seed, "growth": grown, "rows": soak.rows, "changes": soak.changes}
    (out / "soak.json").write_text(json.dumps(record, indent=0))
    draw(soak.rows, out / "soak.png")
    return _print(soak, grown)


def _print(soak: Soak, grown: dict[str, float]) -> int:
    last, problems = soak.rows[-1], list(soak.problems)
    changes = len(soak.changes) - 1
    print(f"{last['stored']:.0f} tasks in {last['seconds'] / 60:.1f} minutes, {changes} changes of the nodes")
    print(f"{'after the warm-up':<34} {'median':>10} {'growth':>10} {'limit':>8}")
    for name, measure in LEVEL.items():
        value = _median(soak.rows, measure)
        print(f"{name:<34} {value:>10.4g} {100 * grown[name]:>9.1f}% {100 * measure.limit:>7.0f}%")
        if abs(grown[name]) > measure.limit and (grown[name] > 0 or measure.both):
            problems.append(f"{name} is not level: {100 * grown[name]:+.1f} % from the warm-up to the end")
    for problem in problems:
        print(f"wrong: {problem}")
    return 1 if problems else 0


def _median(rows: Sequence[dict[str, float]], measure: Measure) -> float:
    from statistics import median

    from tests.torture.levels import after_warm_up

    return median(value for _, value in after_warm_up(rows, measure))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
