"""Images that are files: of a folder tree, of a flat folder, or named by a text or CSV file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.data.archive import SUFFIXES as ARCHIVES
from pipeline.data.archive import beside_or_folders, is_archive, unused_texts
from pipeline.data.beside import MOST_BYTES as MOST_BESIDE
from pipeline.data.beside import Beside, Facts, may_state, stem_beside, stems
from pipeline.data.decoding import MOST_BYTES, BadImage
from pipeline.data.faults import of_machine, unindexable, unreadable
from pipeline.data.hashes import file_hashes
from pipeline.data.labels import Labels, class_folders, find_labels
from pipeline.data.lists import ImageList, read_list, uncounted
from pipeline.data.source import ImageSource, Index, Load, Progress, is_image, key_of
from pipeline.errors import DataError

LABELS = "labels.csv"  # in the folder itself; read if no other labels are given


@dataclass(frozen=True, eq=False)
class FileSource(ImageSource):
    """Image files beneath a folder.

    root : the folder, an absolute path, so that workers in other directories find it.
    names : paths of the files relative to the folder, as in the file system, in the order of the index.
    """

    root: Path
    names: tuple[str, ...] = field(repr=False)

    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        for image in self._bounds(start, stop):
            yield image, partial(_load, self.root / self.names[image])


def open_folder(
    title: str, root: Path, labels: Sequence[Path], *, limit: int | None, cache: Path, progress: Progress | None
) -> FileSource:
    """The images of a folder in the byte order of their keys; in a tree, each folder in it is a class.

    Files beside the images may state their classes instead (`pipeline.data.beside`).

    title : name of the dataset.
    root : the folder.
    labels : files of labels or class names; without one, labels.csv in the folder is read if it exists.
    limit : number of images, taken evenly over the classes, the first of each; None for all.
    cache, progress : as for `open_source`.
    """
    names, texts = _files(root)
    if not labels and (root / LABELS).is_file():
        labels = [root / LABELS]
    keys = [key_of(name) for name in names]
    facts = _facts(root, names, texts)
    given, titles, by_folder = beside_or_folders(facts, keys)
    assigned = find_labels(keys, labels, given, by_folder, titles)
    assigned = replace(assigned, notes=(*assigned.notes, *unused_texts(facts, assigned.class_ids)))
    return file_source(title, root, names, assigned, limit=limit, spread=True, cache=cache, progress=progress)


def open_list(
    title: str, root: Path, labels: Sequence[Path], *, limit: int | None, cache: Path, progress: Progress | None
) -> FileSource:
    """The images of a list, in its order; the list has a "path" or "path label" on each line, or is a table or JSON.

    If no line has a label and every path has a folder, the folders are the classes.

    title : name of the dataset.
    root : the list, whose paths are relative to its own folder; or a folder, and then `labels` begins with the list.
    labels : files of labels or class names.
    limit : number of images, the first ones; None for all.
    cache, progress : as for `open_source`.
    Raises DataError for a list that is empty, names a file twice, or names a file outside its folder.
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
    listed = read_list(path)
    if not listed.names_images:
        raise DataError(
            f"dataset.root {path}: none of its columns ({_shown(listed.columns)}) holds names of image files; call the "
            "one with their paths image"
        )
    whole = [line.text for line in listed.lines]
    bare = listed.words and all(is_image(text) for text in whole)  # then a space is part of the name
    written = whole if bare else [line.name for line in listed.lines]
    if not os.path.exists(folder / written[0]):  # False, not an error, also for a name that no file can have
        written = uncounted(written) or written
    names = [_name(folder, path, text) for text in written]
    keys = [key_of(name) for name in names]
    _check_different(path, keys)
    values = [None if bare else line.value for line in listed.lines]
    folders = class_folders(keys)
    by_folder = not any(values) and all(folders)
    titles = [line.title for line in listed.lines]
    assigned = find_labels(keys, labels, folders if by_folder else values, by_folder, titles)
    if not listed.has_classes and not assigned.class_ids:
        assigned = replace(assigned, notes=(*assigned.notes, _no_classes(path, listed)))
    return file_source(title, folder, names, assigned, limit=limit, spread=False, cache=cache, progress=progress)


def file_source(
    title: str,
    root: Path,
    names: Sequence[str],
    assigned: Labels,
    *,
    limit: int | None,
    spread: bool,
    cache: Path,
    progress: Progress | None,
) -> FileSource:
    """The named files with their index.

    names : paths relative to `root`.
    assigned : the labels of the files.
    limit : number of images; None for all.
    spread : with a limit, take the images evenly over the classes; otherwise take the first ones.
    """
    labels = assigned.labels
    if limit is not None and limit < len(names):
        chosen = _spread(labels, limit) if spread else np.arange(limit)
        names, labels = [names[at] for at in chosen], labels[chosen]
    index = Index(
        keys=tuple(key_of(name) for name in names),
        labels=labels,
        hashes=file_hashes(root, names, cache=cache, progress=progress),
        class_ids=assigned.class_ids,
        class_names=assigned.class_names,
        notes=assigned.notes,
    )
    return FileSource(title, index, Path(os.path.abspath(root)), tuple(names))


def image_names(root: Path) -> list[str]:
    """Paths, relative to a folder and with "/", of all files with the suffix of an image, in byte order.

    Follows each link to a folder once; skips hidden files and folders, and folders without permission.
    Raises DataError if the folder does not exist or holds no image, EnvironmentFault if its disk or mount fails.
    """
    return _files(root)[0]


def _files(root: Path) -> tuple[list[str], list[str]]:
    """The names of the images in a folder, as `image_names`, and of the files that may state the class of one."""
    if not root.is_dir():
        what = "a file, expected a folder" if root.exists() else "no such folder"
        how = "; read a tar or zip file by DATASET=tar" if is_archive(root) else ""
        raise DataError(f"dataset.root {root}: {what}; give the folder of the images by dataset.root=…{how}")
    names, texts, others, seen = [], [], Counter[str](), set()

    def unlisted(error: OSError) -> None:
        if of_machine(error, root):
            raise unindexable(Path(error.filename), error) from error

    for folder, folders, files in os.walk(root, onerror=unlisted, followlinks=True):
        try:
            status = os.stat(folder)
        except OSError as error:
            raise unindexable(Path(folder), error) from error
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        beneath = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in files:
            path = name if beneath == "." else f"{beneath}/{name}"
            if is_image(name):
                names.append(path)
                continue
            others[os.path.splitext(name)[1].lower() or "without suffix"] += 1
            if may_state(name):
                texts.append(path)
    if not names:
        archives = [suffix for suffix in ARCHIVES if suffix in others]
        how = f"; read its {archives[0]} files by DATASET=tar" if archives else ""
        raise DataError(f"dataset.root {root}: no images in it{_listed(others)}; give a folder of images{how}")
    return sorted(names, key=os.fsencode), texts


def _facts(root: Path, names: Sequence[str], texts: Sequence[str]) -> list[Facts]:
    """What the files beside each image say."""
    beside, wanted = Beside(), {stem for name in names for stem in stems(name)} if texts else set()
    for text in texts:
        path = root / text
        try:
            if stem_beside(text) in wanted and path.stat().st_size <= MOST_BESIDE:
                beside.add(text, path.read_bytes())
        except OSError as error:  # a file without permission states nothing
            if of_machine(error, root):
                raise unindexable(path, error) from error
    return [beside.of(name) for name in names]


def _listed(others: Counter[str]) -> str:
    parts = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3))
    return f", but other files ({parts})" if parts else ""


def _spread(labels: np.ndarray, limit: int) -> np.ndarray:
    """The first images of every class, in numbers as equal as possible, in the order of the dataset."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - starts
    return np.sort(np.lexsort((np.arange(len(labels)), rank))[:limit])


def _load(path: Path) -> bytes:
    """The bytes of an indexed file. Raises BadImage if it is too large, EnvironmentFault if it cannot be read."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise BadImage(f"too large: a file of {size} bytes, more than {MOST_BYTES}")
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from error


def _shown(columns: Sequence[str]) -> str:
    return ", ".join(column if column else "one without a name" for column in columns)


def _no_classes(path: Path, listed: ImageList) -> str:
    return (
        f"{path.name}: its images have no classes, because none of its columns ({_shown(listed.columns)}) is known to "
        "hold them; call that column label"
    )


def _name(folder: Path, path: Path, given: str) -> str:
    """A path of the list, relative to the folder."""
    given = given.replace("\\", "/") if "/" not in given else given  # a list that was written on Windows
    absolute = os.path.abspath(folder)
    name = os.path.relpath(os.path.join(absolute, given), absolute).replace(os.sep, "/")
    if name == ".." or name.startswith("../"):
        raise DataError(
            f"dataset.root {path}: names {given}, which lies outside {folder}; put the list into a folder that holds "
            "all its images, or give that folder by dataset.root=… and the list by dataset.labels=…"
        )
    return name


def _check_different(path: Path, keys: list[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise DataError(f"dataset.root {path}: names {key} twice; remove one")
        seen.add(key)
