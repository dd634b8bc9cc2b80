"""The files inside a zip, as they lie in it."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipeline.data.member import DEFLATED, PLAIN, DamagedMember, Member, inner_name

_HEAD = struct.Struct("<4s22xHH")  # of a member: signature, …, lengths of its name and of what follows it
_ENCRYPTED = 1
_MOST_TIMES = 1032  # deflate makes at most as many bytes of one


def zip_members(file: BinaryIO, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Yield the files of a zip in the order of its directory; reads no contents.

    wanted : whether a file of this name is of interest.
    Raises DamagedMember for a zip that is damaged, encrypted, or packed by another method than deflate, and for one
    whose members overlap, as those of a zip that is made to unpack without end.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise DamagedMember(str(error)) from error
    whole = file.seek(0, 2)
    taken: list[tuple[int, int]] = []
    for entry in entries:
        name = inner_name(entry.filename.replace("\\", "/"))
        if name == "" or entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16) or not wanted(name):
            continue
        if entry.flag_bits & _ENCRYPTED:
            raise DamagedMember(f"{name} is encrypted; unpack it with its password")
        if entry.compress_type not in (PLAIN, DEFLATED):
            method = zipfile.compressor_names.get(entry.compress_type, entry.compress_type)
            raise DamagedMember(f"{name} is packed by {method}; pack it anew by deflate")
        if not 0 <= entry.header_offset < whole:
            raise DamagedMember(f"{name} is not where the directory says")
        first = _first_byte(file, entry)
        if first + entry.compress_size > whole:
            raise DamagedMember("it ends in the middle of a member")
        if entry.file_size > _MOST_TIMES * entry.compress_size:
            raise DamagedMember(f"{name} cannot be as long as the directory says")
        taken.append((entry.header_offset, first + entry.compress_size))
        yield Member(name, first, entry.compress_size, entry.file_size, entry.compress_type, entry.CRC)
    taken.sort()
    if any(end > start for (_, end), (start, _) in zip(taken, taken[1:], strict=False)):
        raise DamagedMember("its members overlap")


def _first_byte(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    file.seek(entry.header_offset)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(b"PK\x03\x04"):
        raise DamagedMember(f"{entry.filename} is not where the directory says")
    _, name, extra = _HEAD.unpack(head)
    return entry.header_offset + _HEAD.size + name + extra
