"""Submit a job to Slurm, for all nodes of an allocation: python -m jobs.slurm [options of sbatch] [JOB] [override …]

Words that begin with - are options of sbatch, as --name=value (--nodes=4 --gpus-per-node=8 --time=12:00:00). JOB is
atlas (the default), sweep or prior. Its overrides reach it unchanged. What is wrong with them is said here, before
anything waits in a queue.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.console import DONE, REFUSED, run_program
from jobs.submission import Submission, read_submission
from pipeline.errors import SettingsError

SCRIPT = Path(__file__).with_name("atlas.sbatch")


def sbatch(asked: Submission) -> list[str]:
    """The command that submits a job. Slurm replaces %j by the job's number."""
    pattern = str(asked.out / "log" / "slurm-").replace("\\", "\\\\").replace("%", "%%") + "%j.log"
    return ["sbatch", f"--output={pattern}", *asked.options, str(SCRIPT), asked.job, *asked.overrides]


def submit(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Submit a job, and print how to follow it."""
    asked = read_submission(arguments, elsewhere=False)
    if shutil.which("sbatch") is None:
        raise SettingsError("sbatch: not found; submit from a machine of the Slurm cluster")
    try:
        (asked.out / "log").mkdir(parents=True, exist_ok=True)  # Slurm creates no folders
    except OSError as error:
        raise SettingsError(
            f"{asked.out}: cannot be written ({error.strerror}); choose another folder with OUT=…"
        ) from None
    root = SCRIPT.parents[2]
    ran = subprocess.run(sbatch(asked), cwd=root, env={**environment, "ATLAS_PYTHON": sys.executable})
    if ran.returncode == 0:
        print(f"logs: {asked.out}/log/slurm-*; follow it by make status OUT={asked.out}", file=sys.stderr)
    return DONE if ran.returncode == 0 else REFUSED


if __name__ == "__main__":
    run_program(lambda arguments: submit(arguments, os.environ))
