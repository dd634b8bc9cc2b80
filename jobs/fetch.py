"""Fetch a network's published files into the cache, for example on the login node of a cluster."""

from __future__ import annotations

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_model


def fetch(config: DictConfig) -> int:
    """Fetch the files that are missing; return the exit code."""
    from pipeline.nets.open_network import fetch_files

    for name, path in fetch_files(read_model(config.model)).items():
        print(f"{name}: {path}")
    return DONE


if __name__ == "__main__":
    run_job(fetch, "fetch", __doc__)
