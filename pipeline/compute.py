"""Compute a task with the code of its method. Drivers call nothing else of the methods."""

from __future__ import annotations

from importlib import import_module

from pipeline.resources import Resources
from pipeline.task import Task


def compute(task: Task, resources: Resources) -> bytes:
    """Return the shard of a task.

    resources : the network, float32 on the CPU, and everything else that the task reads.
    COMPUTE in the method's `compute` module maps each class of tasks to its function.
    """
    module = import_module(f"{type(task).__module__.rpartition('.')[0]}.compute")
    return module.COMPUTE[type(task)](task, resources)
