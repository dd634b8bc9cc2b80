"""Faults of a machine or its mounts while a dataset is read, as opposed to faults of an image."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.errors import EnvironmentFault

# What a dataset itself may have when it is indexed: dangling links, files without permission, folders named as images.
_OF_DATASET = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}


def unreadable(path: Path, why: OSError | str) -> EnvironmentFault:
    """The fault that an indexed file can no longer be read.

    why : the error, or what is wrong with the file in a few words.
    """
    return EnvironmentFault(
        f"{path}: {_words(why)}, though it could be read when the dataset was indexed; mount the dataset at this path, "
        "or put the file back, and start again"
    )


def unindexable(path: Path, why: OSError | str) -> EnvironmentFault:
    """The fault that a dataset cannot be indexed, because its disk or mount fails."""
    return EnvironmentFault(
        f"{path}: {_words(why)} while the dataset was indexed; check its disk or mount, and try again"
    )


def of_machine(error: OSError, root: Path) -> bool:
    """Whether an error while a dataset is indexed is a fault of the machine, not a property of the dataset.

    root : of the dataset; if it is gone, the machine has lost the whole dataset.
    """
    return error.errno not in _OF_DATASET or not root.exists()


def _words(why: OSError | str) -> str:
    return why if isinstance(why, str) else f"cannot be read ({why.strerror or type(why).__name__})"
