"""The script visualization-atlas: every job as a subcommand."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from jobs.console import DONE, REFUSED, run_job
from pipeline.errors import nearest

PROGRAM = "visualization-atlas"
JOBS = (
    "atlas",
    "layers",
    "fetch",
    "site",
    "compare",
    "diff",
    "score",
    "interpretability",
    "sweep",
    "pixels",
    "pack",
    "status",
    "verify",
    "export",
    "publish",
    "prior",
    "train",
    "photos",
)
PLAN = "plan"  # the job atlas with plan=true
# What the Makefile's variables are called as options of a job.
VARIABLES = {"MODEL": "model", "DATASET": "dataset", "OUT": "out", "JUDGE": "model@judge", "LAYER": "layer"}
VARIABLES |= {"ATLASES": "atlases", "HELD_OUT": "held_out", "A": "a", "B": "b", "LAYOUT": "layout", "TO": "to"}

_HELP = f"""Visualization atlases of trained networks: what each unit of each layer responds to.

usage: {PROGRAM} JOB [option=value …] [--cfg job] [--help]

{{jobs}}

{PROGRAM} JOB --help names the options of a job; --cfg job prints them with their values."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job that the arguments name, and exit with its code; without arguments, list the jobs."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("--help", "-h", "help"):
        print(_HELP.format(jobs="\n".join(_lines())))
        sys.exit(DONE)
    if name == "--version":
        print(f"{PROGRAM} {version(PROGRAM)}")
        sys.exit(DONE)
    if name not in (*JOBS, PLAN):
        print(f"error: {name}: no such job{nearest(name, (*JOBS, PLAN))}; {PROGRAM} --help lists them", file=sys.stderr)
        sys.exit(REFUSED)
    job, preset = ("atlas", ["plan=true"]) if name == PLAN else (name, [])
    module = _module(job)
    run_job(getattr(module, job), job, module.__doc__ or "", [*preset, *rest], program=f"{PROGRAM} ", spelled=as_script)


def as_script(text: str) -> str:
    """A message with the commands of the Makefile as this script spells them.

    "make layers MODEL=caffenet" becomes "visualization-atlas layers model=caffenet", "OUT=…" becomes "out=…".
    """
    text = re.sub(rf"\bmake ({'|'.join((*JOBS, PLAN))})\b", rf"{PROGRAM} \1", text)
    return re.sub(rf"\b({'|'.join(VARIABLES)})=", lambda found: f"{VARIABLES[found[1]]}=", text)


def _lines() -> list[str]:
    """A line for each job: its name, and the first sentence of its module."""
    said = {job: (_module(job).__doc__ or "").strip().splitlines()[0] for job in JOBS}
    said = {"atlas": said["atlas"], PLAN: "Print what an atlas would cost in time and bytes, and stop.", **said}
    return [f"  {job:8} {line}" for job, line in said.items()]


def _module(job: str) -> object:
    return import_module(f"{__package__}.{job}")


if __name__ == "__main__":
    main()
