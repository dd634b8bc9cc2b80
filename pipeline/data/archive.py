"""Images in tar and zip files, read in place without unpacking."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.data import beside
from pipeline.data.beside import Beside, Facts, may_state, stated_classes, stem_beside, stems
from pipeline.data.decoding import MOST_BYTES, BadImage
from pipeline.data.faults import unindexable, unreadable
from pipeline.data.hashes import HashRecord, read_record, record_path, settled, write_record
from pipeline.data.labels import class_folders, find_labels
from pipeline.data.member import DEFLATED, DamagedMember, Member, contents, inflate
from pipeline.data.source import UNREADABLE, ImageSource, Index, Load, Progress, is_image, key_of
from pipeline.data.tar import tar_members
from pipeline.data.zip import zip_members
from pipeline.errors import DataError
from pipeline.file_kinds import HEAD, TAR, ZIP, file_kind

SUFFIXES = (".tar", ".zip")
_BUFFER = 1 << 20  # bytes read ahead
_MOST_SHARDS = 100_000
_RECORD = "archive 2"  # kind of the stored hashes; those of before had no facts and fewer kinds of images
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


@dataclass(frozen=True, eq=False)
class ArchiveSource(ImageSource):
    """Images that are members of tar or zip files.

    shards : the files.
    places : (image, 5) int64: number of the shard, first byte, bytes in the shard, size and method of each image.
    """

    shards: tuple[Path, ...]
    places: np.ndarray = field(repr=False)

    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        """As in the base class. The bytes are read here, in sequence; the functions only return or inflate them."""
        file, opened = None, -1
        try:
            for image in self._bounds(start, stop):
                shard, first, stored, size, method = self.places[image].tolist()
                if shard != opened:
                    if file is not None:
                        file.close()
                    file, opened = _open_indexed(self.shards[shard]), shard
                if max(stored, size) > MOST_BYTES:
                    yield image, partial(_refuse, size)
                    continue
                data = _stored(file, self.shards[shard], first, stored)
                # bytes of bytes are the same object
                packed = method == DEFLATED
                yield image, partial(_inflated, self.shards[shard], data, size) if packed else partial(bytes, data)
        finally:
            if file is not None:
                file.close()


def is_archive(path: Path) -> bool:
    """Whether a file is a tar or a zip, by its first bytes or, for an old tar, by its name."""
    if not path.is_file():
        return False
    return _kind(path) in (TAR, ZIP) or path.suffix.lower() == ".tar"


def open_archive(
    title: str, root: str, labels: Sequence[Path], *, limit: int | None, cache: Path, progress: Progress | None
) -> ArchiveSource:
    """The images in a tar or zip file, or in several, ordered by file name and then as in the file.

    The folder of a member is its class, unless files beside the images state their classes (`pipeline.data.beside`).

    title : name of the dataset.
    root : path, glob or pattern such as "shards/{000..009}.tar", or a folder of such files.
    labels : files of labels or class names.
    limit : maximum number of images, taken from the start; None for all.
    cache, progress : as for `open_source`.
    Raises DataError for a file that is damaged or neither a plain tar nor a zip, for a member that occurs twice, and if
    there is no image; EnvironmentFault if the disk or the mount fails.
    """
    shards = archive_files(root)
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
        raise DataError(
            f"dataset.root {root}: no images in it; give a tar or zip file whose members are images, not archives"
        )
    places = np.concatenate([np.insert(members.numbers, 0, at, axis=1) for at, members in enumerate(read)])
    keys = [key_of(name) for name in names]
    _check_different(keys, shards, places[:, 0])
    facts = [json.loads(text) if text else {} for members in read for text in members.facts]
    given, titles, by_folder = beside_or_folders(facts, keys)
    assigned = find_labels(keys, labels, given, by_folder, titles)
    index = Index(
        keys=tuple(keys),
        labels=assigned.labels,
        hashes=np.concatenate([members.hashes for members in read]),
        class_ids=assigned.class_ids,
        class_names=assigned.class_names,
        notes=(*assigned.notes, *unused_texts(facts, assigned.class_ids)),
    )
    return ArchiveSource(title, index, shards, places)


def beside_or_folders(
    facts: Sequence[Facts], keys: Sequence[str]
) -> tuple[Sequence[str | None], Sequence[str | None] | None, bool]:
    """The class of each image, its readable name, and whether the classes are folders.

    The files beside the images state the classes, unless some images lack one and all lie in class folders; a text
    beside an image does so only if not all lie in class folders.
    """
    folders, stated = class_folders(keys), stated_classes(facts)
    in_folders = all(folders)
    if stated is None or (in_folders and (None in stated[0] or stated[2] == ".txt")):
        return folders, None, True
    return stated[0], stated[1], False


def unused_texts(facts: Sequence[Facts], classes: Sequence[str]) -> tuple[str, ...]:
    """A line for the log if the images have no class though there are texts beside them."""
    if classes or not beside.has_other_texts(facts):
        return ()
    return (
        "the texts beside the images are taken for captions, not for classes, because they are long or hardly one "
        "occurs twice",
    )


def archive_files(root: str) -> tuple[Path, ...]:
    """The tar and zip files that a root stands for, absolute, by name. Raises DataError for none."""
    path = Path(root)
    if path.is_dir():
        inside = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")]
        if not inside:
            raise DataError(
                f"dataset.root {root}: a folder, expected a tar file; name its shards by dataset.root='{root}/*.tar', "
                "if they end otherwise, or take the images of a folder by DATASET=folder"
            )
        matches = inside
    elif path.exists():
        matches = [path]
    else:
        matches = [match for pattern in _expanded(root) for match in _matches(root, pattern)]
    if not matches:
        raise DataError(
            f"dataset.root {root}: no such file; give a tar or zip file, or several by a pattern such as 'shards/*.tar'"
        )
    return tuple(Path(os.path.abspath(name)) for name in sorted(matches, key=os.fsencode))


def _matches(root: str, pattern: str) -> list[Path]:
    if Path(pattern).exists():
        return [Path(pattern)]
    found = [Path(name) for name in glob.glob(pattern)]
    if not found and pattern != root:
        raise DataError(f"dataset.root {root}: no such file as {pattern}; correct the numbers in braces")
    return found


def _expanded(root: str) -> list[str]:
    """The names that a pattern with braces stands for, such as {000..009} or {train,val}."""
    pieces, end = [], 0
    for match in _BRACES.finditer(root):
        pieces.append([root[end : match.start()]])
        first, last, choices = match.groups()
        if choices is not None:
            pieces.append(choices.split(","))
        else:
            if int(last) - int(first) >= _MOST_SHARDS:
                raise DataError(f"dataset.root {root}: stands for more than {_MOST_SHARDS} files; name fewer")
            pieces.append([str(each).zfill(len(first)) for each in range(int(first), int(last) + 1)])
        end = match.end()
    return ["".join(parts) for parts in product(*pieces, [root[end:]])]


def _report(progress: Progress, before: int, whole: int, done: int) -> None:
    progress(before + done, whole)


def _members(shard: Path, limit: int | None, cache: Path, report: partial | None) -> HashRecord:
    """Names, places, hashes and facts of the first `limit` images of a shard, from the cache if valid.

    A place is the first byte, the bytes in the shard, the size and the method. The stamp holds the shard's size and
    modification time, and whether it was read to the end.
    """
    status = shard.stat()
    path = record_path(cache, _RECORD, shard)
    stored = read_record(path)
    if stored is not None and stored.stamp[:2] == (status.st_size, status.st_mtime_ns):
        enough = stored.stamp[2] or (limit is not None and len(stored.names) >= limit)
        if enough:
            return HashRecord(
                stored.names[:limit], stored.numbers[:limit], stored.hashes[:limit], facts=stored.facts[:limit]
            )
    images: list[Member] = []
    hashes: list[bytes] = []
    texts, whole = Beside(), True
    with _open(shard) as file:
        try:
            for member in (zip_members if _kind(shard) == ZIP else tar_members)(file, _is_wanted):
                if not is_image(member.name):
                    if _belongs(member.name, images, limit):
                        _add_text(texts, file, member)
                    elif len(images) == limit:
                        whole = False
                        break
                    continue
                if len(images) == limit:
                    whole = False
                    break
                images.append(member)
                hashes.append(_hash(file, member))
                if report is not None:
                    report(member.first + member.stored)
        except DamagedMember as error:
            raise DataError(f"dataset.root {shard}: {_damage(shard, error)}") from error
        except OSError as error:
            raise unindexable(shard, error) from error
    record = HashRecord(
        tuple(member.name for member in images),
        np.array([(each.first, each.stored, each.size, each.method) for each in images], np.int64).reshape(-1, 4),
        np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
        (status.st_size, status.st_mtime_ns, int(whole)),
        tuple(json.dumps(facts) if (facts := texts.of(member.name)) else "" for member in images),
    )
    if settled(status.st_mtime_ns):
        write_record(path, record)
    return record


def _is_wanted(name: str) -> bool:
    return is_image(name) or may_state(name)


def _belongs(name: str, images: Sequence[Member], limit: int | None) -> bool:
    """Whether a file may state the class of an image that is read; at the limit, only of the last one."""
    return len(images) != limit or (bool(images) and stem_beside(name) in stems(images[-1].name))


def _add_text(texts: Beside, file: BinaryIO, member: Member) -> None:
    if member.size <= beside.MOST_BYTES:
        texts.add(member.name, b"".join(contents(file, member)))


def _damage(shard: Path, error: DamagedMember) -> str:
    kind = _kind(shard)
    if kind == ZIP:
        return f"a zip file that cannot be read ({error}); unpack it, or fetch or make it again"
    if kind in (None, TAR):
        return f"no tar file, or a damaged one ({error}); fetch or make it again"
    if "compressed" in kind:
        return f"{kind}; unpack it to a plain tar, because images are read at random positions"
    return f"{kind}, expected a tar or zip file; unpack it and take its folder by DATASET=folder, or pack it as tar"


def _hash(file: BinaryIO, member: Member) -> bytes:
    """SHA-256 of a member; UNREADABLE for one that is packed and too large to be read."""
    if member.method == DEFLATED and member.size > MOST_BYTES:
        return UNREADABLE
    digest = hashlib.sha256()
    for piece in contents(file, member):
        digest.update(piece)
    return digest.digest()


def _kind(shard: Path) -> str | None:
    with _open(shard) as file:
        return file_kind(file.read(HEAD))


def _open(shard: Path) -> BinaryIO:
    try:
        return open(shard, "rb", buffering=_BUFFER)
    except OSError as error:
        raise DataError(f"dataset.root {shard}: cannot be read ({error.strerror}); give a tar or zip file") from error


def _open_indexed(shard: Path) -> BinaryIO:
    try:
        return open(shard, "rb", buffering=_BUFFER)
    except OSError as error:
        raise unreadable(shard, error) from error


def _stored(file: BinaryIO, shard: Path, first: int, stored: int) -> bytes:
    """The bytes of an indexed member as they lie in its archive."""
    try:
        file.seek(first)
        data = file.read(stored)
    except OSError as error:
        raise unreadable(shard, error) from error
    if len(data) < stored:
        raise unreadable(shard, f"ends before byte {first + stored}")
    return data


def _inflated(shard: Path, data: bytes, size: int) -> bytes:
    try:
        return inflate(data, size)
    except DamagedMember as error:
        raise unreadable(shard, f"damaged ({error})") from error


def _refuse(size: int) -> bytes:
    raise BadImage(f"too large: a file of {size} bytes, more than {MOST_BYTES}")


def _check_different(keys: list[str], shards: Sequence[Path], of: np.ndarray) -> None:
    seen: dict[str, int] = {}
    for at, key in enumerate(keys):
        if key in seen:
            both = sorted({shards[of[seen[key]]].name, shards[of[at]].name})
            raise DataError(f"dataset.root: {key} is there twice, in {' and '.join(both)}; remove one of the two")
        seen[key] = at
