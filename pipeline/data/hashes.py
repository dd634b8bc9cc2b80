"""Content hashes of files, computed once and stored with size and modification time to detect changes."""

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

from pipeline.data.faults import of_machine, unindexable
from pipeline.data.source import UNREADABLE, Progress

_CHUNK = 1 << 20  # bytes read at a time
_THREADS = 8  # files read at a time, because reads from a network disk have to wait
_BLOCK = 4096  # files in the pool's queue
_TICK = 2_000_000_000  # nanoseconds, the coarsest resolution of modification times in use (FAT)


@dataclass(frozen=True)
class HashRecord:
    """Hashes as they are stored between runs.

    names : of the files, or of the members of an archive.
    numbers : (name, number) int64: size and modification time of a file, or the place of a member in its archive.
    hashes : (name, 32) uint8.
    stamp : of an archive, what the record is valid for: its size and modification time, and whether it was read to the
        end.
    facts : of each member of an archive, what files beside it say, as JSON, or ""; empty for files.
    """

    names: tuple[str, ...]
    numbers: np.ndarray
    hashes: np.ndarray
    stamp: tuple[int, ...] = ()
    facts: tuple[str, ...] = ()


_NOTHING = HashRecord((), np.zeros((0, 2), np.int64), np.zeros((0, 32), np.uint8))


def file_hashes(root: Path, names: Sequence[str], *, cache: Path, progress: Progress | None) -> np.ndarray:
    """SHA-256 of files beneath a folder, (name, 32) uint8; all zero for a file that cannot be read.

    A file of unchanged path, size and modification time is not read again. Hashes are stored even if the rest is
    interrupted.

    root : the folder.
    names : paths of the files relative to the folder.
    cache, progress : as for `open_source`.
    Raises EnvironmentFault if the disk or the mount fails; a file that is missing or not permitted is no such fault.
    """
    path = record_path(cache, "files", root)
    stored = read_record(path) or _NOTHING
    before = {name: at for at, name in enumerate(stored.names)}
    hashes = np.zeros((len(names), 32), np.uint8)
    numbers = np.full((len(names), 2), -1, np.int64)
    with ThreadPoolExecutor(_THREADS) as pool:
        for block in _blocks(range(len(names))):
            numbers[block] = [*pool.map(lambda at: _size_and_time(root / names[at]), block)]
        new = []
        for at, name in enumerate(names):
            old = before.get(name)
            if old is not None and (stored.numbers[old] == numbers[at]).all():
                hashes[at] = stored.hashes[old]
            else:
                new.append(at)
        done, whole = 0, int(numbers[new, 0].clip(0).sum())
        try:
            for block in _blocks(new):
                for at, content in zip(block, pool.map(lambda at: _hash(root, names[at]), block), strict=True):
                    hashes[at] = np.frombuffer(content, np.uint8)
                    done += max(0, int(numbers[at, 0]))
                    if progress is not None:
                        progress(done, whole)
        finally:
            if new:
                _write_more(path, stored, names, numbers, hashes)
    return hashes


def record_path(cache: Path, kind: str, path: Path) -> Path:
    """The file that stores the hashes of a folder or archive.

    cache : folder for such files.
    kind : of record, so that those of another kind or version are not read.
    path : of the folder or archive.
    """
    name = hashlib.sha256(f"{kind}\0{os.path.abspath(path)}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache / "datasets" / f"{name}.npz"


def read_record(path: Path) -> HashRecord | None:
    """The stored hashes; None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stamp = tuple(arrays["stamp"].tolist())
            names = _texts(arrays["names"]) if len(arrays["numbers"]) else ()
            facts = _texts(arrays["facts"]) if stamp and names else ()
            record = HashRecord(names, arrays["numbers"], arrays["hashes"], stamp, facts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = record.numbers.shape[:1] == (len(names),) and record.hashes.shape == (len(names), 32)
    return record if whole and len(facts) in (0, len(names)) else None


def write_record(path: Path, record: HashRecord) -> None:
    """Store hashes. If the folder cannot be written to, nothing is stored and later runs hash again."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.savez(
                file,
                names=_bytes(record.names),
                facts=_bytes(record.facts),
                numbers=record.numbers,
                hashes=record.hashes,
                stamp=np.array(record.stamp, np.int64),
            )
        os.replace(part, path)


def _texts(array: np.ndarray) -> tuple[str, ...]:
    return tuple(array.tobytes().decode("utf-8", "surrogateescape").split("\0"))


def _bytes(texts: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)


def settled(changed: int) -> bool:
    """Whether a modification time is old enough that a further change would change it.

    changed : modification time in nanoseconds.
    """
    return changed < time.time_ns() - _TICK


def _blocks(numbers: Sequence[int]) -> Iterator[list[int]]:
    """The numbers in blocks of a few thousand, so that not all of them are queued in the pool at once."""
    for start in range(0, len(numbers), _BLOCK):
        yield list(numbers[start : start + _BLOCK])


def _write_more(path: Path, stored: HashRecord, names: Sequence[str], numbers: np.ndarray, hashes: np.ndarray) -> None:
    """Store the hashes of the named files, and keep those stored of other files.

    With a limit, the named files are only a part of the folder.
    """
    asked = set(names)
    old = [at for at, name in enumerate(stored.names) if name not in asked]
    new = [at for at in np.flatnonzero(hashes.any(1)).tolist() if settled(int(numbers[at, 1]))]
    record = HashRecord(
        (*(stored.names[at] for at in old), *(names[at] for at in new)),
        np.concatenate([stored.numbers[old], numbers[new]]),
        np.concatenate([stored.hashes[old], hashes[new]]),
    )
    write_record(path, record)


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds; −1 for a missing file."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _hash(root: Path, name: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(root / name, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        if of_machine(error, root):
            raise unindexable(root / name, error) from error
        return UNREADABLE
    return digest.digest()
