"""Jobs that are sent to a cluster: which ones, and their overrides, read here before they wait anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import compose_config
from jobs.request import read_out
from pipeline.errors import SettingsError, nearest

JOBS = ("atlas", "sweep", "prior")  # those whose work can be spread over a cluster
FILES = (
    "model.weights",
    "model.definition",
    "model.labels",
    "dataset.root",
    "dataset.labels",
)  # settings that name files


@dataclass(frozen=True)
class Submission:
    """A job to send.

    options : words for the program that takes it, each beginning with -.
    overrides : with cluster=ray and an absolute folder.
    out : that folder.
    """

    job: str
    options: tuple[str, ...]
    overrides: tuple[str, ...]
    out: Path


def read_submission(arguments: Sequence[str], *, elsewhere: bool) -> Submission:
    """The submission that a command line describes: options, then perhaps a job, then its overrides.

    elsewhere : whether the job runs on a machine that does not have this folder, so that relative paths mean nothing.
    Raises SettingsError for an unknown job or setting, a place other than the cluster, and a path that means nothing.
    """
    options = tuple(word for word in arguments if word.startswith("-"))
    words = [word for word in arguments if not word.startswith("-")]
    job = words.pop(0) if words and "=" not in words[0] else "atlas"
    if job not in JOBS:
        raise SettingsError(
            f"{job}: no job for a cluster{nearest(job, JOBS)}; they are {', '.join(JOBS)}, and options are written as "
            f"--name=value"
        )
    overrides = _on_the_cluster(words)
    config = compose_config(job, overrides)
    out = read_out(config)
    if elsewhere:
        _check_absolute(config, out)
    kept = [word for word in overrides if not word.startswith("out=")]
    out = out.absolute()
    return Submission(job, options, (*kept, f"out={hydra_text(str(out))}"), out)


def hydra_text(text: str) -> str:
    """A text in the quotes of Hydra's overrides."""
    return '"' + text.replace('"', '\\"') + '"'


def _on_the_cluster(overrides: Sequence[str]) -> list[str]:
    for word in overrides:
        name, _, value = word.partition("=")
        if name == "cluster" and value != "ray":
            raise SettingsError(f"{word}: the job runs on all nodes that it is given; leave cluster= out")
        if name == "cluster.address":
            raise SettingsError(f"{word}: the job runs on the cluster that it is sent to; leave cluster.address= out")
    return ["cluster=ray", *(word for word in overrides if not word.startswith("cluster="))]


def _check_absolute(config: DictConfig, out: Path) -> None:
    if not out.is_absolute():
        raise SettingsError(f"out: {out} is relative; name a folder of the cluster's first machine, OUT=/…")
    for setting in FILES:
        section, _, name = setting.partition(".")
        value = (config.get(section) or {}).get(name)
        if isinstance(value, str) and not value.startswith(("/", "~")) and Path(value).exists():
            raise SettingsError(f"{setting}: {value} is relative; name it by its path on the cluster's machines")
