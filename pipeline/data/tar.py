"""Images in tar files, read from where they lie, never unpacked."""

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
    """Members of tar files. shards : the files. places : (image, 3) int64, shard, first byte and size of each."""

    shards: tuple[Path, ...]
    places: np.ndarray = field(repr=False)

    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        """The bytes are read here, one after the other as they lie; what an image's load does is to hand them over."""
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
    """The images in a tar file, or in all that a glob names, in the order of the files' names and of the members.

    A member's folder is its class. limit : the first ones.
    Raises DataError for a file that is no plain tar or is damaged, a member that is there twice, or no image.
    """
    shards = _shards(root)
    sizes = [shard.stat().st_size for shard in shards]
    found, missing = [], limit
    for at, shard in enumerate(shards):
        told = None if progress is None else partial(_tell, progress, sum(sizes[:at]), sum(sizes))
        members = _members(shard, missing, cache, told)
        found.append(members)
        if missing is not None:
            missing -= len(members.names)
            if missing <= 0:
                break
    names = [name for members in found for name in members.names]
    if not names:
        raise DataError(f"dataset.root {root}: no images in it; give a tar file whose members are images, not archives")
    places = [np.insert(members.numbers, 0, at, axis=1) for at, members in enumerate(found)]
    keys = [key_of(name) for name in names]
    _check_different(keys, shards, np.concatenate(places)[:, 0])
    spoken = find_labels(keys, labels, class_folders(keys), by_folder=True)
    index = Index(
        keys=tuple(keys),
        labels=spoken.labels,
        hashes=np.concatenate([members.hashes for members in found]),
        class_ids=spoken.class_ids,
        class_names=spoken.class_names,
    )
    return TarSource(title, index, shards, np.concatenate(places))


def _shards(root: str) -> tuple[Path, ...]:
    path = Path(root)
    if path.is_dir():
        raise DataError(
            f"dataset.root {root}: a folder, expected a tar file; name its shards by dataset.root='{root}/*.tar'"
        )
    found = [path] if path.exists() else [Path(name) for name in glob.glob(root)]
    if not found:
        raise DataError(
            f"dataset.root {root}: no such file; give a tar file, or several by a glob such as 'shards/*.tar'"
        )
    return tuple(Path(os.path.abspath(name)) for name in sorted(found, key=os.fsencode))


def _tell(progress: Progress, before: int, whole: int, here: int) -> None:
    progress(before + here, whole)


def _members(shard: Path, limit: int | None, cache: Path, told: partial | None) -> HashRecord:
    """Names, places (first byte, size) and hashes of a shard's images, the first `limit`; remembered from last time.

    The stamp holds the shard's size and time of change, and whether all of it was read.
    """
    status = shard.stat()
    place = record_path(cache, "tar", shard)
    known = read_record(place)
    if known is not None and known.stamp[:2] == (status.st_size, status.st_mtime_ns):
        enough = known.stamp[2] or (limit is not None and len(known.names) >= limit)
        if enough:
            return HashRecord(known.names[:limit], known.numbers[:limit], known.hashes[:limit])
    names, numbers, hashes, whole = [], [], [], False
    with _open(shard) as file:
        for name, first, size, content in _scan(shard, file, told):
            names.append(name)
            numbers.append((first, size))
            hashes.append(content)
            if len(names) == limit:
                break
        else:
            whole = True
    memory = HashRecord(
        tuple(names),
        np.array(numbers, np.int64).reshape(-1, 2),
        np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        (status.st_size, status.st_mtime_ns, int(whole)),
    )
    if settled(status.st_mtime_ns):
        write_record(place, memory)
    return memory


def _scan(shard: Path, file: BinaryIO, told: partial | None) -> Iterator[tuple[str, int, int, bytes]]:
    """Name, first byte, size and SHA-256 of every image in a tar file."""
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # else it keeps them all
                name, target = _plain(member.name), _plain(member.linkname)
                if member.isreg():
                    places[name] = member.offset_data, member.size
                elif member.islnk() and target in places:  # a file that was there under another name
                    places[name] = places[target]
                if is_image(name) and name in places:
                    first, size = places[name]
                    yield name, first, size, _hash(file, first, size)
                    if told is not None:
                        told(first + size)
            _check_end(file, archive.offset)
    except tarfile.TarError as error:
        if _packed(shard):
            reason = "compressed; unpack it to a plain tar, for images are read from its middle"
        else:
            reason = f"no tar file, or a damaged one ({error}); fetch or make it again"
        raise DataError(f"dataset.root {shard}: {reason}") from error


def _plain(name: str) -> str:
    return name.removeprefix("./").lstrip("/")


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raise ReadError unless there is nothing more: the reader takes a damaged header for the end."""
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
            raise DataError(f"dataset.root: {key} is there twice, in {' and '.join(both)}; leave one of the two")
        seen[key] = at
