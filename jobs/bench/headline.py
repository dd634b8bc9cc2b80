"""A whole run of CaffeNet's width, by the code of `make atlas`: each stage timed, disk and memory watched.

The weights are generated. Pictures of gradient ascent come from a pool, and back-projections repeat those of a layer's
first units, because computing all of them would take weeks of a core; they are sent, stored, merged and shown as any.
All else is computed: the pass over the photos, and DGN-AM through a generator of DeePSiM's shape, in few iterations.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from atlas_viewer.evidence.ascent import STYLE
from atlas_viewer.field import Status
from jobs.atlas import grow, requested
from jobs.bench.figures import Figures
from jobs.bench.shapes import caffenet_shaped, generator_shaped
from jobs.cluster import Cluster, Notify, ignore, on_demand
from jobs.console import compose_config
from jobs.dispatch import TaskQueue
from jobs.folder import read_plan
from jobs.opening import OpenedPriors, open_images
from jobs.outcome import Compute, Outcome
from jobs.request import read_request
from jobs.site import build_pages, read_site
from pipeline.card import NetworkCard
from pipeline.compute import compute
from pipeline.errors import OutputError
from pipeline.methods.ascent.task import AscentTask
from pipeline.methods.dgn.settings import RunRecord
from pipeline.methods.registry import together
from pipeline.methods.tops.compute import compute_backprojections
from pipeline.methods.tops.task import BackprojectTask
from pipeline.nets.network_card import network_card
from pipeline.priors.card import prior_card
from pipeline.priors.prior import Prior
from pipeline.request import Request
from pipeline.resources import Resources
from pipeline.store.publishing import pack_atlas, size_of
from pipeline.store.shard import Pieces, Shard, encode_shard
from pipeline.task import DEFLATED_SHARE, Task
from pipeline.units import select_units

QUESTION = "a whole run of CaffeNet's width: time, memory and disk of each stage, of additions, of the pages"
IMAGES = "photos-1000.tar"  # in the folder ATLAS_TEST_DATA, unless images=… names another
POOL = 24  # different pictures of each size
SHORT, FEW = "units=[conv1:0-3,conv4:0-3,fc8:0-7]", 100  # of a short run: units, and photos
LONG_RUNS = "dgn.units=[conv3:0-31,conv5:0-31,fc6:0-63,fc8]"
_FREE = 10e9  # bytes of the disk that are left free
MERGED = 1.2  # the atlas and what is merged just now, as a share of the atlas
_OVERRIDES = ("device=cpu", "experiment=null", "pages=false", "check_disk=false")


def measure(short: bool, images: str | None = None) -> Figures:
    """Compute an atlas in a temporary folder (TMPDIR chooses the disk), add to it, and make its pages.

    images : a tar of photos; None for IMAGES in the folder ATLAS_TEST_DATA. Without it no dataset is used.
    """
    figures = Figures(live=not short)
    tar = Path(images) if images is not None else Path(os.environ.get("ATLAS_TEST_DATA", "")) / IMAGES
    with tempfile.TemporaryDirectory() as name, Watch(Path(name)) as watch:
        out = Path(name)
        atlas = Atlas(out, "serial" if short else "local", tar if tar.is_file() else None, FEW if short else None)
        samples = 1 if short else _samples(atlas.card, out)
        wanted = (f"samples={samples}", *([SHORT] if short else []))
        ascent = (*wanted, "methods=[ascent]")
        runs = (*wanted, "methods=[dgn]", "dgn.samples=1", "dgn.iterations=3", "dgn.fresh_starts=0")
        runs = (*runs, "dgn.units=[fc8:0-3]" if short else LONG_RUNS)

        def stage(title: str, *overrides: str) -> None:
            seconds, most = watch.during(lambda: atlas.make(*overrides))
            figures.add(title, seconds, "s")
            figures.add("  most of the disk, to the atlas after it", most / size_of(out / "atlas.h5"), "")

        figures.add("samples", samples, "")
        stage("ascent, pictures from a pool", *ascent)
        figures.add("  pictures", atlas.pictures, "")
        figures.add("  the atlas", size_of(out / "atlas.h5") / 1e9, "GB")
        if atlas.images is not None:
            stage(f"best images among {f'{FEW} of ' if short else ''}{IMAGES}", *wanted, "methods=[tops]")
        stage("DGN-AM, 3 iterations", *runs)
        figures.add("  pictures", atlas.pictures, "")
        figures.add("the atlas with its parts", size_of(out / "atlas.h5") / 1e9, "GB")
        figures.add("the same again", watch.during(lambda: atlas.make(*ascent))[0], "s")
        other = ("methods=[ascent]", "styles=[sparse]", "style.sparse.name=other", f"samples={samples}")
        stage("another style of conv4", *other, "units=[conv4:0-3]" if short else "units=[conv4]")
        stage("one more sample of a unit of fc8", f"samples={samples + 1}", "methods=[ascent]", "units=[fc8:7]")
        for title in ("all pages", "the pages again"):
            figures.add(title, watch.during(lambda: build_pages(out, read_site(_composed())))[0], "s")
        files, written, largest = _site(out / "site")
        figures.add("  files", files, "")
        figures.add("  bytes", written / 1e9, "GB")
        figures.add("  the largest page", largest / 1e3, "kB of HTML")
        figures.add("  most memory of a process", _peak(resource.RUSAGE_CHILDREN), "GB")
        figures.add("most memory of the driver", _peak(resource.RUSAGE_SELF), "GB")
        if shutil.disk_usage(out).free > 1.1 * size_of(out / "atlas.h5") + _FREE:
            figures.add("packing it", watch.during(lambda: pack_atlas(out / "atlas.h5"))[0], "s")
            figures.add("  one whole file", (out / "atlas.h5").stat().st_size / 1e9, "GB")
    return figures


class Atlas:
    """An atlas of CaffeNet with generated weights, which grows as `make atlas` makes it grow."""

    def __init__(self, out: Path, cluster: str, images: Path | None, limit: int | None = None) -> None:
        """limit : maximum number of images; None for all."""
        self.out, self.images, self.limit, self.pictures = out, images, limit, 0
        self._network, self._prior, self._cluster = caffenet_shaped(), _prior(), cluster
        self.card, self._described = network_card(self._network), prior_card(self._prior)

    def make(self, *overrides: str) -> None:
        """Run `make atlas` with these overrides, without opening a model's files and without pages."""
        dataset: tuple[str, ...] = ()
        if self.images is not None:
            dataset = ("dataset=tar", f"dataset.root={self.images}")
            dataset += () if self.limit is None else (f"dataset.limit={self.limit}",)
        config = _composed(f"out={self.out}", f"cluster={self._cluster}", *dataset, *overrides)
        asked = read_request(config)
        units = select_units(self.card, asked.units)
        priors, tops = self._priors(asked), asked.section("tops")
        source = open_images(None if tops is None else tops.dataset, asked.model, self.card)
        opened = {"priors": priors, "source": source}
        before = read_plan(self.out)
        plan = together(before, requested(Request(asked.config, self.card, units, asked.asked, opened)))
        resources = Resources(self._network, source, priors.by_digest())
        with on_demand(asked.cluster, asked.config.device) as places:
            _, merged = grow(before, plan, asked, resources, lambda: Pooled(places()))
        if merged.failed or merged.missing:
            raise OutputError(f"{merged.failed} pictures failed, {merged.missing} are missing")
        self.pictures = merged.pictures

    def _priors(self, asked: object) -> OpenedPriors:
        run = asked.section("dgn")  # type: ignore[attr-defined]
        if run is None:
            return OpenedPriors()
        settings, config = run.settings[""], asked.config  # type: ignore[attr-defined]
        record = RunRecord(self._prior.name, self._described, settings, None, config.seed, config.device)
        return OpenedPriors((self._prior,), (record,))


@dataclass(frozen=True)
class Pooled:
    """A cluster that takes from a pool what would take weeks."""

    inner: Cluster

    @property
    def workers(self) -> int:
        return self.inner.workers

    def run(
        self, compute: Compute, shared: object, key: str, tasks: TaskQueue, notify: Notify = ignore
    ) -> Iterator[tuple[Task, Outcome]]:
        return self.inner.run(_pooled, shared, key, tasks, notify)

    def close(self) -> None:
        self.inner.close()


def _pooled(task: Task, resources: Resources) -> bytes:
    """The shard of a task, in a worker."""
    if isinstance(task, AscentTask):
        return _pool().ascent(task, _card(resources.network.digest, resources))
    if isinstance(task, BackprojectTask):
        return _pool().backprojections(task, resources)
    return compute(task, resources)


@cache
def _pool() -> Pool:
    return Pool()


_cards: dict[str, NetworkCard] = {}  # of this process: digest → card


def _card(digest: str, resources: Resources) -> NetworkCard:
    if digest not in _cards:
        _cards[digest] = network_card(resources.network)
    return _cards[digest]


@dataclass
class Pool:
    """Pictures of every size, encoded once; smooth noise, which takes about as many bytes as a picture of ascent.

    projected : layer → shard of the first task of back-projections there.
    """

    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    chunks: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    projected: dict[str, Shard] = field(default_factory=dict)

    def ascent(self, task: AscentTask, card: NetworkCard) -> bytes:
        """A shard of a task as computing it would give it."""
        pictures, size = task.pictures, card.layer(task.layer).picture(task.style.ascent.canvas, card.image)
        count, points, chunks = task.count, task.style.ascent.trace_points, self._of(*size)
        arrays = {
            "pixels": Pieces("u1", (count, *size, 3), [chunks[(unit + sample) % POOL] for unit, sample in pictures]),
            "activation": np.array([unit for unit, _ in pictures], np.float32),
            "activation_float": np.array([unit for unit, _ in pictures], np.float32),
            "best_step": np.full(count, 5, np.int32),
            "stopped": np.full(count, -1, np.int32),
            "status": np.full(count, Status.ok, np.uint8),
            "attempt": np.zeros(count, np.uint8),
            "trace": self.random.normal(0, 1, (count, points)).astype(np.float32),
            "trace_step": np.arange(points, dtype=np.int32),
        }
        return encode_shard(task.record(), arrays, {"halved": 0, "packages": ["torch 2"]})

    def backprojections(self, task: BackprojectTask, resources: Resources) -> bytes:
        """The shard of the layer's first task; of a later one, its pictures again and again."""
        if task.layer not in self.projected:
            data = compute_backprojections(task, resources)
            self.projected[task.layer] = Shard(data, task.id, verified=True)
            return data
        first, arrays = self.projected[task.layer], {}
        for name in first.names:
            shape = (task.count, *first.shape(name)[1:])
            rows = np.arange(task.count) % first.shape(name)[0]
            if name in task.rules:
                arrays[name] = Pieces("u1", shape, [first.chunk(name, row) for row in rows])
            else:
                arrays[name] = first.array(name)[rows]
        arrays["activation"] = np.array([hit[4] for hit in task.hits], np.float32)
        return encode_shard(task.record(), arrays, first.facts)

    def _of(self, height: int, width: int) -> list[bytes]:
        if (height, width) not in self.chunks:
            self.chunks[height, width] = [STYLE["pixels"].encode(self._picture(height, width)) for _ in range(POOL)]
        return self.chunks[height, width]

    def _picture(self, height: int, width: int) -> np.ndarray:
        noise = self.random.normal(0, 1, (height, width, 3))
        for axis in (0, 1):
            noise = sum(np.roll(noise, shift, axis) for shift in range(-2, 3)) / 2.5
        return np.clip(110 + 24 * noise, 0, 255).astype("u1")[None, None]


class Watch(threading.Thread):
    """Looks every second how many bytes a folder holds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder, self._most, self._ended = folder, 0, threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(1.0):
            self._most = max(self._most, _bytes(self._folder))

    def during(self, work: Callable[[], object]) -> tuple[float, int]:
        """Seconds that some work takes, and the most bytes that the folder held meanwhile."""
        self._most, started = _bytes(self._folder), time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        return seconds, max(self._most, _bytes(self._folder))


def _composed(*overrides: str) -> DictConfig:
    return compose_config("atlas", [*_OVERRIDES, *overrides])


def _prior() -> Prior:
    """A prior of the published generator's shape, with generated weights."""
    shaped = vars(generator_shaped())
    entries = int(np.prod(shaped["code_shape"]))
    return Prior(
        **shaped,
        digest="0" * 64,
        network="caffenet",
        network_digest="",
        code_layer="fc6",
        rectified=True,
        code_mean=np.full(entries, 0.6, np.float32),
        code_deviation=np.full(entries, 1.0, np.float32),
        trained_on={},
        licence="",
        card="",
    )


def _samples(card: NetworkCard, out: Path) -> int:
    """Nine samples, or as many as the disk takes."""
    chosen = select_units(card, None)
    values = sum(len(units) * np.prod(card.layer(name).picture("window", card.image)) for name, units in chosen.items())
    sample = 4 * 3 * DEFLATED_SHARE * MERGED * values
    return max(1, min(9, int((shutil.disk_usage(out).free - _FREE) / sample)))


def _site(folder: Path) -> tuple[int, int, int]:
    """Files, bytes, and the bytes of the largest page."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return len(sizes), sum(sizes.values()), max(size for path, size in sizes.items() if path.suffix == ".html")


def _peak(who: int) -> float:
    """Largest memory of this process, or of one of those that it waited for, in GB."""
    return resource.getrusage(who).ru_maxrss / 1e6


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
