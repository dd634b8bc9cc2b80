"""The folder of an atlas: its plan, its lock and log, and the merge of its shards."""

from __future__ import annotations

import fcntl
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from jobs.run_log import RunLogFile, write_event
from pipeline.errors import OutputError, disk_fault
from pipeline.methods import registry
from pipeline.plan import Plan
from pipeline.store.merging import MergeReport
from pipeline.store.shard import ShardFolder, write_whole
from pipeline.units import address
from pipeline.work import Work

if TYPE_CHECKING:
    from pipeline.resources import Resources

log = logging.getLogger("atlas")
MERGE_SECONDS, MERGE_SHARE = 120.0, 0.05  # least time between two merges of a run, and their share of its time
MERGE_FIRST, MERGE_GROWTH = 15.0, 0.5  # seconds before the first merge; the next ones wait for half of the time so far
MERGE_BYTES, MERGE_PART = 1e9, 0.1  # new bytes, and their part of the atlas, that are merged whatever the time


def read_plan(out: Path) -> Plan | None:
    """The plan of an atlas folder, or None if there is none yet.

    Raises OutputError for a plan that cannot be read, and for an atlas without a plan, which a merge would replace.
    """
    try:
        return registry.read_plan(json.loads((out / "plan.json").read_text()))
    except FileNotFoundError:
        if (out / "atlas.h5").exists():
            raise OutputError(
                f"{out}/atlas.h5: its plan.json is missing, so nothing can be added to this atlas; put the file back, "
                f"or choose another folder with OUT=…"
            ) from None
        return None
    except OutputError as error:
        raise OutputError(f"{out}/{error}" if str(error).startswith("plan.json") else str(error)) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise OutputError(f"{out}/plan.json: cannot be read ({reason}); choose another folder with OUT=…") from None


def stored_plan(out: Path) -> Plan:
    """The plan of a folder with an atlas. Raises OutputError if it has no atlas."""
    plan = read_plan(out)
    if plan is None or not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not found; make it with make atlas OUT={out}, or name another with OUT=…")
    return plan


def open_work(plan: Plan, out: Path, resources: Resources | None = None, *, read_only: bool = False) -> Work:
    """The work of a plan in an atlas folder: what the atlas there holds needs no task.

    resources : what tasks read; None to use stored results only.
    read_only : whether nothing in the folder may change, damaged shards included.
    """
    from pipeline.store.held import HeldAtlas

    shards, atlas = ShardFolder(out / "shards", read_only=read_only), out / "atlas.h5"
    with HeldAtlas.open(atlas) as held:
        left = plan.without(registry.held_units(plan, held))
    return Work(plan, shards, atlas, left, resources)


def stored_work(plan: Plan, out: Path) -> Work:
    """The work of a plan, with its tasks cut as far as the results in the folder allow; nothing is computed."""
    return registry.cut(open_work(plan, out))


def write_plan(plan: Plan, out: Path) -> None:
    """Store the plan of an atlas folder."""
    write_whole(out / "plan.json", (json.dumps(plan.record(), sort_keys=True, indent=1) + "\n").encode())


def merge_atlas(work: Work, out: Path) -> MergeReport:
    """Merge the shards of an atlas folder into its atlas.h5."""
    from pipeline.store.merge import merge

    total = sum(map(len, work.tasks.values()))
    with tqdm(total=total, desc="merge", unit="task", disable=not sys.stderr.isatty(), leave=False) as bar:
        return merge(work, out / "atlas.h5", _deciding_settings(work.plan), bar.update)


class Growing:
    """Merges what a run has computed so far, now and then, so that the atlas can be read while the run goes on.

    The first merge comes soon, later ones less and less often. Merges take at most one part in twenty of the run's
    time, and what is merged is removed from the shards. Results that arrive fast are merged as soon as they are a tenth
    of the atlas, because a merge has them on the disk twice.
    """

    def __init__(self, work: Work, out: Path, merged: Callable[[MergeReport], None] = lambda report: None) -> None:
        """merged : called after each merge."""
        self._work, self._out, self._after = work, out, merged
        self._began = time.monotonic()
        self._next = self._began + min(MERGE_FIRST, MERGE_SECONDS)
        self._merged, self._most = work.shards.written, self._may_wait()

    def tick(self) -> None:
        """Merge, if it is time; called after each result."""
        started = time.monotonic()
        if started < self._next and self._work.shards.written - self._merged < self._most:
            return
        report = merge_atlas(self._work, self._out)
        ended = time.monotonic()
        write_event("merge", seconds=round(ended - started, 3))
        pause = min(MERGE_SECONDS, max(MERGE_FIRST, (ended - self._began) * MERGE_GROWTH))
        self._next = ended + max(pause, (ended - started) / MERGE_SHARE)
        self._merged, self._most = self._work.shards.written, self._may_wait()
        self._after(report)

    def _may_wait(self) -> float:
        """Bytes of shards that may lie beside the atlas."""
        from pipeline.store.publishing import size_of

        return max(MERGE_BYTES, MERGE_PART * size_of(self._out / "atlas.h5"))


def _deciding_settings(plan: Plan) -> str:
    """The settings that decide results, as YAML."""
    record = {
        "model": {"name": plan.card.name, "digest": plan.card.digest},
        **registry.described(plan),
        "units": [address(layer.name, plan.layer_units(layer.name)) for layer in plan.layers()],
    }
    return OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(record))))


@contextmanager
def output(out: Path, config: DictConfig):
    """Create the atlas folder, lock it for this run, and write a log of the run."""
    from pipeline.store.publishing import finish_interrupted

    try:
        (out / "log").mkdir(parents=True, exist_ok=True)
        lock = open(out / ".lock", "w")  # noqa: SIM115 - held until the run ends
    except OSError as error:
        raise _unwritable(out, error) from None
    with lock:
        _hold(lock, out)
        try:
            handler = RunLogFile(out / "log")
        except OSError as error:
            raise _unwritable(out, error) from None
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        write_event("run", command=sys.argv, configuration=OmegaConf.to_container(config, resolve=True))
        try:
            finish_interrupted(out / "atlas.h5", ShardFolder(out / "shards"))
            for left in out.glob(".plan.json.*.part"):  # of a run that died while it wrote its plan
                left.unlink(missing_ok=True)
            yield
        finally:
            log.removeHandler(handler)
            handler.close()


def _unwritable(out: Path, error: OSError) -> OutputError:
    fault = disk_fault(error)
    remedy = "choose another folder with OUT=…" if fault is None else fault.remedy
    return OutputError(f"{out}: cannot be written ({error.strerror}); {remedy}")


def _hold(lock: TextIO, out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{out}: another run is writing here; wait for it, or choose OUT=…") from None
    except OSError:  # some network file systems have no locks
        log.warning("%s: this file system has no locks; make sure that only one run at a time writes here", out)
