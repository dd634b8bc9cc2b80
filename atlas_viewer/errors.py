"""The errors that a user can correct, for readers and for the pipeline."""

from __future__ import annotations

import difflib
import errno
import os
import re
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LONGEST_MESSAGE = 2000  # letters: more than any message needs, unless it repeats what a damaged file or a user gave
UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError)  # what h5py raises where a file is damaged
LONGEST_NAME = 200  # letters of a name that nearest names are sought for: the search is quadratic


class AtlasError(Exception):
    """A request that cannot be fulfilled; its one line states where, what and what to do.

    Messages repeat names from files and from the command line, which may hold anything. As a text the message is one
    line of printable letters all the same, and what is very long is cut in its middle.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class FormatError(AtlasError, ValueError):
    """A file that is not an atlas, or an atlas that this version cannot read."""


class MissingError(AtlasError, LookupError):
    """A layer, unit, style or other name that is not in the atlas."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FAILING = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO)
_NUMBER = re.compile(r"errno = (\d+)")  # as HDF5 states it
_FILE = re.compile(r"name = '([^']+)'")


@dataclass(frozen=True)
class DiskFault:
    """What a disk did that is full or fails.

    path : the file, or empty where the error does not name it.
    reason : in the words of the operating system.
    remedy : what to do.
    """

    path: str
    reason: str
    remedy: str


def disk_fault(error: BaseException) -> DiskFault | None:
    """The fault of a disk for which an exception was raised, itself or while another one was handled; None for others.

    h5py raises errors of several built-in types, with the number in their text.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError | RuntimeError | KeyError | ValueError):
            text = str(seen)
            found = _NUMBER.search(text)
            number = getattr(seen, "errno", None) or (int(found[1]) if found else None)
            if number in _FULL or number in _FAILING:
                named = _FILE.search(text)
                path = getattr(seen, "filename", None) or (named[1] if named else "")
                remedy = (
                    "free space, or choose another folder with OUT=…; the same command continues"
                    if number in _FULL
                    else "see to the disk, or choose another folder with OUT=…; the same command continues"
                )
                return DiskFault(str(path), os.strerror(number), remedy)
        seen = seen.__cause__ or seen.__context__
    return None


def of_hdf5(error: BaseException, atlas: Path) -> bool:
    """Whether h5py raised the error for an atlas or a part of it, and not for a package or another file.

    The file is that of the innermost of h5py's objects in the error's frames; the atlas, where they hold none. A file
    that is closed by now is not the atlas.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ImportError) or not frames or "h5py" not in Path(frames[-1].filename).parts:
        return False
    held = [value for frame, _ in traceback.walk_tb(error.__traceback__) for value in frame.f_locals.values()]
    for value in reversed(held):
        if "file" in dir(type(value)) and any(kind.__module__.startswith("h5py.") for kind in type(value).__mro__):
            if not value:
                return False
            file, own = Path(value.file.filename).resolve(), atlas.resolve()
            return file == own or (file.parent != own.parent and file.is_relative_to(own.parent))
    return True


def one_line(text: str) -> str:
    """The text on one line: control characters are spelled, and the middle of a very long text is left out."""
    if len(text) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        text = f"{text[:half]} … {text[-half:]}"
    text = " ".join(text.splitlines())
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " (nearest: …)" for the names most like `name`, or "" when none is close."""
    if len(name) > LONGEST_NAME:
        return ""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" (nearest: {', '.join(close)})" if close else ""
