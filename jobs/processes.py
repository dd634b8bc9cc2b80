"""Run the same work in several processes at once, on this machine or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from jobs.outcome import Done, Failed, Outcome
from jobs.ray_cluster import RayCluster
from pipeline.errors import AtlasError, SettingsError, TrainingError
from pipeline.settings import ClusterSettings, DeviceSettings, check

T = TypeVar("T")
_END = 3.0  # seconds that the other processes get to end after the first has
_REPORT = 10.0  # seconds that processes get to report why they ended, after one has failed


@dataclass(frozen=True)
class Member:
    """One process of a process group."""

    rank: int  # from 0
    size: int  # number of processes
    device: str  # where it computes, as torch names devices
    rendezvous: str  # URL at which the processes find each other; "" for a single process


MemberWork = Callable[[Member, T], object]


def run_processes(
    settings: ClusterSettings, device: DeviceSettings, size: int | None, work: MemberWork[T], argument: T
) -> object:
    """Call work(member, argument) in several processes at once; return the result of the first process.

    settings : "ray" uses the machines of a Ray cluster, anything else this machine.
    size : number of processes; None for one process on each GPU, or a single process without GPUs.
    work : a function that every process can import.
    argument : must survive pickle.
    Raises the AtlasError that a process raised, or TrainingError if a process was lost; the others are then ended.
    SettingsError if the machine or the cluster cannot run that many.
    """
    if size is not None:
        check("processes", size, "1 or more", size >= 1)
    if settings.kind == "ray":
        return _on_ray(settings, device, size, work, argument)
    size = _gpus() if size is None and device.kind == "cuda" else 1 if size is None else size
    if device.kind == "cuda" and size > _gpus():
        raise SettingsError(f"processes: got {size}, but this machine has {_gpus()} GPUs; set fewer by processes=…")
    if size == 1:
        return work(Member(0, 1, device.kind, ""), argument)
    if settings.kind == "serial":
        raise SettingsError(f"processes: got {size}, but cluster=serial is one process; use cluster=local")
    return _on_this_machine(device, size, work, argument)


def _on_this_machine(device: DeviceSettings, size: int, work: MemberWork[T], argument: T) -> object:
    """Run the first member, which writes and logs, in this process, and the others in new ones."""
    context = multiprocessing.get_context("spawn")  # a fork would share the state of torch
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = (Path(folder) / "rendezvous").as_uri()
        members = [Member(rank, size, _torch_device(device, rank), rendezvous) for rank in range(size)]
        pipes = [context.Pipe(duplex=False) for _ in members[1:]]
        others = [
            context.Process(target=_run_and_send, args=(sender, work, member, argument), daemon=True)
            for member, (_, sender) in zip(members[1:], pipes, strict=True)
        ]
        for process, (_, sender) in zip(others, pipes, strict=True):
            process.start()
            sender.close()  # close this process's copy, so that a read ends when the other process does
        try:
            outcomes = [_outcome(work, members[0], argument)]
            patience = _REPORT if isinstance(outcomes[0], Failed | AtlasError) else None
            outcomes += [_received(receiver, patience) for receiver, _ in pipes]
        finally:
            for process in others:
                process.join(_END)  # time to end by itself and to clean up
                process.terminate()
                process.join()
    return _first_result(outcomes)


def _on_ray(
    settings: ClusterSettings, device: DeviceSettings, size: int | None, work: MemberWork[T], argument: T
) -> object:
    """Run on the machines of a cluster; each process has its own GPU if the device is one."""
    cluster = RayCluster(settings, device, print_output=True)
    try:
        if size is None:
            size = cluster.workers if device.kind == "cuda" else 1
        calls = [partial(_run_on_ray, work, rank, size, device.kind, argument) for rank in range(size)]
        return _first_result(cluster.run_group(calls, _REPORT))
    finally:
        cluster.close()


def _run_on_ray(
    work: MemberWork[T], rank: int, size: int, device: str, argument: T, rendezvous: str
) -> Outcome | AtlasError:
    """Runs in a worker of the cluster, once the rendezvous is known."""
    return _outcome(work, Member(rank, size, device, rendezvous), argument)


def _run_and_send(sender: object, work: MemberWork[T], member: Member, argument: T) -> None:
    """Runs in a new process: do the work, and send its outcome without its result."""
    try:
        outcome = _outcome(work, member, argument)
        sender.send(Done(b"") if isinstance(outcome, Done) else outcome)  # type: ignore[attr-defined]
    except KeyboardInterrupt:  # Ctrl-C reaches all processes; the first one reports it
        return


def _outcome(work: MemberWork[T], member: Member, argument: T) -> Outcome | AtlasError:
    try:
        return Done(work(member, argument))
    except AtlasError as error:
        return error.with_traceback(None)
    except Exception as error:
        return Failed(f"{type(error).__name__}: {' '.join(str(error).split())}", traceback.format_exc())


def _received(receiver: object, patience: float | None) -> Outcome | AtlasError:
    """The outcome that a process sends before it ends.

    patience : seconds to wait for it; None to wait as long as the process lives.
    """
    try:
        if receiver.poll(patience):  # type: ignore[attr-defined]
            return receiver.recv()  # type: ignore[attr-defined]
        return Failed("it did not end", "")
    except (EOFError, ConnectionError):
        return Failed("it was killed", "")


def _first_result(outcomes: Sequence[Outcome | AtlasError]) -> object:
    """The first process's result; or raise, preferably an AtlasError, then a killed process, then another failure.

    The order matters: when one process ends, the others fail because they lost it.
    """
    for outcome in outcomes:
        if isinstance(outcome, AtlasError):
            raise outcome
    for rank, outcome in sorted(enumerate(outcomes), key=lambda pair: "killed" not in getattr(pair[1], "reason", "")):
        if isinstance(outcome, Failed):
            raise TrainingError(
                f"process {rank} of {len(outcomes)}: lost ({outcome.reason[:300]}); the same command continues from "
                "the last checkpoint"
            )
    return outcomes[0].data


def _torch_device(device: DeviceSettings, rank: int) -> str:
    return f"cuda:{rank}" if device.kind == "cuda" else device.kind


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
