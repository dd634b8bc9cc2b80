"""What a run has done and has left, by method and by node, kept in OUT/log/status.json for `make status`."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.dispatch import Event
from jobs.outcome import Done, Outcome
from jobs.run_log import write_event

STATUS = "status.json"
_EVERY = 1.0  # seconds between two writes
_PRIOR = 5.0  # seconds of tasks that took what was estimated, counted with those measured: the first tasks may be small


@dataclass
class MethodCount:
    """The tasks of a method whose number is known so far.

    stored : shared by this run and earlier ones; `kept` of them are of earlier ones.
    count_total, count_stored, count_kept : the same in what `noun` names.
    estimated_left : estimated seconds of the tasks that are left, on one place.
    estimated, taken : estimated and true seconds of the tasks that this run computed.
    """

    noun: str
    total: int = 0
    kept: int = 0
    stored: int = 0
    running: int = 0
    failed: int = 0
    failed_before: int = 0
    count_total: int = 0
    count_kept: int = 0
    count_stored: int = 0
    estimated_left: float = 0.0
    estimated: float = 0.0
    taken: float = 0.0

    @property
    def left(self) -> int:
        """Tasks that are still to be computed, those that run included."""
        return self.total - self.stored - self.failed - self.failed_before

    def slowness(self, usual: float) -> float:
        """True seconds for each estimated one. usual : that of all methods, which counts until this one is measured."""
        return (self.taken + _PRIOR * usual) / (self.estimated + _PRIOR)


@dataclass
class NodeCount:
    """What a node has done in this run.

    failed : attempts that failed there.
    seconds : time of its tasks.
    state : "present", "gone" or "left out".
    reason : why it was left out.
    """

    running: int = 0
    stored: int = 0
    failed: int = 0
    seconds: float = 0.0
    places: int = 0
    state: str = "present"
    reason: str = ""


@dataclass
class Ledger:
    """Keeps count of a run, and writes it to a file at most once a second.

    folder : the folder of logs; None to write nothing.
    clock : a monotonic clock, so that a change of the time of day changes no rate.
    expected : estimated seconds of all tasks of the run, also of those that are cut when others are done; 0 if all are
        known.
    """

    folder: Path | None = None
    clock: Callable[[], float] = time.monotonic
    expected: float = 0.0
    methods: dict[str, MethodCount] = field(default_factory=dict)
    nodes: dict[str, NodeCount] = field(default_factory=dict)
    last_failure: str = ""
    state: str = "running"

    def __post_init__(self) -> None:
        self._began, self._wall = self.clock(), datetime.now().astimezone()
        self._written = self._began - _EVERY
        self._running: dict[int, str] = {}  # task → node
        self._first: dict[str, float] = {}  # method → time at which its first task started
        self._most: dict[str, int] = {}  # node → most tasks that ran there at once
        self._cut = 0.0  # estimated seconds of the tasks that were added to be computed

    def add(self, tasks: Iterable[Any], *, stored: Iterable[Any], failed_before: Iterable[Any]) -> None:
        """More tasks are known. stored, failed_before : further tasks, which need not be computed."""
        for kind, some in (("left", tasks), ("kept", stored), ("failed_before", failed_before)):
            for task in some:
                method = self.methods.setdefault(task.method, MethodCount(task.noun))
                method.total += 1
                method.count_total += task.count
                if kind == "kept":
                    method.kept += 1
                    method.stored += 1
                    method.count_kept += task.count
                    method.count_stored += task.count
                elif kind == "failed_before":
                    method.failed_before += 1
                else:
                    method.estimated_left += task.seconds
                    self._cut += task.seconds
        self.write()

    def note(self, event: Event) -> None:
        """Take note of what happened to nodes and attempts."""
        facts = dict(event.facts)
        task, name = facts.pop("task", None), facts.get("node", "")
        if event.name == "tick":
            self.write()
            return
        node = self.nodes.setdefault(name, NodeCount())
        if event.name == "joined":
            node.state, node.places = "present", facts["places"]
        elif event.name == "left":
            node.state, node.running = "gone", 0
        elif event.name == "left_out":
            node.state, node.reason = "left out", facts["reason"]
        elif event.name == "started":
            self._running[id(task)] = name
            self._first.setdefault(task.method, self.clock())
            node.running += 1
            self._most[name] = max(self._most.get(name, 0), node.running)
            self.methods[task.method].running += 1
        elif event.name == "again":
            self._stopped_running(task)
            node.failed += 1
            self.last_failure = facts["reason"]
        if task is not None:
            facts = {"task": task.id, "method": task.method, "of": task.words, **facts}
        write_event(event.name, **facts)
        self.write()

    def settled(self, task: Any, outcome: Outcome) -> None:
        """A task has its outcome, and a result is stored."""
        self._stopped_running(task)
        method, node = self.methods[task.method], self.nodes.setdefault(outcome.node, NodeCount())
        method.estimated_left = max(0.0, method.estimated_left - task.seconds)
        facts = {"task": task.id, "method": task.method, "of": task.words, "node": outcome.node}
        facts["seconds"] = round(outcome.seconds, 3)
        node.seconds += outcome.seconds
        if isinstance(outcome, Done):
            method.stored, method.count_stored = method.stored + 1, method.count_stored + task.count
            method.estimated, method.taken = method.estimated + task.seconds, method.taken + outcome.seconds
            node.stored += 1
            write_event("stored", **facts, bytes=len(outcome.data))
        else:
            method.failed, node.failed = method.failed + 1, node.failed + 1
            self.last_failure = outcome.reason
            fault = "environment" if outcome.environment else "task"
            write_event("failed", **facts, fault=fault, reason=outcome.reason, detail=outcome.detail)
        self.write()

    def seconds_left(self) -> float | None:
        """Time until all tasks are done, by the measured speed; None before anything was measured."""
        estimated = sum(method.estimated for method in self.methods.values())
        taken = sum(method.taken for method in self.methods.values())
        if not estimated or not taken:
            return None
        usual, uncut = (taken + _PRIOR) / (estimated + _PRIOR), max(0.0, self.expected - self._cut)
        work = uncut * usual + sum(method.estimated_left * method.slowness(usual) for method in self.methods.values())
        places = sum(self._most.get(name, 0) for name, node in self.nodes.items() if node.state == "present")
        at_once = places if uncut else min(places, sum(method.left for method in self.methods.values()))
        return work / max(1, at_once)

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self._began

    def rate(self, method: str) -> float:
        """What `noun` names, a second, since the first task of the method started."""
        counted, first = self.methods[method], self._first.get(method)
        if first is None:
            return 0.0
        return (counted.count_stored - counted.count_kept) / max(self.clock() - first, 1e-9)

    def record(self) -> dict[str, Any]:
        """The whole status as plain values."""
        return {
            "state": self.state,
            "began": self._wall.isoformat(timespec="seconds"),
            "updated": datetime.now().astimezone().isoformat(timespec="seconds"),
            "seconds": round(self.elapsed(), 1),
            "seconds_left": self.seconds_left(),
            "process": os.getpid(),
            "host": platform.node(),
            "methods": {
                name: {**asdict(method), "left": method.left, "rate": self.rate(name)}
                for name, method in self.methods.items()
            },
            "nodes": {name: asdict(node) for name, node in self.nodes.items()},
            "last_failure": self.last_failure,
        }

    def write(self, *, now: bool = False) -> None:
        """Replace the file, if a second has passed since the last time or if `now`. A full disk stops nothing here."""
        if self.folder is None or not now and self.clock() - self._written < _EVERY:
            return
        self._written = self.clock()
        temporary = self.folder / f".{STATUS}.part"
        with suppress(OSError):
            temporary.write_text(json.dumps(self.record()), encoding="utf-8")
            temporary.replace(self.folder / STATUS)

    def close(self, state: str) -> None:
        """Write the last status. state : "done", "stopped" or "failed"."""
        self.state = state
        self._running.clear()
        for counted in (*self.methods.values(), *self.nodes.values()):
            counted.running = 0
        write_event("end", state=state, seconds=round(self.elapsed(), 1))
        self.write(now=True)

    def _stopped_running(self, task: Any) -> None:
        node = self._running.pop(id(task), None)
        if node is not None:
            self.nodes[node].running = max(0, self.nodes[node].running - 1)
            self.methods[task.method].running -= 1
