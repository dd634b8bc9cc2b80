"""The class of each image, from its folder, from a file beside it, or from a file of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.class_names import WNID, ClassNames, in_order, number, place_of, spellings
from pipeline.data.lists import ImageList, ListLine, read_list, uncounted
from pipeline.data.source import NO_LABEL
from pipeline.errors import DataError, nearest
from pipeline.label_files import parse_classes

_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Labels:
    """The labels of images, with their classes.

    labels : (image,) int32, class numbers; NO_LABEL for none.
    class_ids, class_names : by class number.
    notes : lines for the log.
    """

    labels: np.ndarray
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


ClassValues = Sequence["str | None"]  # the class of each image as it is written; None for no class
Titles = Sequence["str | None"]  # the readable name of each image's class, where it is given beside its class


def find_labels(
    keys: Sequence[str],
    files: Sequence[Path],
    given: ClassValues,
    by_folder: bool,
    titles: Titles | None = None,
) -> Labels:
    """The labels of images, from a file of labels if one is given, else those of the dataset itself.

    A file that names images is a file of labels. It assigns them a number (from 0), or the id or name of a class; the
    number -1 stands for no class. A file that names no image is a file of class names (`parse_classes`); it defines the
    numbers of the classes. Without such a file, classes are numbered in the order of their ids: numbers by value, then
    names.

    keys : of the images.
    files : of labels and of class names, at most one of each.
    given : the class of each image according to the dataset itself.
    by_folder : whether `given` are the class folders.
    titles : readable names of the classes of `given`.
    Raises DataError for an image without a label, a class that is missing in the file of class names, or a file of
    labels that names none of these images.
    """
    stated: list[tuple[Path, ClassValues, Titles]] = []
    classes: list[tuple[Path, ClassNames]] = []
    for path in files:
        rows = _stated(path, keys)
        if rows is None:
            classes.append((path, read_classes(path)))
        else:
            stated.append((path, [row.value for row in rows], [row.title for row in rows]))
    _check_one(stated, "which class each image has", keys)
    _check_one(classes, "the names of classes", keys)
    values, names = stated[0][1:] if stated else (given, titles)
    if all(value is None for value in values):
        if not classes:
            return Labels(np.full(len(keys), NO_LABEL, np.int32), (), ())
        raise DataError(
            f"dataset.labels {classes[0][0]}: names no image of this dataset, which has no class folders either (its "
            f"first class is {classes[0][1].names[0]!r}, the first image {keys[0]!r}); give a file of image and class"
        )
    missing = [key for key, value in zip(keys, values, strict=True) if value is None]
    if missing and by_folder and not stated:
        raise DataError(
            f"dataset: {len(missing)} images lie beside the class folders (first {missing[0]}); move them into one, "
            "or give the classes of all by dataset.labels=…"
        )
    where = str(stated[0][0]) if stated else "the dataset"
    if missing:
        raise DataError(
            f"dataset.labels: {where} has no label for {len(missing)} of {len(keys)} images (first {missing[0]}); "
            "add them, or leave these images out"
        )
    ids = [match.group() if (match := WNID.match(str(value))) else str(value) for value in values]
    none = np.array([number(value) == NO_LABEL for value in ids])
    if none.all():
        return Labels(np.full(len(keys), NO_LABEL, np.int32), (), (), (_NONE.format(len(keys), len(keys)),))
    kept = [value for value, without in zip(ids, none, strict=True) if not without]
    if classes:
        found = _by_file(kept, where, *classes[0])
    else:
        shown = None if names is None else [name for name, without in zip(names, none, strict=True) if not without]
        found = _by_name(kept, where, shown, numbers=bool(stated) or not by_folder)
    labels = np.full(len(keys), NO_LABEL, np.int32)
    labels[~none] = found.labels
    notes = (_NONE.format(none.sum(), len(keys)),) if none.any() else ()
    return Labels(labels, found.class_ids, found.class_names, notes)


_NONE = "{} of {} images have the class -1, which counts as none"


def read_classes(path: Path) -> ClassNames:
    """The classes that a file names. Raises DataError for a file that names none."""
    try:
        return parse_classes(path.read_bytes(), path.suffix)
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        raise DataError(f"dataset.labels {path}: {reason}; give one line an image, or one line a class") from error


def class_folders(keys: Sequence[str]) -> list[str | None]:
    """The class folder of each key: its first folder below those that all keys share; None for a key without one."""
    parts = [key.split("/") for key in keys]
    depth = 0
    while parts and all(len(part) > depth + 2 and part[depth] == parts[0][depth] for part in parts):
        depth += 1
    return [part[depth] if len(part) > depth + 1 else None for part in parts]


def _check_one(files: Sequence[tuple], what: str, keys: Sequence[str]) -> None:
    if len(files) > 1:
        raise DataError(
            f"dataset.labels: {files[0][0]} and {files[1][0]} both give {what}; remove one (a file that names images "
            f"must name them as the dataset does, such as {keys[0]})"
        )


def _stated(path: Path, keys: Sequence[str]) -> list[ListLine] | None:
    """The line of a file for each key; None if the file names none of the keys."""
    try:
        return _lines_of(keys, read_list(path))
    except DataError:
        if not path.is_file():
            raise
        return None  # it may be a file of class names


def _lines_of(keys: Sequence[str], listed: ImageList) -> list[ListLine] | None:
    """The line of a list for each key, one without a class where there is none; None if it names none of the keys.

    A line names an image by its key or, if that is unambiguous, by the last part of the key with or without suffix.
    """
    written = [line.name.replace("\\", "/") for line in listed.lines]
    for spelled in (written, uncounted(written)):
        lines = {
            name.removeprefix("./"): line for name, line in zip(spelled or (), listed.lines, strict=False) if line.value
        }
        for short in (str, _last, _stem):
            names = [short(key) for key in keys]
            if len(set(names)) == len(names) and any(name in lines for name in names):
                return [lines.get(name, ListLine(name, None, None, "")) for name in names]
    return None


def _last(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _stem(key: str) -> str:
    return _last(key).rsplit(".", 1)[0]


def _by_name(values: list[str], where: str, titles: Titles | None, *, numbers: bool) -> Labels:
    """Labels with the classes in the order of their ids.

    titles : readable names of the values, where they are given.
    numbers : if all values are whole numbers from 0, use them as the class numbers.
    """
    whole = [number(value) for value in values]
    if numbers and all(isinstance(value, int) and value >= 0 for value in whole):
        largest = max(whole)  # type: ignore[type-var]
        if largest >= _MOST_CLASSES:
            raise DataError(
                f"dataset.labels: {where} has class number {largest}, expected less than {_MOST_CLASSES}; number the "
                "classes from 0"
            )
        ids = tuple(str(each) for each in range(largest + 1))
        return Labels(np.array(whole, np.int32), ids, _titled(ids, [str(each) for each in whole], titles))
    ids = in_order(values)
    number_of = {name: place for place, name in enumerate(ids)}
    labels = np.array([number_of[value] for value in values], np.int32)
    return Labels(labels, ids, _titled(ids, values, titles))


def _titled(ids: tuple[str, ...], values: Sequence[str], titles: Titles | None) -> tuple[str, ...]:
    """The readable names of the classes, where each that occurs has a single one of its own; else the ids."""
    pairs = {(value, title) for value, title in zip(values, titles or (), strict=False) if title}
    names = dict(pairs)
    if len(names) == len(pairs) == len(set(names.values())) == len(set(values)):
        return tuple(names.get(each, each) for each in ids)
    return ids


def _by_file(values: list[str], where: str, path: Path, classes: ClassNames) -> Labels:
    """Labels with the classes in the order of a file of class names."""
    for read in (classes, _split(classes)):
        places = spellings(read)
        if not any(place_of(value, places) is not None for value in values):
            places = _numbered(values, read)
        found = {value: place_of(value, places) for value in set(values)}
        unknown = sorted(value for value, place in found.items() if place is None)
        if not unknown:
            return Labels(np.array([found[value] for value in values], np.int32), read.ids, read.names)
        if read is classes:
            first, near = unknown, nearest(unknown[0], spellings(read))
    raise DataError(
        f"dataset.labels {path}: does not name {len(first)} classes of {where} (first {first[0]!r}{near}; it has "
        f"{len(classes.names)}, first {classes.names[0]!r}); give the class names of this dataset"
    )


def _split(classes: ClassNames) -> ClassNames:
    """The classes with the first word of each name as its id, as in "cat a domestic cat", where that is possible."""
    words = [name.split(maxsplit=1) for name in classes.names]
    ids = tuple(word[0] for word in words)
    if len(set(ids)) < len(ids) or any(len(word) < 2 for word in words):
        return classes
    return ClassNames(tuple(word[1] for word in words), ids, classes.numbers)


def _numbered(values: Sequence[str], classes: ClassNames) -> dict[str, int]:
    """Places of the classes by the numbers that the values give: those of the file if it has all, else from 0 on."""
    whole = {value: number(value) for value in values}
    written = {each: place for place, each in enumerate(classes.numbers)}
    if not set(whole.values()) <= set(written):
        written = {each: each for each in range(len(classes.names))}
    return {value: written[each] for value, each in whole.items() if each in written}
