"""Send a job to a running Ray cluster: python -m jobs.ray [--address=URL] [JOB] [override …]

The job runs on the cluster's first machine, in ~/visualization-atlas (or $ATLAS_FOLDER there), where on_premise.yaml
and aws.yaml put this checkout. Paths are those of that machine, so they are absolute. --address is the job server,
http://127.0.0.1:8265 by default, which `ray dashboard CLUSTER.yaml` brings here. Other options are those of `ray job
submit`. The token is read from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, and is never an argument.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.console import DONE, REFUSED, run_program
from jobs.submission import Submission, read_submission

ADDRESS = "--address=http://127.0.0.1:8265"
# Run by a shell of the cluster's first machine. The words after it reach the job as they are, through "$@".
THERE = 'cd "${ATLAS_FOLDER:-$HOME/visualization-atlas}" && exec .venv/bin/python -m "$@"'


def ray_job(asked: Submission) -> list[str]:
    """The command that sends a job."""
    options = asked.options if any(one.startswith("--address") for one in asked.options) else (ADDRESS, *asked.options)
    ray = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *options, "--no-wait"]
    return [*ray, "--", "bash", "-c", THERE, "atlas", f"jobs.{asked.job}", *asked.overrides]


def authenticated(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Ray uses this user's token, if there is one."""
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token").expanduser()
    mode = {"RAY_AUTH_MODE": "token"} if environment.get("RAY_AUTH_TOKEN") or path.is_file() else {}
    return {**mode, **environment}


def main(arguments: Sequence[str]) -> int:
    """Send the job that the arguments describe."""
    command = ray_job(read_submission(arguments, elsewhere=True))
    ran = subprocess.run(command, env=authenticated(os.environ))
    return DONE if ran.returncode == 0 else REFUSED


if __name__ == "__main__":
    run_program(main)
