"""Atlas to pages: what changed is drawn in parallel, the rest is taken from the site before."""

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
from atlas_viewer.site.folder import replacing
from atlas_viewer.site.keys import layer_key
from atlas_viewer.site.outline import Outline
from atlas_viewer.site.pieces import Folder, Job, kinds

KEY = ".key"  # in a folder that may be taken over: the hash of its sources, and its files


@dataclass(frozen=True)
class Summary:
    """The result of a build."""

    layers: int
    rebuilt: tuple[str, ...]
    units: int
    failed: int
    pages: int
    files: int
    bytes: int


def build(
    atlas_path: Path,
    out: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Make the site of an atlas in the folder `out`, whole or not at all.

    Folders whose content, drawing code and neighbours are those of the site in `out` are taken from there.
    progress : called with the number of parts done, and of all parts.
    Raises AtlasError where `out` holds something that is not a site of an atlas.
    """
    atlas_path, out = Path(atlas_path), Path(out)
    with replacing(out) as new:
        return _make(atlas_path, out, new, workers, progress)


def _make(atlas_path: Path, out: Path, new: Path, workers: int, progress: Callable[[int, int], None] | None) -> Summary:
    """Make the site in `new`, with what is still good in `out`."""
    with Atlas(atlas_path) as atlas:
        outline = Outline(atlas)
        folders = _folders(outline, atlas_path)
        changed = [folder for folder in folders if not _take(out / folder.name, new / folder.name, folder.key)]
        _draw(outline, atlas_path, new, [job for folder in changed for job in folder.jobs], workers, progress)
        for folder in changed:
            _sign(new / folder.name, folder.key)
        for page in kinds():
            page.write(outline, new)
        names = {folder.name for folder in changed}
        files = [path for path in sorted(new.rglob("*")) if path.is_file()]
        return Summary(
            layers=len(atlas.layers),
            rebuilt=tuple(layer for layer, name in outline.folders.items() if name in names),
            units=sum(len(layer) for layer in atlas),
            failed=sum(status is not Status.ok for layer in atlas for status in layer.status),
            pages=sum(path.suffix == ".html" for path in files),
            files=len(files),
            bytes=sum(path.stat().st_size for path in files),
        )


def _folders(outline: Outline, atlas_path: Path) -> list[Folder]:
    """The folders that may be taken over: one for each layer, then those that pages have of their own."""
    keys = {layer.name: layer_key(outline, atlas_path, layer) for layer in outline.atlas}
    layers = [
        Folder(
            name=outline.folders[layer.name],
            key=keys[layer.name],
            jobs=tuple(
                Job(type(page).__module__, layer.name, outline.folders[layer.name], part)
                for page in kinds()
                for part in page.parts(layer)
            ),
        )
        for layer in outline.atlas
    ]
    return [*layers, *(folder for page in kinds() for folder in page.folders(outline, atlas_path, keys))]


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
    """Leave Ctrl-C to this process: processes started in here ignore it from their first line on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run_apart(atlas_path: Path, new: Path, job: Job) -> None:
    with Atlas(atlas_path) as atlas:
        _run(Outline(atlas), new, job)


def _run(outline: Outline, new: Path, job: Job) -> None:
    folder = new / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    page = next(page for page in kinds() if type(page).__module__ == job.page)
    page.draw(outline, outline.atlas[job.layer] if job.layer else None, job.part, folder)


def _take(old: Path, new: Path, key: str) -> bool:
    """Link the old folder's files into the new one if they have this key and are complete."""
    try:
        first, *listed = (old / KEY).read_text(encoding="utf-8").splitlines()
        sizes = dict(reversed(line.split(" ", 1)) for line in listed)
        whole = first == key and all((old / name).stat().st_size == int(size) for name, size in sizes.items())
    except (OSError, ValueError):
        return False  # missing or damaged: drawn anew
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
