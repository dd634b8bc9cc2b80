"""The images that a file lists, with their classes: text, tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.class_names import number
from pipeline.data.source import is_image
from pipeline.errors import DataError
from pipeline.label_files import decode_text, delimiter_of, read_table

# Heads of columns, and keys of JSON records, the more telling ones first
_IMAGES = (
    "path", "filepath", "file_path", "image_path", "img_path", "imagepath", "relative_path", "rel_path", "filename",
    "file_name", "file", "image_file", "image_name", "img_name", "image", "img", "picture", "photo", "imageid",
    "image_id", "img_id", "key", "name", "id", "wnid",
)  # fmt: skip
_CLASSES = (
    "label", "class", "class_id", "classid", "class_idx", "class_index", "label_id", "category", "category_id",
    "target", "class_name", "classname", "label_name", "category_name", "species", "breed", "predictionstring",
    "synset", "wnid", "labels", "classes", "y",
)  # fmt: skip
_TITLES = ("class_name", "classname", "label_name", "category_name", "label_text", "class", "category", "label")
_PLACES = ("", "index", "idx", "level_0", "row", "no", "nr", "number")  # heads of a column that only counts the rows
_NO_CLASSES = {
    "width", "height", "w", "h", "size", "bytes", "split", "url", "md5", "sha1", "sha256", "hash", "caption", "mask",
    "date", "time", "license", "source", "fold", "xmin", "ymin", "xmax", "ymax",
}  # fmt: skip
_LOOKED_AT = 50  # rows by which columns are recognized
_TABLES = (".csv", ".tsv", ".tab")
_JSON = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class ListLine:
    """One image of a list.

    name, value : the image and its class; value is None for a line without one.
    title : the readable name of the class, where the list has one beside the class.
    text : the line itself.
    """

    name: str
    value: str | None
    title: str | None
    text: str


@dataclass(frozen=True)
class ImageList:
    """The lines of a list.

    columns : heads of the table, or keys of the records; empty for a file without.
    names_images : whether the column of the images was found, by its head or by the names of files in it.
    has_classes : whether some column holds the classes.
    words : whether the lines are text of words, so that a space may be part of a name.
    """

    lines: tuple[ListLine, ...]
    columns: tuple[str, ...] = ()
    names_images: bool = True
    has_classes: bool = True
    words: bool = False


def read_list(path: Path) -> ImageList:
    """The images of a list, each with its class if the list has it; # begins a comment.

    A table (its columns separated by commas, semicolons, tabs or |) may have a head. The column of the images is the
    one that holds names of image files, else the one whose head says so; the column of the classes has a well-known
    head, or is the only other one. A column that counts the rows, as pandas writes it, is passed over. In JSON, records
    have the same keys, and a dict or pairs go from image to class. In a text file the last word is the class.

    Raises DataError if the file cannot be read or is empty.
    """
    try:
        text = decode_text(path.read_bytes())
        found = _read(text, path.suffix.lower())
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        raise DataError(f"dataset.labels {path}: {reason}; give a text file in UTF-8, or a CSV file") from error
    if not found.lines:
        raise DataError(f"dataset.labels {path}: empty; give one line an image, or one line a class")
    return found


def uncounted(names: Sequence[str]) -> list[str] | None:
    """The names without a number that counts the lines in front of each, as in "1 birds/a.jpg"; None if none does."""
    parts = [name.split(maxsplit=1) for name in names]
    if not all(len(part) == 2 and part[0].isdecimal() and len(part[0]) < 10 for part in parts):
        return None
    first = int(parts[0][0])
    counts = first in (0, 1) and all(int(part[0]) == first + at for at, part in enumerate(parts))
    return [part[1] for part in parts] if counts else None


def _read(text: str, suffix: str) -> ImageList:
    if suffix in _JSON:
        return _of_json(text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = delimiter_of(text)
    if suffix in _TABLES:
        return _of_table(read_table(text, delimiter if delimiter is not None else ","))
    if lines and all("\t" in line for line in lines):
        return _of_table(read_table(text, "\t"))
    if delimiter is not None and not all(is_image(line) for line in lines):
        table = read_table(text, delimiter)
        if any(all(map(_names_a_file, column)) for column in _columns(table[1:][:_LOOKED_AT] or table)):
            return _of_table(table)
    return ImageList(tuple(_words(line) for line in lines), words=True)


def _words(line: str) -> ListLine:
    name, _, value = line.rpartition(" ")
    return ListLine(name.strip() or value, value if name else None, None, line)


# Tables ----------------------------------------------------------------------------------------------


def _of_table(table: list[list[str]]) -> ImageList:
    if not table:
        return ImageList(())
    heads, rows = _split_head(table)
    columns = _columns(rows)
    images = _image_column(heads, columns)
    at = images if images is not None else 0
    counting = {place for place in range(len(columns)) if _counts(heads, columns, place) and place != at}
    classes = _class_column(heads, columns, at, counting)
    titles = _title_column(heads, columns, at, classes)
    lines = [
        ListLine(
            name=_cell(row, at),
            value=None if classes is None else _cell(row, classes) or None,
            title=None if titles is None else _cell(row, titles) or None,
            text=",".join(row),
        )
        for row in rows
    ]
    named = images is not None or heads is None
    return ImageList(tuple(lines), tuple(heads or ()), named, classes is not None or len(columns) - len(counting) < 2)


def _split_head(table: list[list[str]]) -> tuple[list[str] | None, list[list[str]]]:
    """The heads, if the first row has some, and the other rows.

    A row is a head if it names no file, and has a well-known head or a file below it.
    """
    first = [cell.strip() for cell in table[0]]
    if any(map(_names_a_file, first)):
        return None, table
    known = {cell.lower() for cell in first} & {*_IMAGES, *_CLASSES} - {""}
    below = any(_names_a_file(cell) for cell in table[1]) if len(table) > 1 else False
    numbers = any(number(cell) is not None for cell in first) and not known
    return (first, table[1:]) if known or (below and not numbers) else (None, table)


def _columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    width = max((len(row) for row in rows), default=0)
    return [[_cell(row, at) for row in rows] for at in range(width)]


def _cell(row: Sequence[str], at: int) -> str:
    return row[at] if at < len(row) else ""


def _image_column(heads: Sequence[str] | None, columns: Sequence[Sequence[str]]) -> int | None:
    files = [at for at, column in enumerate(columns) if column and all(map(_names_a_file, column[:_LOOKED_AT]))]
    known = [] if heads is None else _ranked(heads, _IMAGES)
    ranked = [at for at in known if at in files] + files
    if ranked:
        return ranked[0]
    addresses = {at for at, column in enumerate(columns) if any("://" in cell for cell in column[:_LOOKED_AT])}
    return next((at for at in known if at not in addresses), None)


def _class_column(
    heads: Sequence[str] | None, columns: Sequence[Sequence[str]], images: int, counting: set[int]
) -> int | None:
    others = [at for at in range(len(columns)) if at != images]
    if heads is None:
        behind = [at for at in others if at > images]
        return next(iter([*behind, *(at for at in others if at not in counting)]), None)
    known = [at for at in _ranked(heads, _CLASSES) if at in others]
    if known:
        return known[0]
    left = [at for at in others if at not in counting and _head(heads, at) not in _NO_CLASSES]
    left = [at for at in left if not all(map(_names_a_file, columns[at][:_LOOKED_AT]))]
    return left[0] if len(left) == 1 else None


def _title_column(
    heads: Sequence[str] | None, columns: Sequence[Sequence[str]], images: int, classes: int | None
) -> int | None:
    """The column of readable names beside class numbers."""
    if heads is None or classes is None or any(number(cell) is None for cell in columns[classes]):
        return None
    return next((at for at in _ranked(heads, _TITLES) if at not in (images, classes)), None)


def _counts(heads: Sequence[str] | None, columns: Sequence[Sequence[str]], at: int) -> bool:
    """Whether a column only counts the rows, or is an index as pandas writes it."""
    if heads is not None and (_head(heads, at) in _PLACES or _head(heads, at).startswith("unnamed:")):
        return True
    if heads is not None and _head(heads, at) != "id":
        return False
    first = number(columns[at][0])
    return first in (0, 1) and all(number(cell) == first + place for place, cell in enumerate(columns[at]))


def _ranked(heads: Sequence[str], known: Sequence[str]) -> list[int]:
    """The columns with well-known heads, the most telling first."""
    places = {head: rank for rank, head in enumerate(known)}
    found = [at for at in range(len(heads)) if _head(heads, at) in places]
    return sorted(found, key=lambda at: (places[_head(heads, at)], at))


def _head(heads: Sequence[str], at: int) -> str:
    return heads[at].strip().lower() if at < len(heads) else ""


def _names_a_file(cell: str) -> bool:
    return "://" not in cell and is_image(cell.replace("\\", "/"))


# JSON ------------------------------------------------------------------------------------------------


def _of_json(text: str) -> ImageList:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _json_lines(text)
    if isinstance(value, Mapping):
        inside = next((value[key] for key in ("labels", "images", "annotations") if _holds_rows(value.get(key))), None)
        if inside is None:
            inside = [[key, content] for key, content in value.items()]
        value = [*inside.items()] if isinstance(inside, Mapping) else inside
    if not isinstance(value, list) or not value:
        return ImageList(())
    if all(isinstance(row, Mapping) for row in value):
        heads = [*dict.fromkeys(str(key) for row in value for key in row)]
        return _of_table([heads, *([_scalar(row.get(head)) for head in heads] for row in value)])
    rows = [[_scalar(cell) for cell in row] if isinstance(row, list | tuple) else [_scalar(row)] for row in value]
    return _of_table([row for row in rows if any(row)])


def _json_lines(text: str) -> list[object]:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise ValueError("is neither JSON nor JSON lines") from None


def _holds_rows(value: object) -> bool:
    return isinstance(value, list | Mapping) and len(value) > 0


def _scalar(value: object) -> str:
    return "" if value is None or isinstance(value, list | tuple | Mapping) else str(value).strip()
