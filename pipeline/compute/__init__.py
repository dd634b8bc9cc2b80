"""A task to its stored result, by handing it to its method: the only door for whatever drives the work."""

from __future__ import annotations

from pipeline.compute.ascent import compute_ascent
from pipeline.compute.backprojection import compute_backprojections
from pipeline.compute.dgn import compute_dgn, compute_prior
from pipeline.compute.images import compute_images
from pipeline.compute.memorisation import compute_memorisation
from pipeline.compute.mining import compute_mining
from pipeline.compute.resources import Resources, has_gpu, package_versions
from pipeline.search_tasks import DgnTask, PriorTask
from pipeline.tasks import AscentTask, BackprojectTask, ImagesTask, MemorisationTask, MineTask, Task

__all__ = ["Resources", "compute", "has_gpu", "package_versions"]

_METHODS = {
    AscentTask: compute_ascent,
    MineTask: compute_mining,
    ImagesTask: compute_images,
    BackprojectTask: compute_backprojections,
    DgnTask: compute_dgn,
    PriorTask: compute_prior,
    MemorisationTask: compute_memorisation,
}


def compute(task: Task, resources: Resources) -> bytes:
    """The shard of a task. resources : the network in float32 on the CPU, and what else the task reads."""
    return _METHODS[type(task)](task, resources)
