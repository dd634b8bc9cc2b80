"""One state of an atlas, for all processes of a build, while a run may replace the file under its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from atlas_viewer.errors import UNREADABLE, AtlasError

TRIES = 5  # a file that the atlas links to may be replaced between looking and linking


@contextmanager
def snapshot(atlas_path: Path, folder: Path) -> Iterator[Path]:
    """Give the path of an atlas that stays as it is now: hard links to the file, and to the files that it links to.

    folder : where they go; it is removed at the end. It must be on the file system of the atlas, otherwise the path
        itself is given, as it is for an atlas that cannot be opened.
    Raises AtlasError where a file that the atlas links to is missing.
    """
    for attempt in range(TRIES):
        try:
            copy = _linked(atlas_path, folder / str(attempt))
        except FileNotFoundError as error:
            missing = error.filename
            continue
        break
    else:
        if atlas_path.is_file():
            raise AtlasError(f"atlas {atlas_path}: links to {missing}, which is not there; make atlas writes it again")
        copy = None
    try:
        yield atlas_path if copy is None else copy
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if folder.is_dir():
            folder.rmdir()


def _linked(atlas_path: Path, folder: Path) -> Path | None:
    """Link an atlas and all that it links to into a folder; None where that is not possible."""
    home, waiting, seen = atlas_path.parent.resolve(), [atlas_path.name], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(home / name, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without hard links
            return None
        waiting += _names_beside(target, Path(name).parent)
    return folder / atlas_path.name


def _names_beside(path: Path, parent: Path) -> list[str]:
    """The files that an HDF5 file links to, relative to the atlas; none where it is damaged, which its reader says.

    Files outside of the atlas's folder are left out: no link to them may be made beside the pages.
    """
    names: set[str] = set()

    def walk(group: h5py.Group) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                names.add(link.filename)
            elif isinstance(link, h5py.HardLink):
                thing = group[name]
                if isinstance(thing, h5py.Group):
                    walk(thing)
                elif thing.is_virtual:
                    names.update(source.file_name for source in thing.virtual_sources() if source.file_name != ".")

    try:
        with h5py.File(path, "r") as file:
            walk(file)
    except UNREADABLE:
        return []
    paths = (os.path.normpath(parent / name) for name in names)
    return [path for path in paths if not os.path.isabs(path) and path.split(os.sep)[0] != os.pardir]
