"""Content hashes of files, computed once and remembered beside what tells whether the file has changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.source import UNREADABLE, Progress

_CHUNK = 1 << 20  # bytes read at a time
_THREADS = 8  # files read at a time: on a network disk each waits
_BLOCK = 4096  # files in the pool's queue
_TICK = 2_000_000_000  # nanoseconds: the coarsest clock of a file system in use


@dataclass(frozen=True)
class HashRecord:
    """Names with two numbers (name, 2) int64 and a hash (name, 32) uint8 each; stamp : what they are true for."""

    names: tuple[str, ...]
    numbers: np.ndarray
    hashes: np.ndarray
    stamp: tuple[int, ...] = ()


_NOTHING = HashRecord((), np.zeros((0, 2), np.int64), np.zeros((0, 32), np.uint8))


def file_hashes(root: Path, names: Sequence[str], *, cache: Path, progress: Progress | None) -> np.ndarray:
    """SHA-256 (name, 32) uint8 of the files beneath a folder; all zero for one that cannot be read.

    A file of the same path, size and time of change as before is not read again. What is done is remembered even
    if the rest is interrupted.
    """
    place = record_path(cache, "files", root)
    known = read_record(place) or _NOTHING
    before = {name: at for at, name in enumerate(known.names)}
    hashes = np.zeros((len(names), 32), np.uint8)
    numbers = np.full((len(names), 2), -1, np.int64)
    with ThreadPoolExecutor(_THREADS) as pool:
        for block in _blocks(range(len(names))):
            numbers[block] = [*pool.map(lambda at: _size_and_time(root / names[at]), block)]
        new = []
        for at, name in enumerate(names):
            old = before.get(name)
            if old is not None and (known.numbers[old] == numbers[at]).all():
                hashes[at] = known.hashes[old]
            else:
                new.append(at)
        done, whole = 0, int(numbers[new, 0].clip(0).sum())
        try:
            for block in _blocks(new):
                for at, content in zip(block, pool.map(lambda at: _hash(root / names[at]), block), strict=True):
                    hashes[at] = np.frombuffer(content, np.uint8)
                    done += max(0, int(numbers[at, 0]))
                    if progress is not None:
                        progress(done, whole)
        finally:
            if new:
                _write_more(place, known, names, numbers, hashes)
    return hashes


def record_path(cache: Path, kind: str, path: Path) -> Path:
    """The file that remembers what was found at an absolute path."""
    name = hashlib.sha256(f"{kind}\0{os.path.abspath(path)}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache / "datasets" / f"{name}.npz"


def read_record(place: Path) -> HashRecord | None:
    """What was remembered; None for nothing, or nothing legible."""
    try:
        with np.load(place, allow_pickle=False) as arrays:
            text = arrays["names"].tobytes().decode("utf-8", "surrogateescape")
            names = tuple(text.split("\0")) if len(arrays["numbers"]) else ()
            memory = HashRecord(names, arrays["numbers"], arrays["hashes"], tuple(arrays["stamp"].tolist()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = memory.numbers.shape == (len(names), 2) and memory.hashes.shape == (len(names), 32)
    return memory if whole else None


def write_record(place: Path, memory: HashRecord) -> None:
    """Write what was found; a folder that cannot be written costs a second look, no more."""
    part = place.with_suffix(f".{os.getpid()}.part")
    text = "\0".join(memory.names).encode("utf-8", "surrogateescape")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.savez(
                file,
                names=np.frombuffer(text, np.uint8),
                numbers=memory.numbers,
                hashes=memory.hashes,
                stamp=np.array(memory.stamp, np.int64),
            )
        os.replace(part, place)


def settled(changed: int) -> bool:
    """Whether a time of change (nanoseconds) lies far enough back that a further change would show in it."""
    return changed < time.time_ns() - _TICK


def _blocks(numbers: Sequence[int]) -> Iterator[list[int]]:
    """The numbers a few thousand at a time, so that not all of them wait in the pool at once."""
    for start in range(0, len(numbers), _BLOCK):
        yield list(numbers[start : start + _BLOCK])


def _write_more(place: Path, known: HashRecord, names: Sequence[str], numbers: np.ndarray, hashes: np.ndarray) -> None:
    """Remember the files that were read, and of the others what was known (a limit looks at a few of many)."""
    asked = set(names)
    old = [at for at, name in enumerate(known.names) if name not in asked]
    new = [at for at in np.flatnonzero(hashes.any(1)).tolist() if settled(int(numbers[at, 1]))]
    memory = HashRecord(
        (*(known.names[at] for at in old), *(names[at] for at in new)),
        np.concatenate([known.numbers[old], numbers[new]]),
        np.concatenate([known.hashes[old], hashes[new]]),
    )
    write_record(place, memory)


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; −1 where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _hash(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return UNREADABLE
    return digest.digest()
