"""Storing and merging an atlas of CaffeNet's shape, and then adding to it; the pictures come from a pool.

All of `make atlas` but computing: tasks are cut, shards are written and synced, merged while the run goes on, removed.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.field import Status
from jobs.bench.ascent_on_cones import caffenet_shaped
from jobs.bench.figures import Figures
from jobs.console import compose_config
from jobs.folder import Growing, merge_atlas, open_work, write_plan
from jobs.request import read_config
from pipeline.methods.ascent.task import ASCENT, AscentTask
from pipeline.nets.network_card import network_card
from pipeline.plan import Plan
from pipeline.store.publishing import pack_atlas, size_of
from pipeline.store.shard import Pieces, encode_shard
from pipeline.units import Units

QUESTION = "time, memory and disk of storing an atlas of CaffeNet's shape (10,568 units, 4 styles), and of adding to it"
STYLES = "sparse,high_frequency,low_frequency,contribution"
ADDED = "conv4"  # the layer that gets another style
POOL = 24  # different pictures of each size
_FREE = 8e9  # bytes of the disk that are left free
_ONE = {"conv1": tuple(range(96)), "conv4": tuple(range(384)), "fc8": tuple(range(1000))}  # of a short run


@dataclass
class Pool:
    """Pictures of every size, encoded once; smooth noise, which takes about as many bytes as a picture of ascent."""

    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    chunks: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def of(self, height: int, width: int) -> list[bytes]:
        if (height, width) not in self.chunks:
            self.chunks[height, width] = [STYLE["pixels"].encode(self._picture(height, width)) for _ in range(POOL)]
        return self.chunks[height, width]

    def _picture(self, height: int, width: int) -> np.ndarray:
        noise = self.random.normal(0, 1, (height, width, 3))
        for axis in (0, 1):
            noise = sum(np.roll(noise, shift, axis) for shift in range(-2, 3)) / 2.5
        return np.clip(110 + 24 * noise, 0, 255).astype("u1")[None, None]

    def shard(self, task: AscentTask, size: tuple[int, int]) -> bytes:
        """A shard of a task as computing it would give it."""
        count, points, chunks = len(task.units), task.style.ascent.trace_points, self.of(*size)
        arrays = {
            "pixels": Pieces("u1", (count, *size, 3), [chunks[(unit + task.sample) % POOL] for unit in task.units]),
            "activation": np.array(task.units, np.float32),
            "activation_float": np.array(task.units, np.float32),
            "best_step": np.full(count, 5, np.int32),
            "stopped": np.full(count, -1, np.int32),
            "status": np.full(count, Status.ok, np.uint8),
            "attempt": np.zeros(count, np.uint8),
            "trace": self.random.normal(0, 1, (count, points)).astype(np.float32),
            "trace_step": np.arange(points, dtype=np.int32),
        }
        return encode_shard(task.record(), arrays, {"halved": 0, "packages": ["torch 2"]})


@dataclass
class Watch:
    """The largest number of bytes that a folder has held. It looks whenever it is called, at most once a second."""

    folder: Path
    most: int = 0
    last: float = 0.0

    def look(self) -> None:
        now = time.monotonic()
        if now - self.last > 1:
            self.last = now
            self.most = max(self.most, _bytes(self.folder))


def measure(short: bool) -> Figures:
    """Grow an atlas in a temporary folder (TMPDIR chooses the disk), and add to it."""
    figures, pool, card = Figures(), Pool(), network_card(caffenet_shaped())
    shown = {layer.name: tuple(range(layer.channels)) for layer in card.layers if layer.shown}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        units, samples = (_ONE, 1) if short else (shown, _samples(card, shown, out))
        plan = _asked(Plan(card), units, samples)
        seconds, watch = _run(plan, out, pool)
        pictures = sum(map(len, plan.parts.values()))
        figures.add("units", sum(map(len, units.values())), "")
        figures.add("samples", samples, "")
        figures.add("pictures", pictures, "")
        figures.add("storing and merging all", seconds, "s")
        figures.add("a picture", 1000 * seconds / pictures, "ms")
        figures.add("the atlas with its parts", size_of(out / "atlas.h5") / 1e9, "GB")
        figures.add("most of the disk at a time", watch.most / 1e9, "GB")
        figures.add("the same again", _run(plan, out, pool)[0], "s")
        plan = _asked(plan, {ADDED: units[ADDED]}, samples, ("other",))
        figures.add(f"another style of {ADDED}", _run(plan, out, pool)[0], "s")
        plan = _asked(plan, {"fc8": (17,)}, samples + 1)
        figures.add("one more sample of a unit of fc8", _run(plan, out, pool)[0], "s")
        figures.add("memory of the driver", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")
        if shutil.disk_usage(out).free > 1.2 * size_of(out / "atlas.h5") + _FREE:
            figures.add("packing it", _seconds(lambda: pack_atlas(out / "atlas.h5")), "s")
            figures.add("one whole file", (out / "atlas.h5").stat().st_size / 1e9, "GB")
    return figures


def _samples(card: object, units: Units, out: Path) -> int:
    """Nine samples, or as many as the disk takes."""
    picture = {layer.name: layer.window_size[0] * layer.window_size[1] * 3 for layer in card.layers}  # type: ignore[attr-defined]
    sample = 4 * sum(len(chosen) * min(picture[layer], 227 * 227 * 3) for layer, chosen in units.items())
    return max(1, min(9, int((shutil.disk_usage(out).free - _FREE) / sample)))


def _asked(plan: Plan, units: Units, samples: int, styles: Sequence[str] = ()) -> Plan:
    """The plan with pictures of these units; styles : names of further styles, besides those of a new plan."""
    config = read_config(compose_config("atlas", ["device=cpu", "experiment=null", f"styles=[{STYLES}]"]))
    records = ASCENT.read(config)
    if styles:
        records = tuple(replace(records[0], style=replace(records[0].style, name=name)) for name in styles)
    return plan.union(Plan(plan.card).asking("ascent", records, units, samples))


def _run(plan: Plan, out: Path, pool: Pool) -> tuple[float, Watch]:
    """Seconds of a run without the computing, and what the disk held."""
    watch, started = Watch(out), time.perf_counter()
    write_plan(plan, out)
    work = open_work(plan, out)
    growing = Growing(work, out)
    for stage in ASCENT.stages(work):
        for task in stage:
            layer = plan.card.layer(task.layer)
            work.shards.write(task.id, pool.shard(task, layer.picture("window", plan.card.image)))
            watch.look()
            growing.tick()
    merge_atlas(work, out)
    watch.last = 0.0
    watch.look()
    return time.perf_counter() - started, watch


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _bytes(folder: Path) -> int:
    """Bytes of all files in a folder; a file with two names counts once."""
    found: dict[int, int] = {}
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.stat(os.path.join(path, name))
            except FileNotFoundError:  # removed meanwhile
                continue
            found[status.st_ino] = status.st_size
    return sum(found.values())
