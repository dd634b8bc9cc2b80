"""Make the pages of an atlas."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_out
from jobs.settings_reader import read_settings
from pipeline.errors import AtlasError, OutputError, disk_fault
from pipeline.settings import check

MEGABYTES = 450  # of memory that a process may need


@dataclass(frozen=True)
class SiteSettings:
    """How pages are made: processes, None for as many as fit; and whether all pictures keep their stored size."""

    workers: int | None
    full: bool


def site(config: DictConfig) -> int:
    """Build the pages; return the exit code."""
    out = read_out(config)
    build_pages(out, read_site(config), unfinished(out))
    print(f"open {out}/site/index.html", file=sys.stderr)
    return DONE


def read_site(config: DictConfig) -> SiteSettings:
    """How pages are made, of a composed configuration. Raises SettingsError for invalid values."""
    settings = read_settings(SiteSettings, config.site, "site")
    if settings.workers is not None:
        check("site.workers", settings.workers, "1 or more", settings.workers >= 1)
    return settings


def build_pages(out: Path, settings: SiteSettings, note: str = "") -> None:
    """Make or update the pages of the atlas in a folder. note : a line at the head of every page."""
    from atlas_viewer.site.build import build

    if not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not found; make it with make atlas OUT={out}, or name another with OUT=…")
    workers = settings.workers if settings.workers is not None else fitting_workers()
    try:
        build(out / "atlas.h5", out / "site", workers=workers, full=settings.full, note=note)
    except Exception as error:
        fault = None if isinstance(error, AtlasError) else disk_fault(error)
        if fault is None:
            raise
        raise OutputError(
            f"{out}/site: the pages cannot be written ({fault.reason}), those of before stay; {fault.remedy}"
        ) from error


def unfinished(out: Path) -> str:
    """The line for the head of every page of an atlas that lacks pictures of its plan; empty for a complete one.

    Pages are made from atlas.h5 alone, so a folder without a plan that can be read has no such line.
    """
    from jobs.estimate import estimate
    from jobs.folder import read_plan

    left = 0
    with suppress(AtlasError):
        plan = read_plan(out)
        left = 0 if plan is None else sum(one.results for one in estimate(plan, out) if one.size is not None)
    return f"This atlas is not finished: {left:,} pictures are not computed yet." if left else ""


def fitting_workers() -> int:
    """Processes for which this machine has cores and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _free_megabytes() // MEGABYTES))


def _free_megabytes() -> int:
    """Memory that can be had without swapping: of the machine, and of the group of processes where that is less."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    with suppress(OSError, ValueError):  # "max" where there is no limit
        free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return free // 1_000_000


if __name__ == "__main__":
    run_job(site, "site", __doc__)
