"""Images in tar files, read in place without unpacking."""

from __future__ import annotations

import glob
import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.data.decoding import MOST_BYTES, BadImage
from pipeline.data.hashes import HashRecord, read_record, record_path, settled, write_record
from pipeline.data.labels import class_folders, find_labels
from pipeline.data.source import ImageSource, Index, Load, Progress, is_image, key_of
from pipeline.errors import DataError

_BUFFER = 1 << 20  # bytes read ahead
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class TarSource(ImageSource):
    """Images that are members of tar files.

    shards : the tar files.
    places : (image, 3) int64: number of the shard, first byte and size of each image.
    """

    shards: tuple[Path, ...]
    places: np.ndarray = field(repr=False)

    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        """As in the base class. The bytes are read here, in sequence; the functions only return them."""
        file, opened = None, -1
        try:
            for image in self._bounds(start, stop):
                shard, first, size = self.places[image].tolist()
                if shard != opened:
                    if file is not None:
                        file.close()
                    file, opened = _open(self.shards[shard]), shard
                if size > MOST_BYTES:
                    yield image, partial(_refuse, size)
                    continue
                file.seek(first)
                data = file.read(size)
                yield image, partial(bytes, data)  # bytes of bytes are the same object
        finally:
            if file is not None:
                file.close()


def open_tar(
    title: str, root: str, labels: Sequence[Path], *, limit: int | None, cache: Path, progress: Progress | None
) -> TarSource:
    """The images in a tar file, or in all files that a glob matches, ordered by file name and then as in the file.

    The folder of a member is its class.

    title : name of the dataset.
    root : path or glob.
    labels : files of labels or class names.
    limit : maximum number of images, taken from the start; None for all.
    cache, progress : as for `open_source`.
    Raises DataError for a file that is damaged or not a plain tar, for a member that occurs twice, and if there is no
    image.
    """
    shards = _shards(root)
    sizes = [shard.stat().st_size for shard in shards]
    read, missing = [], limit
    for at, shard in enumerate(shards):
        report = None if progress is None else partial(_report, progress, sum(sizes[:at]), sum(sizes))
        members = _members(shard, missing, cache, report)
        read.append(members)
        if missing is not None:
            missing -= len(members.names)
            if missing <= 0:
                break
    names = [name for members in read for name in members.names]
    if not names:
        raise DataError(f"dataset.root {root}: no images in it; give a tar file whose members are images, not archives")
    places = [np.insert(members.numbers, 0, at, axis=1) for at, members in enumerate(read)]
    keys = [key_of(name) for name in names]
    _check_different(keys, shards, np.concatenate(places)[:, 0])
    assigned = find_labels(keys, labels, class_folders(keys), by_folder=True)
    index = Index(
        keys=tuple(keys),
        labels=assigned.labels,
        hashes=np.concatenate([members.hashes for members in read]),
        class_ids=assigned.class_ids,
        class_names=assigned.class_names,
    )
    return TarSource(title, index, shards, np.concatenate(places))


def _shards(root: str) -> tuple[Path, ...]:
    path = Path(root)
    if path.is_dir():
        raise DataError(
            f"dataset.root {root}: a folder, expected a tar file; name its shards by dataset.root='{root}/*.tar'"
        )
    matches = [path] if path.exists() else [Path(name) for name in glob.glob(root)]
    if not matches:
        raise DataError(
            f"dataset.root {root}: no such file; give a tar file, or several by a glob such as 'shards/*.tar'"
        )
    return tuple(Path(os.path.abspath(name)) for name in sorted(matches, key=os.fsencode))


def _report(progress: Progress, before: int, whole: int, done: int) -> None:
    progress(before + done, whole)


def _members(shard: Path, limit: int | None, cache: Path, report: partial | None) -> HashRecord:
    """Names, places (first byte, size) and hashes of the first `limit` images of a shard, from the cache if valid.

    The stamp holds the shard's size and modification time, and whether it was read to the end.
    """
    status = shard.stat()
    path = record_path(cache, "tar", shard)
    stored = read_record(path)
    if stored is not None and stored.stamp[:2] == (status.st_size, status.st_mtime_ns):
        enough = stored.stamp[2] or (limit is not None and len(stored.names) >= limit)
        if enough:
            return HashRecord(stored.names[:limit], stored.numbers[:limit], stored.hashes[:limit])
    names, numbers, hashes, whole = [], [], [], False
    with _open(shard) as file:
        for name, first, size, content in _scan(shard, file, report):
            names.append(name)
            numbers.append((first, size))
            hashes.append(content)
            if len(names) == limit:
                break
        else:
            whole = True
    record = HashRecord(
        tuple(names),
        np.array(numbers, np.int64).reshape(-1, 2),
        np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        (status.st_size, status.st_mtime_ns, int(whole)),
    )
    if settled(status.st_mtime_ns):
        write_record(path, record)
    return record


def _scan(shard: Path, file: BinaryIO, report: partial | None) -> Iterator[tuple[str, int, int, bytes]]:
    """Yield name, first byte, size and SHA-256 of every image in a tar file."""
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # otherwise the archive keeps all members in memory
                name, target = _plain(member.name), _plain(member.linkname)
                if member.isreg():
                    places[name] = member.offset_data, member.size
                elif member.islnk() and target in places:  # a hard link to a member before it
                    places[name] = places[target]
                if is_image(name) and name in places:
                    first, size = places[name]
                    yield name, first, size, _hash(file, first, size)
                    if report is not None:
                        report(first + size)
            _check_end(file, archive.offset)
    except tarfile.TarError as error:
        if _packed(shard):
            reason = "compressed; unpack it to a plain tar, because images are read at random positions"
        else:
            reason = f"no tar file, or a damaged one ({error}); fetch or make it again"
        raise DataError(f"dataset.root {shard}: {reason}") from error


def _plain(name: str) -> str:
    return name.removeprefix("./").lstrip("/")


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raise ReadError if more data follows, because the reader takes a damaged header for the end."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"what follows byte {offset} is no member")


def _hash(file: BinaryIO, first: int, size: int) -> bytes:
    digest, missing = hashlib.sha256(), size
    file.seek(first)
    while missing and (chunk := file.read(min(_CHUNK, missing))):
        digest.update(chunk)
        missing -= len(chunk)
    if missing:
        raise tarfile.ReadError("it ends in the middle of a member")
    return digest.digest()


def _packed(shard: Path) -> bool:
    with open(shard, "rb") as file:
        head = file.read(6)
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _open(shard: Path) -> BinaryIO:
    try:
        return open(shard, "rb", buffering=_BUFFER)
    except OSError as error:
        raise DataError(f"dataset.root {shard}: cannot be read ({error.strerror}); give a tar file") from error


def _refuse(size: int) -> bytes:
    raise BadImage(f"too large: a file of {size} bytes, more than {MOST_BYTES}")


def _check_different(keys: list[str], shards: Sequence[Path], of: np.ndarray) -> None:
    seen: dict[str, int] = {}
    for at, key in enumerate(keys):
        if key in seen:
            both = sorted({shards[of[seen[key]]].name, shards[of[at]].name})
            raise DataError(f"dataset.root: {key} is there twice, in {' and '.join(both)}; remove one of the two")
        seen[key] = at
