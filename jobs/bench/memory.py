"""Resident memory of a worker that mines more and more images, as figures and as a plot."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np

from jobs.bench.figures import Figures
from jobs.console import compose_config
from jobs.request import read_config, read_model
from pipeline.errors import SettingsError

QUESTION = "resident memory of a worker that mines every layer of doodlenet, against the images it has read"
IMAGES = "tiny-train.tar"  # in the folder ATLAS_TEST_DATA, unless images=… names another
PLOT = Path("atlases/bench/memory.png")
COUNTS, FEW = (1_000, 5_000, 20_000, 50_000), (500, 2_000, 5_000)
EVERY = 0.2  # seconds between two measurements


@dataclass(frozen=True)
class Curve:
    """One worker: images read and resident bytes at each measurement, and resident bytes before the first image."""

    asked: int
    images: np.ndarray
    resident: np.ndarray
    before: int


def measure(short: bool, images: str | None = None) -> Figures:
    """Measure a new worker for every number of images.

    images : a tar; None for IMAGES in the folder ATLAS_TEST_DATA, or for drawings if that is missing.
    Raises SettingsError if the tar is missing, or on a system without /proc.
    """
    path = _tar(images)
    if not Path("/proc/self/statm").is_file():
        raise SettingsError("bench memory: this system has no /proc, where the memory of a process can be read")
    curves = [_watched(path, count) for count in (FEW if short else COUNTS)]
    figures = Figures()
    for curve in curves:
        figures.add(f"{curve.images[-1]} images: largest", curve.resident.max() / 1e6, "MB")
        figures.add(f"{curve.images[-1]} images: last quarter", _last_quarter(curve) / 1e6, "MB")
    longest = curves[-1]
    half = longest.images > longest.images[-1] / 2
    slope = np.polyfit(longest.images[half], longest.resident[half], 1)[0]
    figures.add("before the first image", longest.before / 1e6, "MB")
    figures.add("second half of the longest run: growth in 10,000 images", slope * 1e4 / 1e6, "MB")
    draw(curves, PLOT)
    print(f"  plot: {PLOT}")
    return figures


def draw(curves: list[Curve], path: Path) -> None:
    """Plot megabytes against images for each worker, and write the plot as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shades = np.linspace(0.62, 0.0, len(curves))  # darker, the more images
    for curve, shade in zip(curves, shades, strict=True):
        colour = (0.55 + 0.4 * shade, 0.18 + 0.6 * shade, 0.11 + 0.6 * shade)
        axes.plot(curve.images, curve.resident / 1e6, color=colour, linewidth=1.1, label=f"{curve.asked:,} images")
        axes.plot(curve.images[-1:], curve.resident[-1:] / 1e6, "o", color=colour, markersize=4)
    axes.axhline(curves[-1].before / 1e6, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate("before the first image: torch, the network, the list of images", (1, curves[-1].before / 1e6),
                  xycoords=("axes fraction", "data"), xytext=(-4, -4), textcoords="offset points",
                  ha="right", va="top", fontsize=8, color="0.4")  # fmt: skip
    top = 1.12 * max(float(curve.resident.max()) for curve in curves) / 1e6
    axes.set(xlabel="images read", ylabel="resident memory, MB", ylim=(0, top), xlim=(0, None))
    axes.set_title("A mining worker’s memory", loc="left", fontsize=11)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right", ncols=len(curves), bbox_to_anchor=(1, 0.02))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def _tar(images: str | None) -> Path | None:
    if images is not None and not Path(images).is_file():
        raise SettingsError(f"bench memory: {images}: no such file; name a tar of images by images=PATH")
    path = Path(images) if images is not None else Path(os.environ.get("ATLAS_TEST_DATA", "")) / IMAGES
    return path if path.is_file() else None


def _last_quarter(curve: Curve) -> float:
    return float(np.median(curve.resident[curve.images >= 0.75 * curve.images[-1]]))


def _watched(path: Path | None, count: int) -> Curve:
    """Mine in a separate process, and measure its memory from outside."""
    context = multiprocessing.get_context("spawn")
    read, ready = context.Value("q", 0), context.Event()
    with tempfile.TemporaryDirectory() as cache:
        worker = context.Process(target=_work, args=(path, count, cache, read, ready))
        worker.start()
        while not ready.wait(EVERY):
            if not worker.is_alive():
                raise RuntimeError("bench memory: the worker ended before its first image; see its error above")
        before, points = _resident(worker.pid), []
        while worker.is_alive():
            points.append((read.value, _resident(worker.pid)))
            time.sleep(EVERY)
        worker.join()
    if worker.exitcode:
        raise RuntimeError("bench memory: the worker failed; see its error above")
    valid = np.array([point for point in points if point[0] and point[1]])
    return Curve(count, valid[:, 0], valid[:, 1], before)


def _resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


class _Counted:
    """A source of images that counts the images read from it."""

    def __init__(self, source: object, read: Synchronized) -> None:
        self._source, self._read = source, read

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def loads(self, start: int, stop: int) -> Iterator[object]:
        for load in self._source.loads(start, stop):  # type: ignore[attr-defined]
            self._read.value += 1
            yield load


def _work(path: Path | None, count: int, cache: str, read: Synchronized, ready: object) -> None:
    """The work of the worker: all tasks in turn, as a driver would send them."""
    from pipeline.compute import compute
    from pipeline.data.open_source import open_source
    from pipeline.methods.tops.task import TOPS, mine_tasks
    from pipeline.nets.network_card import network_card
    from pipeline.nets.open_network import open_network
    from pipeline.plan import Plan
    from pipeline.request import Request
    from pipeline.resources import Resources

    tar = ["dataset=tar", f'dataset.root="{path}"', f"dataset.limit={count}"]
    drawings = ["dataset=doodles", f"dataset.count={count}"]
    overrides = ["experiment=null", "device=cpu", *(drawings if path is None else tar)]
    composed = compose_config("atlas", overrides)
    config = read_config(composed)
    asked, network = TOPS.read(config), open_network(read_model(composed.model))
    card = network_card(network)
    source = open_source(asked.dataset, cache=Path(cache), progress=None)
    plan = TOPS.ask(Plan(card), Request(config, card, {}, {"tops": asked}, {"source": source}))
    resources = Resources(network, _Counted(source, read))  # type: ignore[arg-type]
    ready.set()  # type: ignore[attr-defined]
    for task in mine_tasks(plan):
        compute(task, resources)
