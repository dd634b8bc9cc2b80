"""What a file is, by its first bytes, for messages about one that is not what it should be."""

from __future__ import annotations

import re

HEAD = 512  # bytes that `file_kind` looks at
ZIP = "a zip file"
TAR = "a tar file"

_KINDS = {
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,  # an empty one
    b"\x1f\x8b": "gzip-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"SQLite format 3\0": "an SQLite database",
    b"\x80\x04\x95": "a pickle",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (git lfs pull fetches it)",
}
_PAGE = re.compile(rb"<!doctype html|<html[\s>]")


def file_kind(head: bytes) -> str | None:
    """What a file that begins with these bytes is, as in "it is a zip file"; None if they say nothing."""
    for beginning, kind in _KINDS.items():
        if head.startswith(beginning):
            return kind
    if head[257:262] == b"ustar":
        return TAR
    return "a web page" if _PAGE.match(head.lstrip().lower()) else None
