"""Images for training, stored as one array on disk for access in any order: decoded images and drawings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipeline.data.batches import Skipped, batches, check_bad
from pipeline.data.doodles import REVISION, draw
from pipeline.data.source import ImageSource
from pipeline.errors import DataError

_DECODED = 256  # images of a batch that is decoded
_DRAWN = 500  # drawings that a process makes at a time, in a second or two


@dataclass(frozen=True, eq=False)
class Pictures:
    """The decoded images of a dataset, or a part of them, without those that could not be read.

    stored : (image, row, column, RGB) uint8, all images that could be read.
    rows : which of them belong to this part.
    labels : (row,), class numbers, -1 for none.
    digest : of the dataset.
    names : of the classes.
    """

    stored: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    digest: str
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        return self.stored.shape[1:3]

    def pixels(self, chosen: np.ndarray | slice) -> np.ndarray:
        """The pixels of chosen images, (image, row, column, RGB) uint8, in memory."""
        return np.ascontiguousarray(self.stored[self.rows[chosen]])

    def split(self, count: int, seed: int) -> tuple[Pictures, Pictures]:
        """All but `count` images, and these `count`, which are chosen at random.

        Raises DataError if the first part would be empty.
        """
        if count >= len(self):
            raise DataError(f"held_out: got {count}, but the dataset has {len(self)} pictures; hold out fewer")
        order = np.random.Generator(np.random.Philox(key=[seed, 1 << 41])).permutation(len(self))
        kept, held = np.sort(order[count:]), np.sort(order[:count])
        return tuple(replace(self, rows=self.rows[part], labels=self.labels[part]) for part in (kept, held))


def read_pictures(
    source: ImageSource,
    *,
    height: int,
    width: int,
    preprocess: str,
    fill: tuple[int, int, int],
    bad_share: float,
    folder: Path,
    threads: int,
    log: Callable[[str], None],
) -> Pictures:
    """All images of a source; they are decoded into `folder` unless they are there already.

    The array is memory-mapped, so memory holds only the images in use, whatever the size of the dataset.

    source : the images.
    height, width : of the result, in pixels.
    preprocess, fill : as for `pipeline.data.fitting.fit`.
    bad_share : the share of images that may be unreadable.
    folder : for the decoded images.
    threads : number of decoding threads.
    log : called with lines of progress.
    Raises DataError if more than `bad_share` of the images are unreadable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"pictures-{source.digest[:16]}-{height}x{width}-{preprocess}-{'-'.join(map(str, fill))}"
    pixels_path, rows_path = folder / f"{stem}.npy", folder / f"{stem}.rows.npy"
    if not (pixels_path.exists() and rows_path.exists()):
        log(f"decoding the {len(source)} pictures of {source.name}")
        unfinished = pixels_path.with_suffix(f".{os.getpid()}.part")
        pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(len(source), height, width, 3))
        rows: list[int] = []
        skipped: list[Skipped] = []
        for batch in batches(
            source, 0, len(source), height=height, width=width, preprocess=preprocess, fill=fill, reduced=False,
            batch=_DECODED, threads=threads, skipped=skipped,
        ):  # fmt: skip
            pixels[len(rows) : len(rows) + batch.count] = batch.pixels[: batch.count]
            rows += batch.images
        check_bad(skipped, len(source), bad_share, source.name)
        for bad in skipped:
            log(f"left out: {bad.key}: {bad.reason}")
        pixels.flush()
        with open(unfinished.with_suffix(".rows"), "wb") as file:
            np.save(file, np.array(rows, np.int64))
        os.replace(unfinished.with_suffix(".rows"), rows_path)
        os.replace(unfinished, pixels_path)
    rows = np.load(rows_path)
    index = source.index
    names = tuple(index.class_names) or tuple(index.class_ids)
    return Pictures(
        stored=np.load(pixels_path, mmap_mode="r"),
        rows=np.arange(len(rows)),
        labels=index.labels[rows].astype(np.int64),
        digest=source.digest,
        names=names,
    )


@dataclass(frozen=True)
class Drawings:
    """The first drawings of a seed.

    pixels : (drawing, row, column, RGB) uint8.
    labels : (drawing,), class numbers.
    """

    pixels: np.ndarray
    labels: np.ndarray


def drawings(*, seed: int, count: int, size: int, folder: Path, processes: int, log: Callable[[str], None]) -> Drawings:
    """The first `count` drawings of a seed; they are drawn into `folder` unless they are there already.

    size : rows and columns of a drawing.
    processes : that draw.
    log : called with lines of progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"doodles-{REVISION}-{seed}-{count}-{size}"
    pixels_path, labels_path = folder / f"{stem}.npy", folder / f"{stem}.labels.npy"
    if not (pixels_path.exists() and labels_path.exists()):
        log(f"drawing {count} pictures of seed {seed}")
        _draw_all(seed, count, size, processes, pixels_path, labels_path)
    return Drawings(np.load(pixels_path, mmap_mode="r"), np.load(labels_path))


def _draw_all(seed: int, count: int, size: int, processes: int, pixels_path: Path, labels_path: Path) -> None:
    """Draw into temporary files, which get their final names when they are complete."""
    unfinished = pixels_path.with_suffix(f".{os.getpid()}.part")
    pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    labels = np.empty(count, dtype=np.int64)
    blocks = [(seed, start, min(start + _DRAWN, count), size) for start in range(0, count, _DRAWN)]
    if processes > 1 and len(blocks) > 1:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            _collect(pool.map(_draw_block, blocks), pixels, labels)
    else:
        _collect(map(_draw_block, blocks), pixels, labels)
    pixels.flush()
    with open(unfinished.with_suffix(".labels"), "wb") as file:
        np.save(file, labels)
    os.replace(unfinished.with_suffix(".labels"), labels_path)
    os.replace(unfinished, pixels_path)


def _draw_block(block: tuple[int, int, int, int]) -> tuple[int, np.ndarray, np.ndarray]:
    seed, start, stop, size = block
    drawn = [draw(seed, index, size) for index in range(start, stop)]
    return start, np.stack([pixels for pixels, _ in drawn]), np.array([label for _, label in drawn])


def _collect(blocks: Iterable[tuple[int, np.ndarray, np.ndarray]], pixels: np.ndarray, labels: np.ndarray) -> None:
    for start, block_pixels, block_labels in blocks:
        pixels[start : start + len(block_labels)] = block_pixels
        labels[start : start + len(block_labels)] = block_labels
