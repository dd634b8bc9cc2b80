"""Estimate what a plan takes, before any work starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from tqdm import tqdm

from jobs.folder import open_work
from pipeline.methods.method import Estimate
from pipeline.methods.registry import METHODS
from pipeline.plan import Plan
from pipeline.settings import ClusterSettings, DeviceSettings


def describe(plan: Plan, cluster: ClusterSettings, device: DeviceSettings, out: Path) -> str:
    """A table of units, pictures, tasks, estimated time and bytes of a plan, a line for each layer and setting."""
    lines = [
        f"{plan.card.name}@{plan.card.digest[:12]} into {out}/",
        f"{'layer':24} {'setting':16} {'units':>6} {'pictures':>9} {'tasks':>6} {'size':>9} {'time':>9} {'bytes':>9}",
    ]
    estimates = [
        estimate
        for method in METHODS
        for estimate in method.estimate(plan, next(method.stages(open_work(plan, out)), ()))
    ]
    lines += map(_line, estimates)
    seconds = sum(estimate.seconds for estimate in estimates)
    workers = 1 if cluster.kind == "serial" else cluster.workers
    shared = "" if workers is None else f", {tqdm.format_interval(seconds / workers)} with {workers} workers"
    units = sum(len(plan.layer_units(layer.name)) for layer in plan.layers())
    lines.append(
        f"units: {units}; tasks: {sum(estimate.tasks for estimate in estimates)}; pictures: "
        f"{sum(estimate.results for estimate in estimates if estimate.size is not None)}; about "
        f"{tqdm.format_interval(seconds)} of one {device.kind} worker{shared}; about "
        f"{_bytes(sum(estimate.bytes for estimate in estimates))} in atlas.h5 and as much in shards, "
        f"{_bytes(_free(out))} free"
    )
    return "\n".join(lines)


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
