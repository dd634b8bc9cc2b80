"""Drawings on disk: drawn once by several processes, then read as one array."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipeline.data.doodles import REVISION, draw

_BLOCK = 500  # drawings that one process makes at a time: a second or two


@dataclass(frozen=True)
class Drawings:
    """The first drawings of a seed: pixels (drawing, row, column, RGB) 0..255, and labels (drawing,)."""

    pixels: np.ndarray
    labels: np.ndarray


def drawings(*, seed: int, count: int, size: int, folder: Path, processes: int, log: Callable[[str], None]) -> Drawings:
    """Return the drawings, from `folder` where they lie there already, else drawn now and put there."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"doodles-{REVISION}-{seed}-{count}-{size}"
    pixels_path, labels_path = folder / f"{stem}.npy", folder / f"{stem}.labels.npy"
    if not (pixels_path.exists() and labels_path.exists()):
        log(f"drawing {count} pictures of seed {seed}")
        _draw_all(seed, count, size, processes, pixels_path, labels_path)
    return Drawings(np.load(pixels_path, mmap_mode="r"), np.load(labels_path))


def _draw_all(seed: int, count: int, size: int, processes: int, pixels_path: Path, labels_path: Path) -> None:
    """Draw into files of another name, which get theirs when they are whole."""
    unfinished = pixels_path.with_suffix(f".{os.getpid()}.part")
    pixels = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    labels = np.empty(count, dtype=np.int64)
    blocks = [(seed, start, min(start + _BLOCK, count), size) for start in range(0, count, _BLOCK)]
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
