"""Where tasks run: in this process, on this machine's cores, or on a Ray cluster (`jobs.ray_cluster`)."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from jobs.dispatch import Dispatch, Event, Node, Policy, TaskQueue
from jobs.outcome import Compute, Outcome, attempt
from pipeline.errors import EnvironmentFault
from pipeline.settings import ClusterSettings, DeviceSettings

Notify = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take no note of an event."""


class Cluster(Protocol):
    """Runs tasks."""

    workers: int  # tasks that run at once, when the cluster was opened

    def run(
        self, compute: Compute, shared: object, key: str, tasks: TaskQueue, notify: Notify = ignore
    ) -> Iterator[tuple[Any, Outcome]]:
        """Yield each task with its outcome when it ends, until no task is left; more may be added meanwhile.

        compute : called as compute(task, shared) in a worker.
        shared : what all tasks use; it is sent to each worker process once.
        key : the name under which a worker keeps `shared`.
        notify : called with every event, and with the event "tick" every second or so.
        A task that fails by the fault of a machine is tried on another one first.
        Raises EnvironmentFault if no machine is left that works.
        """

    def close(self) -> None: ...


def open_cluster(settings: ClusterSettings, device: DeviceSettings) -> Cluster:
    """Return the cluster of the settings."""
    if settings.kind == "serial":
        return Serial(settings)
    from jobs.ray_cluster import RayCluster

    return RayCluster(settings, device)


@contextmanager
def on_demand(settings: ClusterSettings, device: DeviceSettings) -> Iterator[Callable[[], Cluster]]:
    """Give a function that opens the cluster when it is first called; the cluster is closed when the context ends."""
    opened: list[Cluster] = []

    def cluster() -> Cluster:
        if not opened:
            opened.append(open_cluster(settings, device))
        return opened[0]

    try:
        yield cluster
    finally:
        for open_one in opened:
            open_one.close()


def policy(settings: ClusterSettings) -> Policy:
    """How failures are met on a cluster."""
    return Policy(
        retries=settings.retries,
        limit=settings.workers if settings.kind == "ray" else None,  # "local" has so many cores
        timeout_seconds=settings.timeout_seconds,
        timeout_factor=settings.timeout_factor,
    )


def stop(reason: str) -> EnvironmentFault:
    """The error of a run that has no machine left that works."""
    return EnvironmentFault(f"{reason}; correct this, and the same command continues")


class Serial:
    """Runs tasks one after the other in this process."""

    workers = 1

    def __init__(self, settings: ClusterSettings | None = None) -> None:
        self._policy = Policy(retries=0 if settings is None else settings.retries, ahead=1, limit=1)

    def run(
        self, compute: Compute, shared: object, key: str, tasks: TaskQueue, notify: Notify = ignore
    ) -> Iterator[tuple[Any, Outcome]]:
        dispatch = Dispatch(self._policy, tasks)
        dispatch.see([Node("here", platform.node(), {True: 1, False: 1})], time.monotonic())
        while not dispatch.idle:
            for one in list(dispatch.next(time.monotonic())):
                dispatch.started(one, "here", time.monotonic())
                announce(dispatch, notify)
                outcome = dispatch.ended(one, attempt(compute, one.task, shared), time.monotonic())
                announce(dispatch, notify)
                if outcome is not None:
                    yield one.task, outcome
            if dispatch.stopped is not None:
                raise stop(dispatch.stopped)
            time.sleep(dispatch.next_wait(time.monotonic()) or 0.0)

    def close(self) -> None:
        pass


def announce(dispatch: Dispatch, notify: Notify) -> None:
    """Pass on what happened."""
    for event in dispatch.events():
        notify(event)
