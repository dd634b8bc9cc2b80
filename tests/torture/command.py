"""`python -m tests.torture.command WHOLE_BELOW MERGE_SECONDS MERGE_SHARE PAUSE OVERRIDES…` runs the atlas job, slowly.

WHOLE_BELOW : bytes below which a merge writes the atlas as one whole file.
MERGE_SECONDS, MERGE_SHARE : least time between two merges, and their largest share of the time of the run.
PAUSE : longest time that a task sleeps before it is computed, seconds.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import pipeline.compute
from jobs import folder, ray_cluster
from jobs.atlas import atlas
from jobs.console import run_job
from pipeline.store import merge

SILENCE = 4.0  # seconds without an answer of the head; the usual patience would be most of a run


def slowly(compute, pause: float, task, shared) -> bytes:
    """Compute a task after a pause that depends on the task alone."""
    time.sleep(pause * int(task.id[:4], 16) / 0xFFFF)
    return compute(task, shared)


def main(arguments: list[str]) -> None:
    whole_below, merge_seconds, merge_share, pause = map(float, arguments[:4])
    merge.WHOLE_BELOW = whole_below
    folder.MERGE_SECONDS, folder.MERGE_SHARE = merge_seconds, merge_share
    ray_cluster._SILENCE = SILENCE
    if pause:
        pipeline.compute.compute = partial(_module().slowly, pipeline.compute.compute, pause)
    run_job(atlas, "atlas", "", arguments[4:])


def _module():
    """This module by its name, by which the workers find it too."""
    from tests.torture import command

    return command


if __name__ == "__main__":
    main(sys.argv[1:])
