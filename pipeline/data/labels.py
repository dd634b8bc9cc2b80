"""Which class each image has, by its folder or by a file that says so."""

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
    """One line of a text or CSV file, read both ways: an image's `name` and its class `value`; a class's `id` (None
    where the line has one part only) and `title`. text : the line itself.
    """

    name: str
    value: str | None
    id: str | None
    title: str
    text: str


@dataclass(frozen=True)
class Labels:
    """labels (image,) int32, NO_LABEL for none; ids and names of the classes, by number."""

    labels: np.ndarray
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]


Classes = tuple[Path, list[LabelLine]]
Values = Sequence["str | None"]


def find_labels(keys: Sequence[str], files: Sequence[Path], given: Values, by_folder: bool) -> Labels:
    """The labels of images, from the files where those say, else as given.

    A file that names images gives them their classes: a number (from 0), or the id or name of a class. A file that
    names none is one of class names, "id name" or "name" a line: it fixes the classes' numbers. Without one, classes
    are numbered in the order of their ids.
    given : what the dataset itself says of each image; by_folder : by its class folders.
    Raises DataError for an image without a label, a class that is not in the file of class names, or a file that
    says nothing of these images.
    """
    said: list[tuple[Path, Values]] = []
    classes: list[Classes] = []
    for path in files:
        lines = read_lines(path)
        found = _values(keys, lines)
        if found is None:
            classes.append((path, lines))
        else:
            said.append((path, found))
    _check_one(said, "which class each image has", keys)
    _check_one(classes, "the names of classes", keys)
    values = said[0][1] if said else given
    if all(value is None for value in values):
        if not classes:
            return Labels(np.full(len(keys), NO_LABEL, np.int32), (), ())
        raise DataError(
            f"dataset.labels {classes[0][0]}: names no image of this dataset, which has no class folders either (its "
            f"first line is {classes[0][1][0].text!r}, the first image {keys[0]!r}); give a file of image and class"
        )
    missing = [key for key, value in zip(keys, values, strict=True) if value is None]
    if missing and by_folder and not said:
        raise DataError(
            f"dataset: {len(missing)} images lie beside the class folders (first {missing[0]}); move them into one, "
            "or give the classes of all by dataset.labels=…"
        )
    where = str(said[0][0]) if said else "the dataset"
    if missing:
        raise DataError(
            f"dataset.labels: {where} has no label for {len(missing)} of {len(keys)} images (first {missing[0]}); "
            "add them, or leave these images out"
        )
    spoken = [match.group() if (match := _WNID.match(str(value))) else str(value) for value in values]
    if classes:
        return _by_file(spoken, where, *classes[0])
    return _by_name(spoken, where, numbers=bool(said) or not by_folder)


def read_lines(path: Path) -> list[LabelLine]:
    """The lines of a CSV (or tab-separated) file, with or without a header, or of a text file; # begins a comment.

    In text, an image's class is the last word (names may hold spaces), a class's id the first. Raises DataError.
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
    """The class folder of every key: the first, after those that all keys share; None for one that lies in none."""
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
            f"dataset.labels: {files[0][0]} and {files[1][0]} both give {what}; leave one (a file that names images "
            f"must name them as the dataset does, such as {keys[0]})"
        )


def _values(keys: Sequence[str], lines: list[LabelLine]) -> Values | None:
    """What the lines say of every key; None when they name none of them.

    A line names an image by its key, or, where that is unambiguous, by the last part of it with or without suffix.
    """
    said = {line.name.removeprefix("./"): line.value for line in lines if line.value}
    for short in (str, _last, _stem):
        names = [short(key) for key in keys]
        if len(set(names)) == len(names) and any(name in said for name in names):
            return [said.get(name) for name in names]
    return None


def _last(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _stem(key: str) -> str:
    return _last(key).rsplit(".", 1)[0]


def _by_name(values: list[str], where: str, *, numbers: bool) -> Labels:
    """Classes in the order of their ids; numbers : take ids that are all numbers for the classes' own."""
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
    place = {name: number for number, name in enumerate(ids)}
    return Labels(np.array([place[value] for value in values], np.int32), ids, ids)


def _by_file(values: list[str], where: str, path: Path, lines: list[LabelLine]) -> Labels:
    """Classes in the order of a file of class names."""
    first = [line.id for line in lines]
    spoken = all(first) and len(set(first)) == len(first)
    with_ids = spoken and (set(first) & set(values) or all(_WNID.match(str(name)) for name in first))
    ids = tuple(str(name) for name in first) if with_ids else tuple(line.text for line in lines)
    names = tuple(line.title for line in lines) if with_ids else ids
    times = Counter(names)
    place = {name: number for number, name in enumerate(names) if times[name] == 1}
    place |= {name: number for number, name in enumerate(ids)}
    if not set(values) & set(place) and all(value.isdecimal() for value in values):
        place = {str(number): number for number in range(len(lines))}
        values = [str(int(value)) for value in values]
    unknown = sorted(set(values) - set(place))
    if unknown:
        raise DataError(
            f"dataset.labels {path}: does not name {len(unknown)} classes of {where} (first "
            f"{unknown[0]!r}{nearest(unknown[0], place)}; it has {len(lines)}, first {lines[0].text!r}); "
            "give the class names of this dataset"
        )
    return Labels(np.array([place[value] for value in values], np.int32), ids, names)
