"""Tasks that workers of a simulated cluster run; they find this module by PYTHONPATH."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A task: `what` it does, on nodes where the folder `sick` has a file of the node's id, at once fail."""

    number: int
    what: str = "work"
    detail: str = ""
    needs_device: bool = True
    seconds: float = 0.1
    method: str = "job"


def compute(job: Job, shared: object) -> bytes:
    """Do what the job says; return the node's id."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    if Path(str(shared), node).exists():
        raise FileNotFoundError(2, "No such file or directory", "/data/images")
    if job.what == "sleep":
        time.sleep(float(job.detail))
    elif job.what == "die once":
        try:
            os.close(os.open(job.detail, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return node.encode()
        os.kill(os.getpid(), signal.SIGKILL)
    elif job.what == "hang once":
        try:
            os.close(os.open(job.detail, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return node.encode()
        time.sleep(600)
    return node.encode()
