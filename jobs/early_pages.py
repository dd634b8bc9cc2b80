"""Pages of an atlas that is still being computed: made beside the run whenever there is more to see."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from atlas_viewer.site.build import end_with_parent
from jobs.site import SiteSettings, build_pages
from pipeline.store.merging import MergeReport

log = logging.getLogger("atlas")
SHARE = 0.2  # of the run's time in which one process makes pages
_PATIENCE = 1.0  # seconds between two requests to a process to end
_STOPPED = 143  # exit code of a process that was asked to end


class EarlyPages:
    """Makes the pages of what is merged so far, in one process beside the run, which never waits for it.

    Each page says at its head how much there is. The pages that are made at the end are those of an atlas that was
    finished from the start, because only what changed is drawn again.
    """

    def __init__(self, out: Path, settings: SiteSettings) -> None:
        self._out, self._settings = out, settings
        self._process: multiprocessing.process.BaseProcess | None = None
        self._thread: threading.Thread | None = None
        self._next, self._told = 0.0, False

    def merged(self, report: MergeReport) -> None:
        """Begin to make pages, unless they are being made, or were a short time ago."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        there = report.pictures - report.missing
        note = f"This atlas is not finished: {there:,} of {report.pictures:,} pictures."
        note += " While make atlas runs, its pages are made again: reload them to see more."
        # A fresh process: a forked one would share the threads of the driver, and its open files.
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_make, args=(self._out, self._settings, note))
        self._thread = threading.Thread(target=self._wait, args=(self._process,), daemon=True)
        self._thread.start()

    def _wait(self, process: multiprocessing.process.BaseProcess) -> None:
        """Run the process to its end, in a thread."""
        started = time.monotonic()
        process.start()
        process.join()
        ended = time.monotonic()
        self._next = ended + (ended - started) * (1 / SHARE - 1)
        if process.exitcode == 0 and not self._told:
            self._told = True
            tqdm.write(f"first pages: open {self._out}/site/index.html; they grow with the atlas", sys.stderr)
        elif process.exitcode not in (0, _STOPPED, -signal.SIGTERM):  # the last: it was asked before it could listen
            log.warning("pages of the unfinished atlas were not made (exit code %s)", process.exitcode)

    def stop(self) -> None:
        """End the process, if it runs; the pages of before stay."""
        while self._thread is not None and self._thread.is_alive():
            if self._process is not None and self._process.pid is not None:
                self._process.terminate()
            self._thread.join(_PATIENCE)


@contextmanager
def early_pages(out: Path, settings: SiteSettings, *, wanted: bool = True) -> Iterator[Callable[[MergeReport], None]]:
    """Give a function to call after each merge, which makes pages; none are being made after the body.

    wanted : whether pages are made at all.
    """
    pages = EarlyPages(out, settings)
    try:
        yield pages.merged if wanted else lambda report: None
    finally:
        pages.stop()


def _make(out: Path, settings: SiteSettings, note: str) -> None:
    """Make the pages, in a process of its own, which ends with the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=end_with_parent, daemon=True).start()
    build_pages(out, SiteSettings(1, settings.full), note)


def _stop(number: int, frame: object) -> None:
    """End by an exception, so that what is half-made is removed."""
    raise SystemExit(_STOPPED)
