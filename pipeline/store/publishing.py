"""Put a new atlas.h5 in the place of the old one, in one rename, and then remove what it no longer needs.

A merge may die at any time: before the rename the old atlas is as it was, with all its parts and shards; after it, a
note in the folder of shards tells the next merge which of them are in the atlas.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import h5py

from atlas_viewer import format
from pipeline.store.held import HeldAtlas
from pipeline.store.parts import FOLDER
from pipeline.store.shard import ShardFolder, write_whole
from pipeline.store.whole import write_whole_atlas

_read_elsewhere: list[int] = []  # open atlases of before that others still read, with parts that may be needed


def is_open(file: h5py.File) -> bool:
    """Whether an atlas has its groups in parts."""
    return bool(linked_files(file))


def linked_files(file: h5py.File) -> frozenset[str]:
    """The names of the parts that an atlas.h5 links to."""
    found: set[str] = set()

    def walk(group: h5py.Group) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                found.add(Path(link.filename).name)
            elif isinstance(group[name], h5py.Group):
                walk(group[name])

    walk(file)
    return frozenset(found)


def used_files(file: h5py.File) -> frozenset[str]:
    """The names of all parts that an atlas.h5 needs: those that it links to, and the files of their pictures."""
    found = set(linked_files(file))
    for kind in format.SCHEMA:
        for field in kind.fields:
            for group in kind.within(file) if field.by_picture else ():
                dataset = group.get(field.name)
                if dataset is not None and dataset.is_virtual:
                    found.update(Path(source.file_name).name for source in dataset.virtual_sources())
    return frozenset(found)


def size_of(atlas: Path) -> int:
    """Bytes of an atlas with all its parts; 0 if there is none."""
    try:
        with h5py.File(atlas, "r") as file:
            parts = [atlas.parent / FOLDER / name for name in used_files(file)]
        return sum(path.stat().st_size for path in [atlas, *parts])
    except OSError:
        return 0


def publish(linked: Path, target: Path, shards: ShardFolder, merged: Sequence[str]) -> None:
    """Let an open atlas take the place of the old one; then remove the merged shards, and parts that are not used.

    linked : its complete file, beside `target`.
    """
    with h5py.File(linked, "r") as file:
        used = used_files(file)
    sync_folder(target.parent / FOLDER)
    _replace(linked, target, used, shards, merged)


def pack_atlas(
    linked: Path,
    target: Path | None = None,
    shards: ShardFolder | None = None,
    merged: Sequence[str] = (),
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write an open atlas as one whole file, and remove its parts.

    linked : the file of the open atlas.
    target : the whole file; None for `linked` itself.
    advance : called with the number of bytes of pictures just copied.
    """
    target = linked if target is None else target
    whole = target.with_name(f".{target.name}.part")
    try:
        with h5py.File(linked, "r") as opened:
            write_whole_atlas(opened, whole, advance)
        _replace(whole, target, (), shards, merged)
    finally:
        whole.unlink(missing_ok=True)


def finish_interrupted(target: Path, shards: ShardFolder) -> None:
    """Remove what a run left that died: shards that are in the atlas already, and files that it did not complete.

    No other run may write to the folder at the same time.
    """
    note = _note(shards)
    with suppress(OSError, ValueError):
        inode, merged = json.loads(note.read_text())
        if target.stat().st_ino == inode:
            shards.remove(merged)
    note.unlink(missing_ok=True)
    for left in (*target.parent.glob(".atlas.h5.*"), *shards.folder.glob("*/.*.part"), *shards.folder.glob(".*.part")):
        left.unlink(missing_ok=True)
    collect(target)


def collect(target: Path) -> None:
    """Remove parts that the atlas does not use, unless a reader may still need them."""
    _close_unread()
    if (target.parent / FOLDER).is_dir() and not _read_elsewhere:
        with HeldAtlas.open(target) as held:
            used = () if held.file is None else used_files(held.file)
        _collect(target.parent / FOLDER, used)


def _replace(new: Path, target: Path, used: Collection[str], shards: ShardFolder | None, merged: Sequence[str]) -> None:
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    if shards is not None and merged:
        write_whole(_note(shards), json.dumps([new.stat().st_ino, list(merged)]).encode())
    with suppress(FileNotFoundError):
        _read_elsewhere.append(os.open(target, os.O_RDONLY))
    new.replace(target)
    sync_folder(target.parent)
    if shards is not None and merged:
        shards.remove(merged)
        _note(shards).unlink(missing_ok=True)
        with suppress(OSError):
            shards.folder.rmdir()
    _close_unread()
    if not _read_elsewhere or not used:
        _collect(target.parent / FOLDER, used)


def _close_unread() -> None:
    """Close the atlases of before that nobody reads any more: HDF5 locks every file that it has open."""
    for descriptor in list(_read_elsewhere):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:  # no locks on this file system
            pass
        _read_elsewhere.remove(descriptor)
        os.close(descriptor)


def _collect(folder: Path, used: Collection[str]) -> None:
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in used:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or not there
        folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a loss of power."""
    if folder.is_dir():
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _note(shards: ShardFolder) -> Path:
    return shards.folder / "merged.json"
