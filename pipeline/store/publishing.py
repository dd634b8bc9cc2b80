"""Put a new atlas.h5 in the place of the old one, in one rename, and then remove what it no longer needs.

A merge may die at any time: before the rename the old atlas is as it was, with all its parts and shards; after it, a
note in the folder of shards tells the next merge which of them are in the atlas.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import h5py

from atlas_viewer import format
from atlas_viewer.errors import UNREADABLE
from pipeline.store.held import HeldAtlas, reading
from pipeline.store.parts import FOLDER
from pipeline.store.shard import ShardFolder, write_whole
from pipeline.store.whole import write_whole_atlas

_BEFORE = ".before-"  # how the names of replaced atlases begin that may still be read


def is_open(file: h5py.File) -> bool:
    """Whether an atlas has its groups in parts."""
    return bool(linked_files(file))


def linked_files(file: h5py.File) -> frozenset[str]:
    """The names of the parts that an atlas.h5 links to."""
    return frozenset(_links(file))


def used_files(file: h5py.File) -> frozenset[str]:
    """The names of all parts that an atlas.h5 needs: those that it links to, and the files of their pictures.

    If one of them cannot be read, all that lie beside it, because files that no atlas needs are removed.
    Each part is opened once, which is most of the time that this takes.
    """
    links, folder = _links(file), Path(file.filename).parent / FOLDER
    found = set(links)

    def note(name: str, one: h5py.Group | h5py.Dataset) -> None:
        if isinstance(one, h5py.Dataset) and one.is_virtual:
            found.update(Path(source.file_name).name for source in one.virtual_sources())

    try:
        for name, groups in links.items():
            with h5py.File(folder / name, "r") as part:
                for group in groups:
                    note(group, part[group])
                    if isinstance(part[group], h5py.Group):
                        part[group].visititems(note)
    except UNREADABLE:
        return frozenset(found.union(path.name for path in folder.glob("*")))
    return frozenset(found)


def _links(file: h5py.File) -> dict[str, list[str]]:
    """Name of a part → the groups in it that an atlas.h5 links to."""
    found: dict[str, list[str]] = {}

    def walk(group: h5py.Group, path: str) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                found.setdefault(Path(link.filename).name, []).append(link.path)
            elif format.is_foreseen(f"{path}/{name}") and isinstance(group[name], h5py.Group):
                walk(group[name], f"{path}/{name}")

    walk(file, "")
    return found


def size_of(atlas: Path) -> int:
    """Bytes of an atlas with all its parts; 0 if there is none, or if it cannot be read, which its reader says."""
    try:
        with h5py.File(atlas, "r") as file:
            parts = [atlas.parent / FOLDER / name for name in used_files(file)]
        return sum(path.stat().st_size for path in [atlas, *parts])
    except UNREADABLE:
        return 0


def publish(linked: Path, target: Path, shards: ShardFolder, merged: Sequence[str]) -> None:
    """Let an open atlas take the place of the old one; then remove the merged shards, and parts that are not used.

    linked : its complete file, beside `target`.
    """
    sync_folder(target.parent / FOLDER)
    _replace(linked, target, shards, merged)


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
        with h5py.File(linked, "r") as opened, reading(linked, opened):
            write_whole_atlas(opened, whole, advance)
        _replace(whole, target, shards, merged)
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
    shards.remove(())
    with suppress(OSError):  # not empty
        shards.folder.rmdir()
    collect(target)


def collect(target: Path) -> None:
    """Remove parts that neither the atlas uses nor one of before that is still read."""
    folder = target.parent / FOLDER
    if not folder.is_dir():
        return
    with HeldAtlas.open(target) as held:
        used = set() if held.file is None else set(used_files(held.file))
    used |= _read_elsewhere(folder)
    for path in folder.iterdir():
        if path.name not in used:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        folder.rmdir()


def _replace(new: Path, target: Path, shards: ShardFolder | None, merged: Sequence[str]) -> None:
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    if shards is not None and merged:
        write_whole(_note(shards), json.dumps([new.stat().st_ino, list(merged)]).encode())
    _remember(target)
    new.replace(target)
    sync_folder(target.parent)
    if shards is not None and merged:
        shards.remove(merged)
        _note(shards).unlink(missing_ok=True)
        with suppress(OSError):
            shards.folder.rmdir()
    collect(target)


def _remember(target: Path) -> None:
    """Keep an open atlas that is about to be replaced under a second name, with the names of its parts.

    Who has it open still needs them: a virtual dataset whose file is gone reads as blank pictures.
    """
    if not target.exists():
        return
    with h5py.File(target, "r") as file:
        used = used_files(file)
    if not used:
        return
    before = target.parent / FOLDER / f"{_BEFORE}{target.stat().st_ino:x}"
    write_whole(before.with_suffix(".json"), json.dumps(sorted(used)).encode())
    with suppress(OSError):  # a file system without hard links, or one that is remembered already
        os.link(target, before)


def _read_elsewhere(folder: Path) -> set[str]:
    """The names of all files that belong to atlases of before which others still have open."""
    used: set[str] = set()
    for listed in folder.glob(f"{_BEFORE}*.json"):
        before = listed.with_suffix("")
        if before.exists() and _is_read(before):
            used |= {before.name, listed.name, *json.loads(listed.read_text())}
    return used


def _is_read(path: Path) -> bool:
    """Whether anybody has an HDF5 file open: HDF5 locks what it opens."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no locks on this file system
            return False
    return False


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
