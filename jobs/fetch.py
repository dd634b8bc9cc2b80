"""Fetch a network's published files into the cache, for example on the login node of a cluster."""

from __future__ import annotations

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_model


def fetch(config: DictConfig) -> int:
    """Fetch the files that are missing; return the exit code."""
    from pipeline.nets.open_network import fetch_files
    from pipeline.nets.publishers import open_published

    model = read_model(config.model)
    files = fetch_files(model)
    for name, path in files.items():
        print(f"{name}: {path}")
    if model.published:
        kept_in = open_published(model, files.get("weights")).kept_in
        print("nothing is to be fetched" if kept_in is None else f"weights: in {kept_in}")
    return DONE


if __name__ == "__main__":
    run_job(fetch, "fetch", __doc__)
