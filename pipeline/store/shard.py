"""A task's stored result: one file with the task's record, compressed arrays and a digest.

Layout: magic · length of the header (8 bytes) · header (JSON) · payload · SHA-256 of all bytes before it (32 bytes).
The header repeats the task's record and states where in the payload the pieces of each array are. A piece is a chunk
as the atlas stores it, so a merge copies bytes and compresses nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import OutputError, ShardError, disk_fault

MAGIC = b"ATLASHRD"
_LENGTH, _PROOF = 8, 32
_LEVEL = 4
_TRIED, _HARDLY = 1 << 18, 0.8  # bytes of a large array that are deflated on trial; the share that is not worth it


@dataclass(frozen=True)
class Pieces:
    """An array cut along its first axis into encoded chunks; None for a chunk that is not stored."""

    dtype: str
    shape: tuple[int, ...]
    chunks: Sequence[bytes | None]


@dataclass(frozen=True)
class Failure:
    """Why a task failed when it was last tried. certain : whether it would fail again, for the fault is its own."""

    reason: str
    certain: bool


Arrays = Mapping[str, "np.ndarray | Pieces"]


def encode_shard(task: Mapping[str, object], arrays: Arrays, facts: Mapping[str, object]) -> bytes:
    """The bytes of a shard.

    task : the task's record.
    facts : further facts about the computation (versions, halved micro-batches).
    """
    table, payload, at = {}, [], 0
    for name, array in arrays.items():
        if isinstance(array, Pieces):
            dtype, shape, chunks, form = array.dtype, array.shape, array.chunks, "chunks"
        else:
            dtype, shape = array.dtype.str, array.shape
            form, chunk = _encoded(np.ascontiguousarray(array).tobytes())
            chunks = [chunk]
        spans = []
        for chunk in chunks:
            spans.append([at, 0] if chunk is None else [at, len(chunk)])
            if chunk is not None:
                payload.append(chunk)
                at += len(chunk)
        table[name] = {"dtype": dtype, "shape": list(shape), "form": form, "spans": spans}
    header = json.dumps({"task": task, "facts": facts, "arrays": table}, sort_keys=True).encode()
    body = b"".join([MAGIC, len(header).to_bytes(_LENGTH, "little"), header, *payload])
    return body + hashlib.sha256(body).digest()


def _encoded(data: bytes) -> tuple[str, bytes]:
    """The form and bytes of an array: deflated, or as they are if the middle of a large one hardly shrinks."""
    if len(data) > 2 * _TRIED:
        middle = data[len(data) // 2 :][:_TRIED]
        if len(zlib.compress(middle, _LEVEL)) > _HARDLY * len(middle):
            return "raw", data
    return "whole", zlib.compress(data, _LEVEL)


class Shard:
    """A shard that was read and verified."""

    def __init__(self, data: bytes | mmap.mmap, name: str, *, verified: bool = False) -> None:
        """
        data : the bytes of the file.
        name : name of the file, for errors.
        verified : whether the digest was compared before.
        Raises ShardError if the data are damaged or not a shard.
        """
        start = len(MAGIC) + _LENGTH
        if len(data) < start + _PROOF or data[: len(MAGIC)] != MAGIC:
            raise ShardError(f"shard {name}: not a shard file; it will be computed again")
        if not verified and hashlib.sha256(memoryview(data)[:-_PROOF]).digest() != data[-_PROOF:]:
            raise ShardError(f"shard {name}: damaged, its digest does not match; it will be computed again")
        length = int.from_bytes(data[len(MAGIC) : start], "little")
        self._payload = memoryview(data)[start + length : -_PROOF]
        try:
            header = json.loads(data[start : start + length])
            self.task: dict = header["task"]
            self.facts: dict = header["facts"]
            self._table: dict = header["arrays"]
            for array, entry in self._table.items():
                _check_entry(array, entry, len(self._payload))
        except (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError) as error:
            raise ShardError(
                f"shard {name}: its header is none ({type(error).__name__}: {error}); it will be computed again"
            ) from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._table)

    def array(self, name: str) -> np.ndarray:
        """A small array, decoded. Raises ShardError if its bytes are not what the header says."""
        entry = self._table[name]
        (start, size), *_ = entry["spans"]
        dtype = np.dtype(entry["dtype"])
        whole = math.prod(entry["shape"]) * dtype.itemsize
        try:  # never inflates to more than the header says
            stored = self._payload[start : start + size]
            data = bytes(stored) if entry["form"] == "raw" else zlib.decompressobj().decompress(stored, whole + 1)
            if len(data) != whole:
                raise ValueError(f"{len(data)} bytes, expected {whole}")
        except (ValueError, OverflowError, zlib.error) as error:
            raise ShardError(f"shard: array {name} is damaged ({error}); it will be computed again") from None
        return np.frombuffer(data, dtype).reshape(entry["shape"])

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._table[name]["shape"])

    def chunk(self, name: str, index: int) -> bytes | None:
        """A piece of an array as it was encoded; None if it was not stored."""
        start, size = self._table[name]["spans"][index]
        return bytes(self._payload[start : start + size]) if size else None


class ShardFolder:
    """The shards of one atlas: one file per task, named by its id. A file gets this name only when complete.

    written : bytes of the shards that were stored through this object.
    read_only : whether bad shards stay where they are, because only a run may change the folder.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder, self.read_only = folder, read_only
        self.written = 0

    def path(self, task_id: str) -> Path:
        return self.folder / task_id[:2] / f"{task_id}.shard"

    def write(self, task_id: str, data: bytes) -> None:
        """Store a shard: temporary name, sync, rename."""
        path = self.path(task_id)
        write_whole(path, data)
        self.written += len(data)
        self._reason_path(task_id).unlink(missing_ok=True)

    def read(self, task_id: str, record: Mapping[str, object], *, verified: bool = False) -> Shard | None:
        """The task's shard, or None if there is none. Raises ShardError if it is damaged or of another task.

        verified : whether it was read before in this run; then its digest is not compared again.
        """
        path = self.path(task_id)
        try:
            shard = Shard(_mapped(path), path.name, verified=verified)
        except FileNotFoundError:
            return None
        if shard.task != json.loads(json.dumps(record)):
            raise ShardError(f"shard {path.name}: holds another task; it will be computed again")
        return shard

    def take(self, task_id: str, record: Mapping[str, object], problems: list[str]) -> Shard | None:
        """The task's shard, or None. A bad one is set aside, and a line about it is added to `problems`."""
        try:
            return self.read(task_id, record)
        except ShardError as error:
            aside = "" if self.read_only else f" (kept as {self.set_aside(task_id).name})"
            problems.append(f"{error}{aside}")
            return None

    def set_aside(self, task_id: str) -> Path:
        """Rename a bad shard, so that it is kept but not read; return its new path."""
        path = self.path(task_id)
        aside = path.with_suffix(".bad")
        path.replace(aside)
        return aside

    def present(self) -> frozenset[str]:
        """Ids of the tasks that have a shard."""
        return self._named(".shard")

    def failed(self) -> frozenset[str]:
        """Ids of the tasks that have a record of why they failed."""
        return self._named(".failed")

    def _named(self, suffix: str) -> frozenset[str]:
        found = (path.stem for path in self.folder.glob(f"[0-9a-f][0-9a-f]/*{suffix}"))
        return frozenset(name for name in found if not name.startswith("."))

    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(path.stat().st_size for path in self.folder.glob("[0-9a-f][0-9a-f]/*.shard"))

    def discard(self, task_ids: Iterable[str]) -> None:
        """Remove shards that are not needed, while others may be written."""
        for task_id in task_ids:
            self.path(task_id).unlink(missing_ok=True)

    def remove(self, task_ids: Iterable[str]) -> None:
        """Remove shards whose content is in the atlas, and empty folders."""
        self.discard(task_ids)
        for folder in self.folder.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError):  # a folder that is not empty stays
                folder.rmdir()

    def write_reason(self, task_id: str, reason: str, *, certain: bool = False) -> None:
        """Record why a task failed. certain : whether it would fail again, for the fault is the task's own."""
        record = json.dumps({"reason": reason, "fault": "task" if certain else "environment"}, ensure_ascii=False)
        write_whole(self._reason_path(task_id), record.encode())

    def failure(self, task_id: str) -> Failure | None:
        """Why the task failed when it was last tried, or None."""
        try:
            text = self._reason_path(task_id).read_text(errors="replace")
        except FileNotFoundError:
            return None
        try:
            record = json.loads(text)
            return Failure(str(record["reason"]), record["fault"] == "task")
        except (ValueError, KeyError, TypeError):  # as earlier versions wrote it, or damaged
            return Failure(text, False)

    def reason(self, task_id: str) -> str | None:
        """Why the task failed when it was last tried, or None."""
        failure = self.failure(task_id)
        return None if failure is None else failure.reason

    def _reason_path(self, task_id: str) -> Path:
        return self.path(task_id).with_suffix(".failed")


def _check_entry(name: str, entry: Mapping, payload: int) -> None:
    """Raise ValueError, TypeError or KeyError unless an entry of the header describes an array in the payload."""
    shape, spans, form = entry["shape"], entry["spans"], entry["form"]
    dtype = np.dtype(entry["dtype"])
    if dtype.hasobject or dtype.itemsize == 0 or form not in ("whole", "raw", "chunks"):
        raise ValueError(f"array {name} has type {entry['dtype']} and form {form}")
    if not all(type(length) is int and 0 <= length < 2**63 for length in shape):
        raise ValueError(f"array {name} has shape {shape}")
    for start, size in spans:
        if type(start) is not int or type(size) is not int or not 0 <= start <= start + size <= payload:
            raise ValueError(f"array {name} lies outside the payload")
    if form != "chunks" and len(spans) != 1:
        raise ValueError(f"array {name} has {len(spans)} pieces, expected 1")


def _mapped(path: Path) -> bytes | mmap.mmap:
    """The bytes of a file, memory-mapped, because a merge opens many shards and reads small parts of each."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically. Raises OutputError if it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        fault = disk_fault(error)
        remedy = "choose another folder with OUT=…" if fault is None else fault.remedy
        raise OutputError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
