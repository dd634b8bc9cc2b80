"""Submit a job to Slurm, for all nodes of an allocation: python -m jobs.slurm [options of sbatch] [JOB] [override …]

Words that begin with - are options of sbatch, as --name=value (--nodes=4 --gpus-per-node=8 --time=12:00:00). JOB is atlas
(the default), sweep, score or prior. The overrides are those of the job, and reach it unchanged. What is wrong with them is
said here, before anything waits in a queue.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.console import DONE, REFUSED, compose_config
from jobs.request import read_out
from pipeline.errors import AtlasError, SettingsError, nearest

SCRIPT = Path(__file__).with_name("atlas.sbatch")
JOBS = ("atlas", "sweep", "score", "prior")  # those whose work can be spread over a cluster


@dataclass(frozen=True)
class Submission:
    """options : of sbatch. overrides : of the job, with an absolute folder. out : that folder."""

    job: str
    options: tuple[str, ...]
    overrides: tuple[str, ...]
    out: Path

    def command(self) -> list[str]:
        """The command that submits it."""
        pattern = str(self.out / "log" / "slurm-").replace("\\", "\\\\").replace("%", "%%") + "%j.log"
        return ["sbatch", f"--output={pattern}", *self.options, str(SCRIPT), self.job, *self.overrides]


def read_submission(arguments: Sequence[str]) -> Submission:
    """The submission that the arguments describe. Raises SettingsError for what cannot be done."""
    options = tuple(word for word in arguments if word.startswith("-"))
    words = [word for word in arguments if not word.startswith("-")]
    job = words.pop(0) if words and "=" not in words[0] else "atlas"
    if job not in JOBS:
        raise SettingsError(
            f"{job}: no job for a cluster{nearest(job, JOBS)}; they are {', '.join(JOBS)}, and options of sbatch are "
            f"written as --name=value"
        )
    overrides = in_a_cluster(job, words)
    out = read_out(compose_config(job, overrides)).absolute()
    return Submission(job, options, (*overrides, f"out={hydra_text(str(out))}"), out)


def in_a_cluster(job: str, overrides: Sequence[str]) -> list[str]:
    """The overrides of a job, with cluster=ray. Raises SettingsError if they ask for another place or address."""
    for word in overrides:
        name, _, value = word.partition("=")
        if name == "cluster" and value != "ray":
            raise SettingsError(f"{word}: in an allocation the job runs on all of its nodes; leave cluster= out")
        if name == "cluster.address":
            raise SettingsError(f"{word}: the cluster is started by the job itself; leave cluster.address= out")
    chosen = [word for word in overrides if not word.startswith(("cluster=", "out="))]
    out = [word for word in overrides if word.startswith("out=")]
    return ["cluster=ray", *chosen, *out[-1:]]


def hydra_text(text: str) -> str:
    """A text in the quotes of Hydra's overrides."""
    return '"' + text.replace('"', '\\"') + '"'


def submit(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Submit a job, and print how to follow it."""
    asked = read_submission(arguments)
    if shutil.which("sbatch") is None:
        raise SettingsError("sbatch: not found; submit from a machine of the Slurm cluster")
    try:
        (asked.out / "log").mkdir(parents=True, exist_ok=True)  # Slurm creates no folders
    except OSError as error:
        raise SettingsError(f"{asked.out}: cannot be written ({error.strerror}); choose another folder with OUT=…") from None
    root = SCRIPT.parents[2]
    ran = subprocess.run(asked.command(), cwd=root, env={**environment, "ATLAS_PYTHON": sys.executable})
    if ran.returncode == 0:
        print(f"logs: {asked.out}/log/slurm-*; follow it by make status OUT={asked.out}", file=sys.stderr)
    return DONE if ran.returncode == 0 else REFUSED


if __name__ == "__main__":
    try:
        sys.exit(submit(sys.argv[1:], os.environ))
    except AtlasError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(REFUSED)
