"""`python faulty_atlas.py FAULT ARGUMENTS…` runs the atlas job, with a fault put where tasks are computed.

block:N computes N tasks and then waits to be killed. kill:MARKER kills the process that computes the first task,
once: MARKER is the file that says so.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import pipeline.compute
from jobs.atlas import atlas
from jobs.console import run_job

computed = 0
real = pipeline.compute.compute


def block(task, network):
    global computed
    if computed == int(detail):
        time.sleep(600)
    computed += 1
    return real(task, network)


def kill(task, network):
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return real(task, network)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    fault, _, detail = sys.argv[1].partition(":")
    marker = detail
    pipeline.compute.compute = {"block": block, "kill": kill}[fault]
    run_job(atlas, "atlas", "", sys.argv[2:])
