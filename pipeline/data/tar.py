"""The files inside a tar, as they lie in it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipeline.data.member import DamagedMember, Member, inner_name


def tar_members(file: BinaryIO, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Yield the files of a plain tar in its order; reads no contents. A hard link is the file before it.

    wanted : whether a file of this name is of interest.
    Raises DamagedMember for a tar that is damaged.
    """
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (entry := archive.next()) is not None:
                archive.members = []  # otherwise the archive keeps all members in memory
                name, target = inner_name(entry.name), inner_name(entry.linkname)
                if entry.isreg():
                    places[name] = entry.offset_data, entry.size
                elif entry.islnk() and target in places:
                    places[name] = places[target]
                if name in places and wanted(name):
                    first, size = places[name]
                    yield Member(name, first, size, size)
            _check_end(file, archive.offset)
    # What the reader raises for numbers in a header that are none, or no places in a file.
    except (tarfile.TarError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise DamagedMember(str(error) or type(error).__name__) from error


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raise ReadError if more data follows, because the reader takes a damaged header for the end."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"what follows byte {offset} is no member")
