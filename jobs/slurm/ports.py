"""Ports for the processes of one Ray node, which no other job on the machine gets."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import SettingsError

FIRST, LAST = 20_000, 32_000  # below 32768, where Linux begins to give ports to outgoing connections
GRAIN = 64  # ports that are taken together
STRIDE = 37  # grains from one job to the next; prime, and no divisor of their number, so that jobs begin apart
SLACK = 6  # ports of a grain that others may hold
# What each process listens on, in the words of `ray start`.
NAMES = (
    "port",
    "node-manager-port",
    "object-manager-port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "ray-client-server-port",
)


@dataclass(frozen=True)
class Ports:
    """named : option of `ray start` → port. workers : ports of worker processes."""

    named: dict[str, int]
    workers: tuple[int, ...]


@contextmanager
def taken_ports(job: int, cpus: int) -> Iterator[Ports]:
    """Give ports for a node with this many CPUs; they are given back when the context ends.

    job : where the search begins, so that jobs rarely try the same ports.
    Ports are taken in grains. A grain belongs to the process that listens on its first port; the kernel lets only one
    do so, whoever the users are. So Ray's processes may come and go on the other ports.
    Raises SettingsError if not enough are free.
    """
    wanted = len(NAMES) + 2 * cpus + 32  # workers begin while others end, and some only spill objects
    grains = -(-wanted // (GRAIN - 1 - SLACK))
    number = (LAST - FIRST) // GRAIN
    for step in range(number):
        at = (job * STRIDE + step) % number
        if at + grains > number:
            continue
        guards = _listening(range(FIRST + at * GRAIN, FIRST + (at + grains) * GRAIN, GRAIN))
        try:
            first = FIRST + at * GRAIN
            free = [] if not guards else [port for port in range(first, first + grains * GRAIN) if _is_free(port)]
            if len(free) >= wanted:
                named = dict(zip(NAMES, free, strict=False))
                yield Ports(named, tuple(free[len(NAMES) :]))
                return
        finally:
            for guard in guards:
                guard.close()
    raise SettingsError(f"ports {FIRST} to {LAST}: fewer than {wanted} in a row are free on {socket.gethostname()}")


def _listening(ports: range) -> list[socket.socket]:
    """A listening socket on each of the ports, or none at all."""
    guards: list[socket.socket] = []
    for port in ports:
        guard = socket.socket()
        guards.append(guard)
        try:
            guard.bind(("", port))
            guard.listen(1)
        except OSError as error:
            for one in guards:
                one.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return []
    return guards


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that has just ended holds no port
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True
