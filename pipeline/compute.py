"""A task to its stored result, by handing it to its method: the only door for whatever drives the work."""

from __future__ import annotations

from importlib import import_module

from pipeline.resources import Resources
from pipeline.task import Task


def compute(task: Task, resources: Resources) -> bytes:
    """The shard of a task. resources : the network in float32 on the CPU, and what else the task reads.

    Beside each method's `task` module stands its `compute` module, whose COMPUTE has a function for each kind of task.
    """
    module = import_module(f"{type(task).__module__.rpartition('.')[0]}.compute")
    return module.COMPUTE[type(task)](task, resources)
