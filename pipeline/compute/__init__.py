"""A task to its stored result, by handing it to its method: the only door for whatever drives the work."""

from __future__ import annotations

from pipeline.compute.ascent import compute_ascent
from pipeline.compute.backprojection import compute_backprojections
from pipeline.compute.images import compute_images
from pipeline.compute.mining import compute_mining
from pipeline.compute.resources import Resources, has_gpu, package_versions
from pipeline.tasks import AscentTask, BackprojectTask, ImagesTask, MineTask

__all__ = ["Resources", "compute", "has_gpu", "package_versions"]

_METHODS = {
    AscentTask: compute_ascent,
    MineTask: compute_mining,
    ImagesTask: compute_images,
    BackprojectTask: compute_backprojections,
}


def compute(task: AscentTask | MineTask | ImagesTask | BackprojectTask, resources: Resources) -> bytes:
    """The shard of a task. resources : the network in float32 on the CPU, and the images if the task looks at any."""
    return _METHODS[type(task)](task, resources)
