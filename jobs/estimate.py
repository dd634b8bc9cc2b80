"""Estimate what a plan takes, before any work starts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from jobs.folder import open_work
from pipeline.methods.method import Estimate
from pipeline.methods.registry import METHODS
from pipeline.plan import Plan
from pipeline.settings import ClusterSettings, DeviceSettings
from pipeline.task import Task

MERGE_SECONDS = 4e-4  # of a picture, on the machine that runs the command
PAGE_SECONDS, PAGE_BYTES = 0.05, 200_000  # of a unit's page, on one core …
DRAWN_SECONDS = 2.5e-3  # … and of each of its pictures, images and back-projections
SHARDS_SHARE = 0.2  # of the new bytes, the part that lies in shards at most before it is merged
CERTAIN = 0.7  # share of an estimate that is needed for certain


@dataclass(frozen=True)
class Space:
    """Bytes that a plan needs on disk.

    atlas : that it adds to atlas.h5.
    shards : that lie beside it at most.
    pages : of its pages.
    """

    atlas: int
    shards: int
    pages: int

    @property
    def together(self) -> int:
        return self.atlas + self.shards + self.pages


def describe(plan: Plan, cluster: ClusterSettings, device: DeviceSettings, out: Path) -> str:
    """A table of what is left of a plan: units, pictures, tasks, time and bytes of each layer and setting."""
    estimates = estimate(plan, out)
    lines = [f"{plan.card.name}@{plan.card.digest[:12]} into {out}/"]
    if not estimates:
        return f"{lines[0]}\nnothing is left to compute"
    lines.append(
        f"{'layer':24} {'setting':16} {'units':>6} {'pictures':>9} {'tasks':>6} {'size':>9} {'time':>9} {'bytes':>9}"
    )
    lines += map(_line, estimates)
    seconds = sum(one.seconds for one in estimates)
    workers = 1 if cluster.kind == "serial" else cluster.workers
    shared = "" if workers is None else f", {tqdm.format_interval(seconds / workers)} with {workers} workers"
    units = sum(len(plan.layer_units(layer.name)) for layer in plan.layers())
    pictures = sum(one.results for one in estimates if one.size is not None)
    results, space = sum(one.results for one in estimates), _space(plan, estimates)
    lines += [
        f"units: {units}; tasks: {sum(one.tasks for one in estimates)}; pictures: {pictures}; about "
        f"{tqdm.format_interval(seconds)} of one {device.kind} worker{shared}",
        f"and on this machine about {tqdm.format_interval(MERGE_SECONDS * results)} of merging and "
        f"{tqdm.format_interval(PAGE_SECONDS * units + DRAWN_SECONDS * results)} of one core for the pages",
        f"disk: about {_bytes(space.atlas)} in atlas.h5, at most {_bytes(space.shards)} of shards beside it, "
        f"{_bytes(space.pages)} of pages; {_bytes(_free(out))} free",
    ]
    short = shortage(plan, estimates, out)
    return "\n".join([*lines, *(() if short is None else (f"warning: {short}",))])


def estimate(plan: Plan, out: Path) -> list[Estimate]:
    """Lines for what is left to compute of a plan, as far as the results in its folder show."""
    work = open_work(plan, out, read_only=True)
    stored = {path.stem for path in work.shards.folder.glob("[0-9a-f][0-9a-f]/*.shard")}
    lines: list[Estimate] = []
    for method in METHODS:
        stages = [_left(tasks, stored) for tasks in method.stages(work)]
        left = [task for tasks in stages for task in tasks]
        if left or not stages:  # without a stage it waits for the results of another method
            lines += [line for line in method.estimate(plan, left) if line.tasks]
    return lines


def shortage(plan: Plan, estimates: Sequence[Estimate], out: Path) -> str | None:
    """One line if the disk clearly has too little space for what is left of a plan; None if it may suffice."""
    space, free = _space(plan, estimates), _free(out)
    if CERTAIN * space.together <= free:
        return None
    return (
        f"{out}: needs about {_bytes(space.together)} of disk ({_bytes(space.atlas)} in atlas.h5, "
        f"{_bytes(space.shards)} of shards beside it, {_bytes(space.pages)} of pages), and {_bytes(free)} are "
        "free; free space, ask for less, choose another folder with OUT=…, or go on with check_disk=false"
    )


def _left(tasks: Sequence[Task], stored: set[str]) -> list[Task]:
    return [task for task in tasks if task.id not in stored] if stored else list(tasks)


def _space(plan: Plan, estimates: Sequence[Estimate]) -> Space:
    units = sum(len(plan.layer_units(layer.name)) for layer in plan.layers())
    atlas = sum(one.bytes for one in estimates)
    shards = int(SHARDS_SHARE * atlas) + sum(one.beside for one in estimates)
    return Space(atlas, shards, units * PAGE_BYTES if estimates else 0)


def _line(estimate: Estimate) -> str:
    size = "" if estimate.size is None else f"{estimate.size[1]}x{estimate.size[0]}"
    results = str(estimate.results) if estimate.results else ""
    stored = _bytes(estimate.bytes) if estimate.bytes and not estimate.note else ""
    line = (
        f"{estimate.layer:24} {estimate.name:16} {estimate.units:6} {results:>9} {estimate.tasks:6} {size:>9} "
        f"{tqdm.format_interval(estimate.seconds):>9} {stored:>9}"
    )
    return f"{line.rstrip()}   {estimate.note}".rstrip()


def _bytes(count: float) -> str:
    return tqdm.format_sizeof(count, suffix="B", divisor=1000)


def _free(out: Path) -> int:
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
