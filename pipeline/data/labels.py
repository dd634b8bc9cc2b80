"""The class of each image, from its folder or from a file of labels."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.source import NO_LABEL
from pipeline.errors import DataError, nearest

_HEADS = {"key", "path", "file", "filename", "file_name", "image", "image_path", "imageid", "name", "id", "wnid"}
_CLASS_HEADS = ("label", "class", "class_id", "class_name", "category", "predictionstring")
_MOST_CLASSES = 1_000_000
_WNID = re.compile(r"n\d{8}(?=\s|$)")


@dataclass(frozen=True)
class LabelLine:
    """One line of a text or CSV file, read both as the label of an image and as the name of a class.

    name, value : the image and its class; value is None for a line with one part.
    id, title : the class's id and its name; id is None for a line with one part.
    text : the line itself.
    """

    name: str
    value: str | None
    id: str | None
    title: str
    text: str


@dataclass(frozen=True)
class Labels:
    """The labels of images, with their classes.

    labels : (image,) int32, class numbers; NO_LABEL for none.
    class_ids, class_names : by class number.
    """

    labels: np.ndarray
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]


ClassFile = tuple[Path, list[LabelLine]]  # a file of class names with its lines
ClassValues = Sequence["str | None"]  # the class of each image as it is written; None for no class


def find_labels(keys: Sequence[str], files: Sequence[Path], given: ClassValues, by_folder: bool) -> Labels:
    """The labels of images, from a file of labels if one is given, else those of the dataset itself.

    A file that names images is a file of labels. It assigns them a number (from 0), or the id or name of a class. A
    file that names no image is a file of class names, with "id name" or "name" on each line; it defines the numbers of
    the classes. Without such a file, classes are numbered in the order of their ids.

    keys : of the images.
    files : of labels and of class names, at most one of each.
    given : the class of each image according to the dataset itself.
    by_folder : whether `given` are the class folders.
    Raises DataError for an image without a label, a class that is missing in the file of class names, or a file of
    labels that names none of these images.
    """
    stated: list[tuple[Path, ClassValues]] = []
    classes: list[ClassFile] = []
    for path in files:
        lines = read_lines(path)
        values_in_file = _values(keys, lines)
        if values_in_file is None:
            classes.append((path, lines))
        else:
            stated.append((path, values_in_file))
    _check_one(stated, "which class each image has", keys)
    _check_one(classes, "the names of classes", keys)
    values = stated[0][1] if stated else given
    if all(value is None for value in values):
        if not classes:
            return Labels(np.full(len(keys), NO_LABEL, np.int32), (), ())
        raise DataError(
            f"dataset.labels {classes[0][0]}: names no image of this dataset, which has no class folders either (its "
            f"first line is {classes[0][1][0].text!r}, the first image {keys[0]!r}); give a file of image and class"
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
    ids = [match.group() if (match := _WNID.match(str(value))) else str(value) for value in values]
    if classes:
        return _by_file(ids, where, *classes[0])
    return _by_name(ids, where, numbers=bool(stated) or not by_folder)


def read_lines(path: Path) -> list[LabelLine]:
    """The lines of a CSV or tab-separated file, with or without a header, or of a text file; # begins a comment.

    In a text file the last word is the class of an image (its name may contain spaces), and the first word is the id of
    a class.
    Raises DataError if the file cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(f"dataset.labels {path}: cannot be read ({reason}); give a text file in UTF-8") from error
    rows = [row.strip() for row in text.splitlines() if row.strip() and not row.lstrip().startswith("#")]
    if rows and path.suffix.lower() == ".csv":
        lines = _cells([*csv.reader(rows)], rows)
    elif rows and all("\t" in row for row in rows):
        lines = _cells([row.split("\t") for row in rows], rows)
    else:
        lines = [_words(row) for row in rows]
    if not lines:
        raise DataError(f"dataset.labels {path}: empty; give one line an image, or one line a class")
    return lines


def class_folders(keys: Sequence[str]) -> list[str | None]:
    """The class folder of each key: its first folder below those that all keys share; None for a key without one."""
    parts = [key.split("/") for key in keys]
    depth = 0
    while parts and all(len(part) > depth + 2 and part[depth] == parts[0][depth] for part in parts):
        depth += 1
    return [part[depth] if len(part) > depth + 1 else None for part in parts]


def _words(row: str) -> LabelLine:
    name, _, value = row.rpartition(" ")
    first, _, rest = row.partition(" ")
    return LabelLine(
        name.strip() or value, value if name else None, first if rest else None, rest.strip() or first, row
    )


def _cells(table: list[list[str]], rows: list[str]) -> list[LabelLine]:
    heads = [cell.strip().lower() for cell in table[0]]
    at = 1
    if heads[0] in _HEADS:
        at = next((heads.index(head) for head in _CLASS_HEADS if head in heads), 1)
        table, rows = table[1:], rows[1:]
    lines = []
    for cells, row in zip(table, rows, strict=True):
        name, value = cells[0].strip(), cells[at].strip() if len(cells) > at else None
        lines.append(LabelLine(name, value, name if value else None, value or name, row))
    return lines


def _check_one(files: Sequence[tuple[Path, object]], what: str, keys: Sequence[str]) -> None:
    if len(files) > 1:
        raise DataError(
            f"dataset.labels: {files[0][0]} and {files[1][0]} both give {what}; remove one (a file that names images "
            f"must name them as the dataset does, such as {keys[0]})"
        )


def _values(keys: Sequence[str], lines: list[LabelLine]) -> ClassValues | None:
    """The class that the lines state for each key; None if they name none of the keys.

    A line names an image by its key or, if that is unambiguous, by the last part of the key with or without suffix.
    """
    stated = {line.name.removeprefix("./"): line.value for line in lines if line.value}
    for short in (str, _last, _stem):
        names = [short(key) for key in keys]
        if len(set(names)) == len(names) and any(name in stated for name in names):
            return [stated.get(name) for name in names]
    return None


def _last(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _stem(key: str) -> str:
    return _last(key).rsplit(".", 1)[0]


def _by_name(values: list[str], where: str, *, numbers: bool) -> Labels:
    """Labels with the classes in the order of their ids.

    numbers : if all values are numbers, use them as the class numbers.
    """
    if numbers and all(value.isdecimal() for value in values):
        largest = max(map(int, values))
        if largest >= _MOST_CLASSES:
            raise DataError(
                f"dataset.labels: {where} has class number {largest}, expected less than {_MOST_CLASSES}; number the "
                "classes from 0"
            )
        ids = tuple(str(number) for number in range(largest + 1))
        return Labels(np.array([int(value) for value in values], np.int32), ids, ids)
    ids = tuple(sorted(set(values)))
    number_of = {name: number for number, name in enumerate(ids)}
    return Labels(np.array([number_of[value] for value in values], np.int32), ids, ids)


def _by_file(values: list[str], where: str, path: Path, lines: list[LabelLine]) -> Labels:
    """Labels with the classes in the order of a file of class names."""
    first = [line.id for line in lines]
    different = all(first) and len(set(first)) == len(first)
    with_ids = different and (set(first) & set(values) or all(_WNID.match(str(name)) for name in first))
    ids = tuple(str(name) for name in first) if with_ids else tuple(line.text for line in lines)
    names = tuple(line.title for line in lines) if with_ids else ids
    times = Counter(names)
    number_of = {name: number for number, name in enumerate(names) if times[name] == 1}
    number_of |= {name: number for number, name in enumerate(ids)}
    if not set(values) & set(number_of) and all(value.isdecimal() for value in values):
        number_of = {str(number): number for number in range(len(lines))}
        values = [str(int(value)) for value in values]
    unknown = sorted(set(values) - set(number_of))
    if unknown:
        raise DataError(
            f"dataset.labels {path}: does not name {len(unknown)} classes of {where} (first "
            f"{unknown[0]!r}{nearest(unknown[0], number_of)}; it has {len(lines)}, first {lines[0].text!r}); "
            "give the class names of this dataset"
        )
    return Labels(np.array([number_of[value] for value in values], np.int32), ids, names)
