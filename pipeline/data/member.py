"""One file inside an archive: where its bytes lie, and how they are read without unpacking the archive."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PLAIN, DEFLATED = 0, 8  # methods, numbered as in zip files
_CHUNK = 1 << 20


class DamagedMember(ValueError):
    """A member whose bytes are not what the archive says."""


@dataclass(frozen=True)
class Member:
    """A file inside an archive.

    name : with "/", without parts that lead out of the archive.
    first, stored : first byte and number of bytes in the archive.
    size : number of bytes of the file itself.
    method : PLAIN or DEFLATED.
    checksum : CRC-32 of the file; None if the archive has none.
    """

    name: str
    first: int
    stored: int
    size: int
    method: int = PLAIN
    checksum: int | None = None


def inner_name(name: str) -> str:
    """The name of a member without "." and ".." and without a slash in front."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def contents(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member in pieces, never more than it should have. Raises DamagedMember."""
    size, checksum = 0, 0
    file.seek(member.first)
    for piece in _inflated(file, member) if member.method == DEFLATED else _pieces(file, member.stored):
        size, checksum = size + len(piece), zlib.crc32(piece, checksum)
        if size > member.size:
            break
        yield piece
    if size != member.size or member.checksum not in (None, checksum):
        raise DamagedMember("it ends in the middle of a member" if size < member.size else f"{member.name} is damaged")


def inflate(data: bytes, size: int) -> bytes:
    """The bytes of a deflated member. size : how many they are. Raises DamagedMember if they are not."""
    try:
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    except zlib.error as error:
        raise DamagedMember(str(error)) from error
    if len(unpacked) != size:
        raise DamagedMember(f"{len(unpacked)} bytes, expected {size}")
    return unpacked


def _pieces(file: BinaryIO, stored: int) -> Iterator[bytes]:
    while stored and (piece := file.read(min(_CHUNK, stored))):
        stored -= len(piece)
        yield piece


def _inflated(file: BinaryIO, member: Member) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _pieces(file, member.stored):
            while packed:
                yield inflater.decompress(packed, _CHUNK)
                packed = inflater.unconsumed_tail
        while not inflater.eof and (piece := inflater.decompress(b"", _CHUNK)):
            yield piece
    except zlib.error as error:
        raise DamagedMember(f"{member.name}: {error}") from error
