"""Where tasks run: in this process, on this machine's cores, or on a Ray cluster. The one module that imports ray."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.errors import AtlasError, SettingsError
from pipeline.settings import ClusterSettings, DeviceSettings

T = TypeVar("T")
_ROOM = 60.0  # seconds that a cluster may take to make room for processes that run at once
AHEAD = 2  # tasks in flight for each worker: one runs, one waits


@dataclass(frozen=True)
class Done:
    """A task's result."""

    data: bytes


@dataclass(frozen=True)
class Failed:
    """Why a task has none; `detail` is for the log."""

    reason: str
    detail: str


Outcome = Done | Failed
Work = Callable[[T, object], bytes]  # (task, what all tasks share) → result


class Cluster(Protocol):
    """One verb: send tasks, yield each with its outcome as it ends, with a bounded number on their way."""

    workers: int

    def run(self, work: Work, shared: object, key: str, tasks: Iterable[T]) -> Iterator[tuple[T, Outcome]]:
        """shared : sent to each worker process once and kept there under `key`."""

    def close(self) -> None: ...


def open_cluster(settings: ClusterSettings, device: DeviceSettings) -> Cluster:
    """The cluster that the settings choose."""
    if settings.kind == "serial":
        return Serial()
    return RayCluster(settings, device)


@contextmanager
def on_demand(settings: ClusterSettings, device: DeviceSettings) -> Iterator[Callable[[], Cluster]]:
    """A function that opens the cluster when it is first called; on the way out the cluster is closed."""
    opened: list[Cluster] = []

    def cluster() -> Cluster:
        if not opened:
            opened.append(open_cluster(settings, device))
        return opened[0]

    try:
        yield cluster
    finally:
        for one in opened:
            one.close()


def attempt(work: Work, task: object, shared: object) -> Outcome:
    """The outcome of a task; a fault of the task's own is an outcome too."""
    try:
        return Done(work(task, shared))
    except AtlasError as error:
        return Failed(str(error), traceback.format_exc())
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


class Serial:
    """Runs tasks one after the other in this process."""

    workers = 1

    def run(self, work: Work, shared: object, key: str, tasks: Iterable[T]) -> Iterator[tuple[T, Outcome]]:
        for task in tasks:
            yield task, attempt(work, task, shared)

    def close(self) -> None:
        pass


class RayCluster:
    """Runs tasks as Ray tasks, on this machine ("local") or on the machines of a running cluster ("ray").

    Tasks, not actors: a node that joins is used, the work of a lost one is sent again, and there is no pool to
    look after. A worker process is kept from task to task, and with it what all tasks share.
    """

    def __init__(self, settings: ClusterSettings, device: DeviceSettings, *, heard: bool = False) -> None:
        """heard : what tasks print is printed here."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if settings.kind == "ray" and _has_token():  # `ray start` asks for it; read when ray is imported
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray
        except ImportError:
            raise SettingsError(
                f"cluster={settings.kind}: Ray is not installed; install ray, or use cluster=serial"
            ) from None
        self._ray = ray
        quiet = {"log_to_driver": heard, "logging_level": "ERROR", "configure_logging": True}
        if settings.kind == "local":
            cores = settings.workers if settings.workers is not None else os.cpu_count() or 1
            ray.init(
                address="local",
                num_cpus=cores * device.threads,
                include_dashboard=False,
                object_store_memory=settings.store_bytes,
                **quiet,
            )
        else:
            try:
                ray.init(address=settings.address or "auto", **quiet)
            except (ConnectionError, ray.exceptions.AuthenticationError) as error:
                where = settings.address or "auto"
                raise SettingsError(
                    f"cluster.address: no Ray cluster answers at {where} ({error}); start one with ray start --head, "
                    f"or use cluster=local"
                ) from None
        self.workers = settings.workers or self._places(device)
        self._held: dict[str, object] = {}
        self._options = {
            "num_cpus": device.threads,
            "num_gpus": settings.gpus_per_task if device.kind == "cuda" else 0,
            "memory": settings.memory_bytes,
            "max_retries": settings.retries,
            "max_calls": 0,  # keep the process, and with it the loaded network
        }

    def run(self, work: Work, shared: object, key: str, tasks: Iterable[T]) -> Iterator[tuple[T, Outcome]]:
        ray = self._ray
        remote = ray.remote(**self._options)(_remote)
        if key not in self._held:
            self._held = {key: ray.put(shared)}
        held = [self._held[key]]  # in a list Ray passes the reference, not the value
        waiting, out = iter(tasks), {}
        try:
            while True:
                for task in islice(waiting, self.workers * AHEAD - len(out)):
                    out[remote.remote(work, task, held, key)] = task
                if not out:
                    return
                (ended, *_), _ = ray.wait(list(out), num_returns=1)
                yield out.pop(ended), self._outcome(ended)
        finally:
            for reference in out:
                with suppress(Exception):  # on the way out; what cannot be cancelled ends with the cluster
                    ray.cancel(reference, force=True)

    def together(self, calls: Sequence[Callable[[str], object]], farewell: float) -> list[object]:
        """What calls return that run at once, each in a place of its own, told a URL at which they meet.

        Once a call is lost, which gives a Failed, the others have `farewell` seconds to end.
        Raises SettingsError when the cluster has no room for all.
        """
        ray = self._ray
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        place = {"CPU": self._options["num_cpus"], "GPU": self._options["num_gpus"]}
        group = placement_group([{name: count for name, count in place.items() if count}] * len(calls))

        def remote(function: Callable, at: int):
            options = {name: self._options[name] for name in ("num_cpus", "num_gpus")}
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=at)
            return ray.remote(function).options(**options, max_retries=0, scheduling_strategy=strategy)

        try:
            if not group.wait(_ROOM):
                raise SettingsError(
                    f"processes: got {len(calls)}, for which the cluster has no room; give fewer by processes=…"
                )
            meeting = ray.get(remote(_meeting, 0).remote())
            out = [remote(_called, at).remote(call, meeting) for at, call in enumerate(calls)]
            ended, waiting = ray.wait(out, num_returns=1)
            while waiting and not any(self._lost(self._outcome(one)) for one in ended):
                ended, waiting = ray.wait(out, num_returns=len(ended) + 1)
            ray.wait(out, num_returns=len(out), timeout=farewell)
            ended, _ = ray.wait(out, num_returns=len(out), timeout=0)
            return [self._outcome(one) if one in ended else Failed("it did not end", "") for one in out]
        finally:
            remove_placement_group(group)  # ends those that still run

    def close(self) -> None:
        self._held = {}
        self._ray.shutdown()

    def _outcome(self, reference: object) -> Outcome:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            return Failed(f"its worker was lost, {reason}", str(error))

    @staticmethod
    def _lost(outcome: object) -> bool:
        return isinstance(outcome, Failed | AtlasError)

    def _places(self, device: DeviceSettings) -> int:
        """How many tasks the cluster has room for."""
        resources = self._ray.cluster_resources()
        if device.kind == "cuda":
            return max(1, int(resources.get("GPU", 0)))
        return max(1, int(resources.get("CPU", 1)) // device.threads)


def _has_token() -> bool:
    """Whether this machine knows a Ray cluster's token, where Ray looks for it."""
    named = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _meeting() -> str:
    """Runs where the first process will: an address of that machine with a port that is free."""
    import socket

    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


def _called(call: Callable[[str], object], meeting: str) -> object:
    """Runs in a worker: one of the calls that run together."""
    return call(meeting)


_kept: dict[str, object] = {}  # in a worker process: what all tasks share, by key


def _remote(work: Work, task: object, held: list, key: str) -> Outcome:
    """Runs in a worker: fetch what is shared unless this process has it, and do the task."""
    if key not in _kept:
        import ray

        _kept.clear()  # one network at a time
        _kept[key] = ray.get(held[0])
    return attempt(work, task, _kept[key])
