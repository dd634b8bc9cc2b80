"""Atlas to pages: what changed is drawn in parallel, what did not is taken from the site before."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atlas_viewer.atlas import Atlas
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer
from atlas_viewer.site.combination_page import groups, write_combinations
from atlas_viewer.site.comparison_page import compared, write_board, write_comparison
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.index_page import write_index, write_strip
from atlas_viewer.site.keys import combinations_key, layer_key
from atlas_viewer.site.layer_page import write_montage
from atlas_viewer.site.outline import COMBINATIONS, PRIORS, Outline, pages
from atlas_viewer.site.prior_page import write_priors
from atlas_viewer.site.random_page import random_classes, write_random
from atlas_viewer.site.sweep_page import sweep_pages, write_sweep
from atlas_viewer.site.unit_page import write_units
from atlas_viewer.sweep import METHODS

KEY = ".key"  # in a layer's folder: what it was made of, and what was made
BLOCK = 32  # units that a worker draws before it reports


@dataclass(frozen=True)
class Summary:
    """What a build did."""

    layers: int
    rebuilt: tuple[str, ...]
    units: int
    failed: int
    pages: int
    files: int
    bytes: int


@dataclass(frozen=True)
class Job:
    """What one process draws: of a layer units, a page of the montage or of the sweep, the strip, the random
    classes, or what the comparison of runs shows; or, without a layer, all combinations of units."""

    layer: str
    part: str
    start: int
    stop: int


def build(
    atlas_path: Path,
    out: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Make the site of an atlas in the folder `out`, whole or not at all.

    Layers whose content, drawing code and neighbours are those of the site in `out` are taken from there.
    progress : called with the parts done and their number.
    Raises AtlasError where `out` holds something that is not a site of an atlas.
    """
    atlas_path, out = Path(atlas_path), Path(out)
    with replacing(out) as new:
        return _make(atlas_path, out, new, workers, progress)


def _make(atlas_path: Path, out: Path, new: Path, workers: int, progress: Callable[[int, int], None] | None) -> Summary:
    """Make the site in `new`, with what is still good in `out`."""
    with Atlas(atlas_path) as atlas:
        outline = Outline(atlas)
        keys = {layer: layer_key(outline, atlas_path, atlas[layer]) for layer in atlas.layers}
        changed = [
            layer for layer, folder in outline.folders.items() if not _take(out / folder, new / folder, keys[layer])
        ]
        jobs = [job for layer in changed for job in _jobs(atlas[layer])]
        together = combinations_key(outline, atlas_path, keys) if groups(outline) else ""
        mixed = together and not _take(out / COMBINATIONS, new / COMBINATIONS, together)
        jobs += [Job("", "combinations", 0, 0)] if mixed else []
        _draw(outline, atlas_path, new, jobs, workers, progress)
        for layer in changed:
            _sign(new / outline.folders[layer], keys[layer])
        if mixed:
            _sign(new / COMBINATIONS, together)
        write_priors(outline, new / PRIORS)
        write_comparison(outline, new)
        write_index(outline, new)
        files = [path for path in sorted(new.rglob("*")) if path.is_file()]
        return Summary(
            layers=len(atlas.layers),
            rebuilt=tuple(changed),
            units=sum(len(layer) for layer in atlas),
            failed=sum(status is not Status.ok for layer in atlas for status in layer.status),
            pages=sum(path.suffix == ".html" for path in files),
            files=len(files),
            bytes=sum(path.stat().st_size for path in files),
        )


def _draw(
    outline: Outline,
    atlas_path: Path,
    new: Path,
    jobs: list[Job],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    if workers <= 1 or len(jobs) <= 1:
        for done, job in enumerate(jobs, 1):
            _run(outline, new, job)
            if progress is not None:
                progress(done, len(jobs))
        return
    # Fresh processes: a forked one would share the open HDF5 file.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        with _deaf_to_interrupts():
            running = [pool.submit(_run_apart, atlas_path, new, job) for job in jobs]
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            if progress is not None:
                progress(done, len(jobs))


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is for the parent: processes started in here leave it to that one, from their first line on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _jobs(layer: Layer) -> Iterator[Job]:
    yield Job(layer.name, "strip", 0, 0)
    for page in range(1, pages(layer) + 1):
        yield Job(layer.name, "montage", page, page)
    for method in METHODS:
        for page in range(1, sweep_pages(layer, method) + 1):
            yield Job(layer.name, f"sweep {method}", page, page)
    if random_classes(layer) is not None:
        yield Job(layer.name, "random", 0, 0)
    if compared(layer):
        yield Job(layer.name, "board", 0, 0)
    for start in range(0, len(layer), BLOCK):
        yield Job(layer.name, "units", start, min(start + BLOCK, len(layer)))


def _run_apart(atlas_path: Path, new: Path, job: Job) -> None:
    with Atlas(atlas_path) as atlas:
        _run(Outline(atlas), new, job)


def _run(outline: Outline, new: Path, job: Job) -> None:
    if job.part == "combinations":
        write_combinations(outline, new / COMBINATIONS)
        return
    layer, folder = outline.atlas[job.layer], new / outline.folders[job.layer]
    if job.part == "strip":
        write_strip(layer, folder)
    elif job.part == "montage":
        write_montage(outline, layer, job.start, folder)
    elif job.part.startswith("sweep "):
        write_sweep(outline, layer, job.part.removeprefix("sweep "), job.start, folder)
    elif job.part == "random":
        write_random(outline, layer, folder)
    elif job.part == "board":
        write_board(outline, layer, folder)
    else:
        write_units(outline, layer, range(job.start, job.stop), folder)


def _take(old: Path, new: Path, key: str) -> bool:
    """Link the old folder's files into the new one if they are those of this key and all there."""
    try:
        first, *listed = (old / KEY).read_text(encoding="utf-8").splitlines()
        sizes = dict(reversed(line.split(" ", 1)) for line in listed)
        whole = first == key and all((old / name).stat().st_size == int(size) for name, size in sizes.items())
    except (OSError, ValueError):
        return False  # not there, or spoilt: drawn anew
    if not whole:
        return False
    new.mkdir()
    for name in (*sizes, KEY):
        try:
            os.link(old / name, new / name)
        except OSError:  # a file system without hard links
            shutil.copyfile(old / name, new / name)
    return True


def _sign(folder: Path, key: str) -> None:
    folder.mkdir(exist_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    lines = [key, *(f"{(folder / name).stat().st_size} {name}" for name in names)]
    (folder / KEY).write_text("\n".join(lines) + "\n", encoding="utf-8")
