"""Make the pages of an atlas."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_out
from pipeline.errors import OutputError


def site(config: DictConfig) -> int:
    """Build the pages; return the exit code."""
    out = read_out(config)
    build_pages(out, config.workers)
    print(f"open {out}/site/index.html", file=sys.stderr)
    return DONE


def build_pages(out: Path, workers: int | None) -> None:
    """Make or update the pages of the atlas in a folder. workers : processes; None for one per core."""
    from atlas_viewer.site.build import build

    if not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not found; make it with make atlas OUT={out}, or name another with OUT=…")
    build(out / "atlas.h5", out / "site", workers=workers if workers is not None else os.cpu_count() or 1)


if __name__ == "__main__":
    run_job(site, "site", __doc__)
