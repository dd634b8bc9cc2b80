"""Decide which task is sent when, which nodes it avoids, and when a run has to stop. Knows tasks and times, not Ray."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from jobs.outcome import Done, Failed, Outcome

_WINDOW, _PER_NODE = 50, 10  # last attempts that are judged together: at least so many, and so many for each node
_MOST = 0.8  # share of them that failed at which the run stops
_LONGEST_WAIT = 30.0  # seconds before another attempt on the same node
_SHOWN_FIRST = -1  # order of the tasks that start before all others


@dataclass(frozen=True)
class Node:
    """A machine.

    places : whether tasks need the device → how many of them it can run at once.
    """

    id: str
    name: str
    places: Mapping[bool, int]


@dataclass(frozen=True)
class Policy:
    """How failures are met.

    retries : further attempts of a task after faults of machines.
    in_a_row : number of tasks that fail in a row on a node before it is left out.
    ahead : tasks in flight for each place: one runs, the others wait.
    limit : most tasks in flight; None for no limit.
    timeout_seconds : time that every task has at least; None for no limit at all.
    timeout_factor : how many times its estimated time a task may take.
    """

    retries: int = 3
    in_a_row: int = 3
    ahead: int = 2
    limit: int | None = None
    timeout_seconds: float | None = 600.0
    timeout_factor: float = 20.0

    def limit_of(self, task: Any) -> float | None:
        """Seconds after which a task counts as hanging, or None."""
        if self.timeout_seconds is None:
            return None
        return max(self.timeout_seconds, self.timeout_factor * getattr(task, "seconds", 0.0))


class TaskQueue:
    """Tasks that wait, in two lanes: those that need the device, and those that any machine can run."""

    def __init__(self, tasks: Iterable[Any] = ()) -> None:
        self._lanes: dict[bool, list[tuple[int, int, Any]]] = {True: [], False: []}
        self._numbers = count()
        self.add(tasks)

    def add(self, tasks: Iterable[Any], order: int = 0) -> None:
        """Append tasks.

        order : tasks of a lower order are taken first, whenever they were added, and before all those `shown_first`.
        """
        for task in tasks:
            rank = _SHOWN_FIRST if getattr(task, "shown_first", False) else order
            heapq.heappush(self._lanes[needs_device(task)], (rank, next(self._numbers), task))

    def take(self, lane: bool) -> Any | None:
        """Remove and return the next task of a lane; None if it is empty."""
        return heapq.heappop(self._lanes[lane])[2] if self._lanes[lane] else None

    def count(self, lane: bool) -> int:
        return len(self._lanes[lane])

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))


def needs_device(task: Any) -> bool:
    """Whether a task needs the device that the run computes on."""
    return getattr(task, "needs_device", True)


@dataclass(eq=False)
class Attempt:
    """One attempt of a task.

    number : from 1.
    avoid : ids of the nodes on which it must not run.
    earliest : time before which it is not sent.
    node : id of the node on which it runs; None until it has started.
    started : time at which it started.
    """

    task: Any
    number: int = 1
    avoid: frozenset[str] = frozenset()
    earliest: float = 0.0
    node: str | None = None
    started: float | None = None

    @property
    def lane(self) -> bool:
        return needs_device(self.task)


@dataclass
class _History:
    """What is known of a task after failures.

    faults : attempts that failed by the fault of a machine and count.
    nodes : ids of the nodes on which it failed.
    own : its failure by its own fault, with the node, until another node confirms it.
    """

    faults: int = 0
    nodes: set[str] = field(default_factory=set)
    own: tuple[str, Failed] | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to nodes or attempts: joined, left, left_out, started, again."""

    name: str
    facts: Mapping[str, Any]


class Dispatch:
    """Sends tasks, and answers failures.

    A task that fails by the fault of a machine is tried on another one, and so is a task that fails by its own fault,
    once: if it succeeds there, the first machine was at fault. A machine on which several tasks in a row failed is left
    out. If no machine is left, or most attempts fail, `stopped` says why the run has to end.

    Times are seconds of one monotonic clock.
    """

    def __init__(self, policy: Policy, queue: TaskQueue) -> None:
        self._policy, self._queue = policy, queue
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._in_a_row: dict[str, dict[int, str]] = {}  # node → tasks that failed since its last success, with reasons
        self._flying: dict[bool, set[Attempt]] = {True: set(), False: set()}
        self._again: dict[bool, deque[Attempt]] = {True: deque(), False: deque()}
        self._histories: dict[int, _History] = {}
        self._last: deque[tuple[str | None, str | None]] = deque()  # node and reason of attempts; None for a success
        self._since: dict[bool, float] = {}
        self._events: list[Event] = []
        self.stopped: str | None = None

    # Nodes

    def see(self, nodes: Sequence[Node], now: float) -> None:
        """Take note of the nodes that there are now."""
        present = {node.id: node for node in nodes}
        for node in nodes:
            if node.id not in self._nodes:
                self._names[node.id] = node.name
                self._tell("joined", node=node.name, places=max(node.places.values()))
        for gone in self._nodes.keys() - present.keys():
            self._in_a_row.pop(gone, None)
            self._tell("left", node=self._names[gone])
        self._nodes = present

    def name(self, node: str | None) -> str:
        """The name of a node, present or past; "" if it is not known."""
        return self._names.get(node, "") if node is not None else ""

    def places(self, lane: bool) -> int:
        """Number of tasks of a lane that the nodes can run at once."""
        return sum(node.places[lane] for node in self._healthy())

    def waiting_since(self, now: float) -> float | None:
        """Since when tasks have waited for a node that can run them; None if no task does."""
        for lane in (True, False):
            wanted = self._queue.count(lane) + len(self._again[lane]) + len(self._flying[lane])
            if wanted and not self.places(lane):
                self._since.setdefault(lane, now)
            else:
                self._since.pop(lane, None)
        return min(self._since.values(), default=None)

    # Attempts

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing waits."""
        return not (self._queue or any(self._flying.values()) or any(self._again.values()))

    @property
    def in_flight(self) -> int:
        return sum(map(len, self._flying.values()))

    def next(self, now: float) -> Iterator[Attempt]:
        """The attempts to send now."""
        for lane in (True, False):
            while self._room(lane) > 0:
                attempt = self._next(lane, now)
                if attempt is None:
                    break
                self._flying[lane].add(attempt)
                yield attempt

    def next_wait(self, now: float) -> float | None:
        """Seconds until an attempt that has to wait may be sent; None if there is none."""
        times = [attempt.earliest for waiting in self._again.values() for attempt in waiting]
        return max(0.0, min(times) - now) if times else None

    def started(self, attempt: Attempt, node: str, now: float) -> None:
        """An attempt has begun on a node."""
        attempt.node, attempt.started = node, now
        self._tell("started", task=attempt.task, node=self.name(node), attempt=attempt.number)

    def ended(self, attempt: Attempt, outcome: Outcome, now: float) -> Outcome | None:
        """The outcome of a task after an attempt of it; None if it is tried again."""
        self._flying[attempt.lane].discard(attempt)
        outcome = replace(outcome, node=self.name(attempt.node) if attempt.node is not None else outcome.node)
        history = self._histories.get(id(attempt.task))
        if isinstance(outcome, Done):
            self._succeeded(attempt, history)
            return self._settled(attempt, outcome)
        history = self._histories.setdefault(id(attempt.task), _History())
        if not outcome.environment:
            return self._failed_itself(attempt, outcome, history, now)
        return self._failed_by_machine(attempt, outcome, history, now)

    def overdue(self, now: float) -> list[Attempt]:
        """The attempts that hang; they are to be cancelled, and ended by `timed_out`."""
        late = []
        for attempt in (one for flying in self._flying.values() for one in flying):
            limit = self._policy.limit_of(attempt.task)
            if attempt.started is not None and limit is not None and now - attempt.started > limit:
                late.append(attempt)
        return late

    def timed_out(self, attempt: Attempt, now: float) -> Failed:
        """The failure of an attempt that hangs."""
        seconds = now - (attempt.started if attempt.started is not None else now)
        reason = f"it ran for {seconds:.0f} s, longer than its limit of {self._policy.limit_of(attempt.task):.0f} s"
        return Failed(reason, reason, environment=True, seconds=seconds)

    def stranded(self) -> list[Attempt]:
        """The attempts that have not begun, and avoid every node; they are to be cancelled, and sent by `resend`."""
        return [
            attempt
            for lane, flying in self._flying.items()
            for attempt in flying
            if attempt.started is None and attempt.avoid and self.places(lane)
            and not any(node.places[lane] for node in self._healthy() if node.id not in attempt.avoid)
        ]  # fmt: skip

    def resend(self, attempt: Attempt) -> None:
        """An attempt was cancelled before it began, and waits again."""
        self._flying[attempt.lane].discard(attempt)
        self._again[attempt.lane].appendleft(Attempt(attempt.task, attempt.number))

    def events(self) -> list[Event]:
        """What happened since the last call."""
        told, self._events = self._events, []
        return told

    # Inside

    def _healthy(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.id not in self._left_out]

    def _room(self, lane: bool) -> int:
        """How many more tasks of a lane may be in flight; without a place, a few, so that a cluster grows for them."""
        ahead = self._policy.ahead
        room = max(ahead * self.places(lane), ahead) - len(self._flying[lane])
        return room if self._policy.limit is None else min(room, self._policy.limit - self.in_flight)

    def _next(self, lane: bool, now: float) -> Attempt | None:
        waiting = self._again[lane]
        for _ in range(len(waiting)):
            attempt = waiting.popleft()
            if attempt.earliest <= now:
                attempt.avoid = self._avoided(attempt.task)
                return attempt
            waiting.append(attempt)
        task = self._queue.take(lane)
        return None if task is None else Attempt(task, avoid=self._avoided(task))

    def _avoided(self, task: Any) -> frozenset[str]:
        """The nodes on which a task must not run: those left out, and if others are there, those on which it failed."""
        out = frozenset(self._left_out & self._nodes.keys())
        history = self._histories.get(id(task))
        if history is None:
            return out
        failed = frozenset(history.nodes & self._nodes.keys())
        return out | failed if self._others(needs_device(task), failed) else out

    def _others(self, lane: bool, than: Iterable[str]) -> bool:
        """Whether a healthy node other than these can run tasks of a lane."""
        return any(node.places[lane] and node.id not in than for node in self._healthy())

    def _succeeded(self, attempt: Attempt, history: _History | None) -> None:
        self._remember(attempt, None)
        if attempt.node is not None:
            self._in_a_row.pop(attempt.node, None)
        if history is not None and history.own is not None:  # it failed by its own fault elsewhere, and not here
            node, failure = history.own
            self._blame(node, attempt, failure.reason)

    def _failed_itself(self, attempt: Attempt, outcome: Failed, history: _History, now: float) -> Outcome | None:
        self._remember(attempt, None)
        if history.own is None and attempt.node is not None and self._others(attempt.lane, {attempt.node}):
            history.own = attempt.node, outcome
            history.nodes.add(attempt.node)
            return self._later(attempt, outcome, now, 0.0)
        return self._settled(attempt, outcome)

    def _failed_by_machine(self, attempt: Attempt, outcome: Failed, history: _History, now: float) -> Outcome | None:
        known_sick = attempt.node in self._left_out
        if not known_sick:
            self._remember(attempt, outcome.reason)
            history.faults += 1
            if attempt.node is not None:
                history.nodes.add(attempt.node)
                self._blame(attempt.node, attempt, outcome.reason)
            self._stop_if_most_fail()
        if history.faults > self._policy.retries:
            return self._settled(attempt, outcome)
        elsewhere = self._others(attempt.lane, history.nodes)
        return self._later(attempt, outcome, now, 0.0 if elsewhere else min(2.0 ** (history.faults - 1), _LONGEST_WAIT))

    def _later(self, attempt: Attempt, outcome: Failed, now: float, wait: float) -> None:
        self._again[attempt.lane].append(Attempt(attempt.task, attempt.number + 1, earliest=now + wait))
        self._tell("again", task=attempt.task, node=outcome.node, reason=outcome.reason, attempt=attempt.number)

    def _settled(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        self._histories.pop(id(attempt.task), None)
        return outcome

    def _blame(self, node: str, attempt: Attempt, reason: str) -> None:
        """Count a task against a node, and leave the node out after several in a row."""
        if node in self._left_out or node not in self._nodes:
            return
        failed = self._in_a_row.setdefault(node, {})
        failed[id(attempt.task)] = reason
        if len(failed) < self._policy.in_a_row:
            return
        usual = _most_frequent(failed.values())
        self._left_out.add(node)
        self._last = deque(one for one in self._last if one[0] != node)
        if any(self._others(lane, ()) for lane in (True, False) if self._nodes[node].places[lane]):
            self._tell("left_out", node=self.name(node), reason=usual, tasks=len(failed))
        else:
            where = f"on {self.name(node)}, and no other machine is left" if len(self._names) > 1 else "on this machine"
            self.stopped = f"{len(failed)} tasks in a row failed {where}: {usual}"

    def _remember(self, attempt: Attempt, reason: str | None) -> None:
        self._last.append((attempt.node, reason))
        while len(self._last) > self._window():
            self._last.popleft()

    def _window(self) -> int:
        return max(_WINDOW, _PER_NODE * len(self._nodes))

    def _stop_if_most_fail(self) -> None:
        if self.stopped is not None or len(self._last) < _MOST * self._window():
            return
        reasons = [reason for _, reason in self._last if reason is not None]
        if len(reasons) >= _MOST * self._window():
            self.stopped = f"{len(reasons)} of the last {len(self._last)} attempts failed: {_most_frequent(reasons)}"

    def _tell(self, name: str, **facts: Any) -> None:
        self._events.append(Event(name, facts))


def places(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """How many tasks with these needs a machine with these resources can run at once.

    A share of a GPU lies on one GPU, so half a GPU and a whole one do not share.
    """
    most = []
    for name, need in needs.items():
        if need <= 0:
            continue
        amount = resources.get(name, 0.0)
        if name == "GPU" and need < 1:
            most.append(int(amount) * int(1 / need + 1e-9))
        else:
            most.append(int(amount / need + 1e-9))
    return min(most, default=0)


def _most_frequent(reasons: Iterable[str]) -> str:
    return Counter(reasons).most_common(1)[0][0]
