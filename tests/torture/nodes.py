"""Simulated nodes: a Ray cluster of one machine, whose nodes, workers and head can be killed and started again."""

from __future__ import annotations

import logging
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.torture.processes import children, command_of

STORE = 80_000_000  # bytes of a node's object store
_WORKER, _AGENTS = "ray::", ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # how command lines begin


class SimulatedCluster:
    """A head that runs nothing, and nodes of one CPU each.

    folder : for Ray's logs and sockets; its path must be short.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._cluster = folder, None
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        return self._cluster.address

    def start(self, nodes: int) -> None:
        """Start a head and nodes; what runs already is ended."""
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.ERROR)  # it tells each new address
        self.stop()
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": str(self._folder), **self._sizes()},
        )
        for _ in range(nodes):
            self.add()

    def add(self) -> None:
        """Add a node."""
        self.nodes.append(self._cluster.add_node(num_cpus=1, wait=False, **self._sizes()))

    def kill_node(self, choice: random.Random) -> bool:
        """Kill the raylet of a node, and what is left of the node; False if there is no node."""
        if not self.nodes:
            return False
        node = self.nodes.pop(choice.randrange(len(self.nodes)))
        _kill(_process(node, "raylet"))
        self._cluster.remove_node(node, allow_graceful=False)
        return True

    def remove_dead(self) -> int:
        """Remove the nodes that have ended by themselves, as on a machine too busy for them; return their number."""
        dead = [node for node in self.nodes if node.all_processes["raylet"][0].process.poll() is not None]
        for node in dead:
            self.nodes.remove(node)
            self._cluster.remove_node(node, allow_graceful=False)
        return len(dead)

    def kill_worker(self, choice: random.Random) -> bool:
        """Kill a worker process; False if there is none."""
        workers = sorted(pid for node in self.nodes for pid in self._workers(node))
        if not workers:
            return False
        _kill(choice.choice(workers))
        return True

    def kill_head(self, choice: random.Random) -> str:
        """Kill the head's database, or all of it with the raylet to which the driver is connected; return which."""
        which = choice.choice(("gcs_server", "gcs_server raylet"))
        for name in which.split():
            _kill(_process(self._cluster.head_node, name))
        return which

    def stop(self) -> None:
        """End all processes of the cluster."""
        if self._cluster is None:
            return
        for node in [*self._cluster.worker_nodes, self._cluster.head_node]:
            if node is not None:
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        self._cluster, self.nodes = None, []

    def processes(self) -> dict[str, list[int]]:
        """Kind → ids of the processes: of the head, of nodes, and workers."""
        head = [] if self._cluster is None else [*_family(_pids(self._cluster.head_node))]
        workers = [pid for node in self.nodes for pid in self._workers(node)]
        nodes = [pid for node in self.nodes for pid in _family(_pids(node)) if pid not in workers]
        return {"head": head, "nodes": nodes, "workers": workers}

    @staticmethod
    def _workers(node: Any) -> list[int]:
        titles = {pid: command_of(pid) for pid in children(_process(node, "raylet"))}
        return [pid for pid, title in titles.items() if title.startswith(_WORKER) and not title.startswith(_AGENTS)]

    @staticmethod
    def _sizes() -> dict[str, Any]:
        return {"object_store_memory": STORE}


def _pids(node: Any) -> list[int]:
    return [process.pid for _, process in node.live_processes()]


def _process(node: Any, name: str) -> int:
    return node.all_processes[name][0].process.pid


def _family(pids: list[int]) -> list[int]:
    """Processes and all their descendants."""
    found, waiting = [], list(pids)
    while waiting:
        found.append(waiting.pop())
        waiting += children(found[-1])
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
