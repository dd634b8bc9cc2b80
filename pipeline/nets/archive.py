"""Extraction of single files from published archives."""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipeline.errors import DownloadError, nearest

CHUNK = 1 << 20  # bytes
# A member has at most so many times the bytes of its archive, or so many bytes: means and weights compress far less.
MOST_TIMES, FREE = 100, 2**28
_DAMAGE = (  # what the readers of archives raise on damaged ones
    tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, LookupError, OverflowError, MemoryError,
    zlib.error, lzma.LZMAError,
)  # fmt: skip


def extract(archive: Path, member: str, final: Path) -> None:
    """Copy one file of an archive to `final`, which appears under that name only when it is whole.

    archive : .tar, .tar.gz, .tgz or .zip.
    member : name in the archive, or its last part if only one member ends like that.
    Raises DownloadError if the archive cannot be read or holds no such plain file.
    """
    final.parent.mkdir(exist_ok=True)
    part = final.with_name(f"{final.name}.part")
    try:
        with _opened_member(archive, member) as source, part.open("wb") as target:
            left = max(FREE, MOST_TIMES * archive.stat().st_size)
            while chunk := source.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"{member} unpacks to far more than weights do")
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
    except DownloadError:
        raise
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the machine; bzip2's of its data have no number
            raise
        part.unlink(missing_ok=True)
        raise DownloadError(f"archive {archive}: cannot be read ({error}); remove it to fetch it again") from None
    os.replace(part, final)


def member_path(archive: Path, member: str) -> Path:
    """The path to which a member is extracted.

    The archive has no influence on the folder. Members with the same last part get different folders.
    """
    folder = archive.with_name(f"{archive.name}.{hashlib.sha256(member.encode()).hexdigest()[:12]}")
    return folder / PurePosixPath(member).name


@contextmanager
def _opened_member(archive: Path, member: str) -> Iterator[BinaryIO]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            infos = [info for info in file.infolist() if info.filename and not info.is_dir()]
            if any(info.header_offset < 0 for info in infos):
                raise zipfile.BadZipFile("a member lies before its beginning")
            names = [info.filename for info in infos]
            with file.open(_chosen(archive, member, names)) as source:
                yield source  # type: ignore[misc]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            names = [info.name for info in file.getmembers() if info.isfile()]  # neither links nor devices
            source = file.extractfile(_chosen(archive, member, names))
            yield source  # type: ignore[misc]
    else:
        raise DownloadError(f"archive {archive}: neither tar nor zip; remove it to fetch it again")


def _chosen(archive: Path, member: str, names: list[str]) -> str:
    """The member's name in the archive: as given, else the only name with that last part."""
    if member in names:
        return member
    alike = [name for name in names if PurePosixPath(name).name == member]
    if len(alike) != 1:
        raise DownloadError(
            f"archive {archive}: holds no file {member}{nearest(member, names)}; give the name as the archive has it"
        )
    return alike[0]
