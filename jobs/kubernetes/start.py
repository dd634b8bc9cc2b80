"""Runs in the cluster: start the job that the variable ATLAS_JOB describes, a JSON list of its name and overrides.

The variable, not the arguments: on their way to here, arguments pass through two shells.
"""

from __future__ import annotations

import json
import os
import sys


def command(described: str) -> list[str]:
    """The command of a job. described : the JSON list."""
    job, *overrides = json.loads(described)
    folder = __package__.rpartition(".")[0]  # jobs, or visualization_atlas.jobs where it is installed
    return [sys.executable, "-u", "-m", f"{folder}.{job}", *overrides]


if __name__ == "__main__":
    words = command(os.environ["ATLAS_JOB"])
    os.execv(words[0], words)
