"""Images that a text or CSV file lists, in its order, with or without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.folder import FileSource, file_source
from pipeline.data.labels import class_folders, find_labels, read_lines
from pipeline.data.source import Progress, is_image, key_of
from pipeline.errors import DataError


def open_list(
    title: str, root: Path, labels: Sequence[Path], *, limit: int | None, cache: Path, progress: Progress | None
) -> FileSource:
    """The images of a list, "path" or "path label" a line, in its order.

    root : the list, whose paths begin at its own folder; or a folder, and then the first of `labels` is the list.
    Without labels in it, folders in the paths are the classes, where every path has one. limit : the first ones.
    Raises DataError for a list that is empty, names a file twice, or leads out of its folder.
    """
    if root.is_dir():
        if not labels:
            raise DataError(
                f"dataset.root {root}: a folder, expected a list; give the list by dataset.root=…, or beside the "
                "folder by dataset.labels=…, or take the whole folder by DATASET=folder"
            )
        folder, path, labels = root, labels[0], labels[1:]
    else:
        folder, path = root.parent, root
    lines = read_lines(path)
    whole = [line.text for line in lines]
    bare = all(is_image(text) for text in whole)  # then a space belongs to the name
    names = [_name(folder, path, text if bare else line.name) for text, line in zip(whole, lines, strict=True)]
    keys = [key_of(name) for name in names]
    _check_different(path, keys)
    values = [None if bare else line.value for line in lines]
    folders = class_folders(keys)
    by_folder = not any(values) and all(folders)
    found = find_labels(keys, labels, folders if by_folder else values, by_folder)
    return file_source(title, folder, names, found, limit=limit, spread=False, cache=cache, progress=progress)


def _name(folder: Path, path: Path, spoken: str) -> str:
    """The name beneath the folder of a path in the list."""
    absolute = os.path.abspath(folder)
    name = os.path.relpath(os.path.join(absolute, spoken), absolute).replace(os.sep, "/")
    if name == ".." or name.startswith("../"):
        raise DataError(
            f"dataset.root {path}: names {spoken}, which lies outside {folder}; put the list into a folder that holds "
            "all its images, or give that folder by dataset.root=… and the list by dataset.labels=…"
        )
    return name


def _check_different(path: Path, keys: list[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DataError(f"dataset.root {path}: names {key} twice; leave one")
        seen.add(key)
