"""Run tasks in this process, on this machine's cores, or on a Ray cluster. No other module imports ray."""

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
_ROOM = 60.0  # seconds to wait for a cluster's resources for processes that run at once
AHEAD = 2  # tasks in flight for each worker: one runs, one waits


@dataclass(frozen=True)
class Done:
    """A task's result."""

    data: bytes


@dataclass(frozen=True)
class Failed:
    """Why a task has no result."""

    reason: str  # one line
    detail: str  # for the log


Outcome = Done | Failed
Compute = Callable[[T, object], bytes]  # (task, what all tasks share) → result


class Cluster(Protocol):
    """Runs tasks."""

    workers: int  # tasks that run at once

    def run(self, compute: Compute, shared: object, key: str, tasks: Iterable[T]) -> Iterator[tuple[T, Outcome]]:
        """Yield each task with its outcome when it ends; a bounded number of tasks is submitted at once.

        compute : called as compute(task, shared) in a worker.
        shared : what all tasks use; it is sent to each worker process once.
        key : the name under which a worker keeps `shared`.
        tasks : read one by one, as workers become free.
        """

    def close(self) -> None: ...


def open_cluster(settings: ClusterSettings, device: DeviceSettings) -> Cluster:
    """Return the cluster of the settings."""
    if settings.kind == "serial":
        return Serial()
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


def attempt(compute: Compute, task: object, shared: object) -> Outcome:
    """Return the outcome of a task; an exception of the task becomes a Failed."""
    try:
        return Done(compute(task, shared))
    except AtlasError as error:
        return Failed(str(error), traceback.format_exc())
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


class Serial:
    """Runs tasks one after the other in this process."""

    workers = 1

    def run(self, compute: Compute, shared: object, key: str, tasks: Iterable[T]) -> Iterator[tuple[T, Outcome]]:
        for task in tasks:
            yield task, attempt(compute, task, shared)

    def close(self) -> None:
        pass


class RayCluster:
    """Runs tasks as Ray tasks, on this machine ("local") or on the machines of a running cluster ("ray").

    With tasks instead of actors, Ray uses nodes that join and submits the tasks of a lost node again, and no pool of
    actors has to be managed. A worker process runs many tasks and keeps what they share.
    """

    def __init__(self, settings: ClusterSettings, device: DeviceSettings, *, print_output: bool = False) -> None:
        """
        print_output : whether to print what the tasks print.
        Raises SettingsError if Ray is not installed, or no cluster answers at the address.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if settings.kind == "ray" and _has_token():  # such a cluster requires it; ray reads the variable on import
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray
        except ImportError:
            raise SettingsError(
                f"cluster={settings.kind}: Ray is not installed; install ray, or use cluster=serial"
            ) from None
        self._ray = ray
        quiet = {"log_to_driver": print_output, "logging_level": "ERROR", "configure_logging": True}
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

    def run(self, compute: Compute, shared: object, key: str, tasks: Iterable[T]) -> Iterator[tuple[T, Outcome]]:
        ray = self._ray
        remote = ray.remote(**self._options)(_remote)
        if key not in self._held:
            self._held = {key: ray.put(shared)}
        held = [self._held[key]]  # in a list Ray passes the reference, not the value
        waiting, out = iter(tasks), {}
        try:
            while True:
                for task in islice(waiting, self.workers * AHEAD - len(out)):
                    out[remote.remote(compute, task, held, key)] = task
                if not out:
                    return
                (ended, *_), _ = ray.wait(list(out), num_returns=1)
                yield out.pop(ended), self._outcome(ended)
        finally:
            for reference in out:
                with suppress(Exception):  # a task that cannot be cancelled ends with the cluster
                    ray.cancel(reference, force=True)

    def run_group(self, calls: Sequence[Callable[[str], object]], grace_seconds: float) -> list[object]:
        """Run calls at once, as a process group, and return their results.

        calls : each is called with the rendezvous, a URL at which the processes find each other. Each has its own
            placement, with the CPUs and GPUs of one task.
        grace_seconds : seconds that the other calls get to end after one has failed.
        The result of a call whose worker was lost is a Failed.
        Raises SettingsError if the cluster has not enough resources for all calls.
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
                    f"processes: got {len(calls)}, more than the cluster has resources for; set fewer by processes=…"
                )
            meeting = ray.get(remote(_meeting, 0).remote())
            out = [remote(_called, at).remote(call, meeting) for at, call in enumerate(calls)]
            ended, waiting = ray.wait(out, num_returns=1)
            while waiting and not any(self._lost(self._outcome(one)) for one in ended):
                ended, waiting = ray.wait(out, num_returns=len(ended) + 1)
            ray.wait(out, num_returns=len(out), timeout=grace_seconds)
            ended, _ = ray.wait(out, num_returns=len(out), timeout=0)
            return [self._outcome(one) if one in ended else Failed("it did not end", "") for one in out]
        finally:
            remove_placement_group(group)  # this ends the calls that still run

    def on_every_node(self, call: Callable[[], object]) -> dict[str, object]:
        """Call something once on each node; node → its result, or a Failed if the node does not answer."""
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        out = {}
        for node in [node for node in ray.nodes() if node["Alive"]]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            named = node["NodeName"] if node["NodeName"] != node["NodeManagerAddress"] else node["NodeManagerHostname"]
            name = named if named not in out else f"{named}/{node['NodeID'][:6]}"
            out[name] = ray.remote(_answer).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(call)
        ended, _ = ray.wait(list(out.values()), num_returns=len(out), timeout=_ROOM)
        return {name: self._outcome(one) if one in ended else Failed("no answer", "") for name, one in out.items()}

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
        """Number of tasks that the cluster can run at once."""
        resources = self._ray.cluster_resources()
        if device.kind == "cuda":
            return max(1, int(resources.get("GPU", 0)))
        return max(1, int(resources.get("CPU", 1)) // device.threads)


def _has_token() -> bool:
    """Whether this machine has a Ray cluster's token, in one of the places that Ray reads."""
    named = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _meeting() -> str:
    """Runs on the machine of the first process: a URL with its address and a free port."""
    import socket

    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


def _called(call: Callable[[str], object], meeting: str) -> object:
    """Runs in a worker: call one member of a process group."""
    return call(meeting)


def _answer(call: Callable[[], object]) -> object:
    """Runs in a worker, on a node that was chosen."""
    return call()


_kept: dict[str, object] = {}  # in a worker process: what the tasks share, by key


def _remote(compute: Compute, task: object, held: list, key: str) -> Outcome:
    """Runs in a worker: fetch what the tasks share, unless this process has it, and run the task."""
    if key not in _kept:
        import ray

        _kept.clear()  # one network at a time
        _kept[key] = ray.get(held[0])
    return attempt(compute, task, _kept[key])
