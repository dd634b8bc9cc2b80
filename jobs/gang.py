"""Several processes at one piece of work, on this machine or on a Ray cluster, and what becomes of them together."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from jobs.cluster import Done, Failed, Outcome, RayCluster
from pipeline.errors import AtlasError, SettingsError, TrainingError
from pipeline.settings import ClusterSettings, DeviceSettings, check

T = TypeVar("T")
_PARTING = 3.0  # seconds for a process to end once the first has
_FAREWELL = 10.0  # seconds that processes get to say why they ended, once one has


@dataclass(frozen=True)
class Place:
    """One of the processes. rank, size : which of how many. device : where it computes, as torch names it.
    meeting : URL at which they find each other."""

    rank: int
    size: int
    device: str
    meeting: str


Work = Callable[[Place, T], object]


def run_gang(settings: ClusterSettings, device: DeviceSettings, size: int | None, work: Work[T], argument: T) -> object:
    """Call work(place, argument) in `size` processes at once; return what the first of them returns.

    size : None for one a GPU, or one where there is none. work, argument : known to all processes by import or pickle.
    Raises the AtlasError that one of them raised, or TrainingError when one was lost; the others are then ended.
    """
    if size is not None:
        check("processes", size, "1 or more", size >= 1)
    if settings.kind == "ray":
        return _on_ray(settings, device, size, work, argument)
    size = _gpus() if size is None and device.kind == "cuda" else 1 if size is None else size
    if device.kind == "cuda" and size > _gpus():
        raise SettingsError(f"processes: got {size}, but this machine has {_gpus()} GPUs; give it by processes=…")
    if size == 1:
        return work(Place(0, 1, device.kind, ""), argument)
    if settings.kind == "serial":
        raise SettingsError(f"processes: got {size}, but cluster=serial is one process; use cluster=local")
    return _spawned(device, size, work, argument)


def _spawned(device: DeviceSettings, size: int, work: Work[T], argument: T) -> object:
    """On this machine: the first in this process, which speaks and writes, the others in new ones."""
    context = multiprocessing.get_context("spawn")  # a fork would share what torch has begun
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        places = [Place(rank, size, _named(device, rank), meeting) for rank in range(size)]
        pairs = [context.Pipe(duplex=False) for _ in places[1:]]
        others = [
            context.Process(target=_report, args=(end, work, place, argument), daemon=True)
            for place, (_, end) in zip(places[1:], pairs, strict=True)
        ]
        for process, (_, end) in zip(others, pairs, strict=True):
            process.start()
            end.close()  # ours: so that reading ends where the process does
        try:
            outcomes = [_outcome(work, places[0], argument)]
            patience = _FAREWELL if isinstance(outcomes[0], Failed | AtlasError) else None
            outcomes += [_heard(begin, patience) for begin, _ in pairs]
        finally:
            for process in others:
                process.join(_PARTING)  # left alone it ends by itself, and cleans up
                process.terminate()
                process.join()
    return _first(outcomes)


def _on_ray(settings: ClusterSettings, device: DeviceSettings, size: int | None, work: Work[T], argument: T) -> object:
    """On the machines of a cluster, each process with a GPU of its own where the device is one."""
    cluster = RayCluster(settings, device, heard=True)
    try:
        if size is None:
            size = cluster.workers if device.kind == "cuda" else 1
        calls = [partial(_met, work, rank, size, device.kind, argument) for rank in range(size)]
        return _first(cluster.together(calls, _FAREWELL))
    finally:
        cluster.close()


def _met(work: Work[T], rank: int, size: int, device: str, argument: T, meeting: str) -> Outcome | AtlasError:
    """Runs in a worker of the cluster, once it is known where the processes meet."""
    return _outcome(work, Place(rank, size, device, meeting), argument)


def _report(end: object, work: Work[T], place: Place, argument: T) -> None:
    """Runs in a process of its own: do the work, and send what became of it, but not its result."""
    try:
        outcome = _outcome(work, place, argument)
        end.send(Done(b"") if isinstance(outcome, Done) else outcome)  # type: ignore[attr-defined]
    except KeyboardInterrupt:  # Ctrl-C reaches all processes; the first one speaks
        return


def _outcome(work: Work[T], place: Place, argument: T) -> Outcome | AtlasError:
    try:
        return Done(work(place, argument))
    except AtlasError as error:
        return error.with_traceback(None)
    except Exception as error:
        return Failed(f"{type(error).__name__}: {' '.join(str(error).split())}", traceback.format_exc())


def _heard(begin: object, patience: float | None) -> Outcome | AtlasError:
    """What a process sends before it ends; patience : seconds to wait for it, None for as long as it lives."""
    try:
        if begin.poll(patience):  # type: ignore[attr-defined]
            return begin.recv()  # type: ignore[attr-defined]
        return Failed("it did not end", "")
    except (EOFError, ConnectionError):
        return Failed("it was killed", "")


def _first(outcomes: Sequence[Outcome | AtlasError]) -> object:
    """The first one's result, unless one failed: an error of its own goes before being left alone by others."""
    for outcome in outcomes:
        if isinstance(outcome, AtlasError):
            raise outcome
    for rank, outcome in sorted(enumerate(outcomes), key=lambda pair: "killed" not in getattr(pair[1], "reason", "")):
        if isinstance(outcome, Failed):
            raise TrainingError(
                f"process {rank} of {len(outcomes)}: lost ({outcome.reason[:300]}); the same command goes on from the "
                "last checkpoint"
            )
    return outcomes[0].data


def _named(device: DeviceSettings, rank: int) -> str:
    return f"cuda:{rank}" if device.kind == "cuda" else device.kind


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
