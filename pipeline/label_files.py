"""The names of classes from a file, in the forms in which they are published."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from pipeline.class_names import WNID, ClassNames, number
from pipeline.file_kinds import HEAD, file_kind
from pipeline.text_files import decoded

MOST_BYTES = 2**25  # of a file of class names, far above any published one
DELIMITERS = ("\t", ";", ",", "|")
_SNIFFED = 200  # lines by which the delimiter of a table is found

# Heads of columns, and keys of JSON records, the more telling ones first
_NUMBERS = ("class_id", "classid", "class_index", "class_idx", "category_id", "label_id", "index", "idx", "id",
            "number", "class", "label", "target", "", "unnamed: 0")  # fmt: skip
_IDS = ("wnid", "synset", "synset_id", "synsetid", "mid", "code", "id", "key")
_NAMES = ("name", "class_name", "classname", "label_name", "category_name", "display_name", "title", "label", "class",
          "category", "words", "text", "description", "value")  # fmt: skip
_HEADS = {*_NUMBERS, *_IDS, *_NAMES}
_INSIDE = ("id2label", "categories", "class_names", "names", "classes", "labels", "class_to_idx", "label2id")

_FIRST_NUMBER = re.compile(r"(\d{1,9})(?:\s*[:,;]\s*|\s+)(\S.*)", re.ASCII)
_LAST_NUMBER = re.compile(r"(.*\S)(?:\s*[:,;]\s*|\s+)(\d{1,9})", re.ASCII)
_FIRST_WNID = re.compile(r"(n\d{8})(?:[\s,;:]+(.*))?")
_ITEM = re.compile(r"\bitem\s*\{([^{}]*)\}")  # label maps of Caffe and of TensorFlow's object detection
_ENTRY = re.compile(r"(\w+)\s*:\s*(\d+|\"[^\"\n]*\"|'[^'\n]*')")
_PLACES = re.compile(r"/[a-z]/(\S+)")  # "/a/airfield", as Places names its classes

Row = tuple["int | None", "str | None", str]  # number and id of a class, if given, and its name


def parse_classes(data: bytes, suffix: str = "") -> ClassNames:
    """The classes that a file names, in the order of their numbers or, without numbers, of the file.

    Reads, in UTF-8 or with a byte order mark: one name a line, with a number or a wnid before it or a number behind it
    ("0 tench", "0: 'tench',", "n01440764 tench, Tinca tinca", "/a/airfield 0"); a table with such columns; JSON or a
    Python literal: a list of names, of pairs or of records, or a dict from numbers to names (or to wnid and name), from
    names to numbers, or from ids to names, also inside `id2label`, `categories`, `names` and the like; label maps of
    `item { … }`. A line that begins with # is a comment. Nothing is executed.

    data : the bytes of the file.
    suffix : of its name, such as ".csv".
    Raises ValueError, with the reason as a clause, for a file that holds no names, or whose numbers leave some out.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"has {len(data)} bytes, more than class names take")
    text = decode_text(data)
    if _is_value(text):
        rows = _of_value(_value(text))
    elif items := _ITEM.findall(text):
        rows = [_of_item(dict(_ENTRY.findall(item))) for item in items]
    else:
        rows = _of_lines(text, suffix.lower())
    if not rows:
        raise ValueError("is empty")
    return _classes(rows)


def decode_text(data: bytes) -> str:
    """The text of a file, in UTF-8, UTF-16 or UTF-32. Raises ValueError, with the reason as a clause."""
    try:
        text = decoded(data)
    except UnicodeDecodeError:
        text = "\0"
    kind = file_kind(data[:HEAD])
    if kind is not None:
        raise ValueError(f"is {kind}")
    if "\0" in text:
        raise ValueError("is not UTF-8")
    return text


def read_table(text: str, delimiter: str) -> list[list[str]]:
    """The cells of a text, stripped, with quotes as spreadsheets write them; empty lines and comments are left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        table = [*csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, skipinitialspace=True)]
    except csv.Error as error:
        raise ValueError(f"is no table ({error})") from error
    return [[cell.strip() for cell in row] for row in table if any(cell.strip() for cell in row)]


def delimiter_of(text: str) -> str | None:
    """What separates the columns of a table: the character that gives most rows the width of the first."""
    best, most = None, 0.0
    beginning = "".join(islice(io.StringIO(text), _SNIFFED))
    for delimiter in DELIMITERS:
        try:
            table = read_table(beginning, delimiter)
        except ValueError:
            continue
        width = len(table[0]) if table else 1
        share = sum(len(row) == width for row in table) / max(1, len(table))
        if width > 1 and share > most:
            best, most = delimiter, share
    return best


# JSON and Python literals ----------------------------------------------------------------------------


def _is_value(text: str) -> bool:
    """Whether a text is meant as JSON or a literal; "[MASK]" above other lines is the name of a class."""
    several = len(text.split()) > 1
    return text.lstrip()[:1] in ("{", "[") and not (several and not any(sign in text for sign in "\"',:"))


def _value(text: str) -> Any:
    """The value of JSON, of JSON lines, or of a Python literal. Raises ValueError for any other text."""
    lines = [line for line in text.splitlines() if line.strip()]
    reads: tuple[Callable[[], Any], ...] = (
        lambda: json.loads(text),
        lambda: [json.loads(line) for line in lines],
        lambda: _literal(text.strip()),
    )
    for read in reads:
        try:
            return read()
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    raise ValueError("begins like JSON, but is neither JSON nor a Python literal")


def _literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about backslashes in names
        return ast.literal_eval(text)


def _of_value(value: Any) -> list[Row]:
    if isinstance(value, list | tuple):
        return _of_list(value)
    if not isinstance(value, dict):
        raise ValueError("holds no names of classes")
    for key in _INSIDE:
        if isinstance(value.get(key), list | tuple | dict):
            return _of_value(value[key])
    pairs = [(str(key).strip(), content) for key, content in value.items()]
    if pairs and all(_whole(key) is not None for key, _ in pairs):
        return [(_whole(key), *_named(content)) for key, content in pairs]
    if pairs and all(_whole(content) is not None for _, content in pairs):
        return [(_whole(content), None, key) for key, content in pairs]
    named = [(key, *_named(content)) for key, content in pairs]
    if named and all(WNID.fullmatch(name) for _, _, name in named):
        return [(None, name, key) for key, _, name in named]
    return [(None, key, name) for key, _, name in named]


def _of_list(values: Sequence[Any]) -> list[Row]:
    if values and all(isinstance(value, dict) for value in values):
        heads = [*dict.fromkeys(str(key) for value in values for key in value)]
        return _of_columns(heads, [[_text(value.get(head)) for head in heads] for value in values])
    if values and all(isinstance(value, list | tuple) and len(value) == 2 for value in values):
        return _of_columns(None, [[_text(cell) for cell in value] for value in values])
    return [(None, *_named(value)) for value in values]


def _named(value: Any) -> tuple[str | None, str]:
    """Id and name of a class from what JSON holds for it: a name, wnid and name, several names, or a record."""
    if isinstance(value, dict):
        heads = [str(key) for key in value]
        (row,) = _of_columns(heads, [[_text(cell) for cell in value.values()]])
        return row[1:]
    if isinstance(value, list | tuple):
        parts = [_text(part) for part in value if _text(part)]
        if len(parts) > 1 and WNID.fullmatch(parts[0]):
            return parts[0], ", ".join(parts[1:])
        return None, ", ".join(parts)
    return _split_wnid(_text(value))


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, list | tuple | dict) else str(value).strip()


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    read = number(str(value))
    return read if isinstance(read, int) else None


def _of_item(entries: dict[str, str]) -> Row:
    values = {key: text.strip("\"'") for key, text in entries.items()}
    name = values.get("display_name", values.get("name", ""))
    return _whole(values.get("label", values.get("id", ""))), values.get("name"), name


# Lines and tables ------------------------------------------------------------------------------------


def _of_lines(text: str, suffix: str) -> list[Row]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = delimiter_of(text)
    if lines and (suffix in (".csv", ".tsv", ".tab") or delimiter == "\t" and all("\t" in line for line in lines)):
        table = read_table(text, delimiter if delimiter is not None else ",")
        if not table:
            return []
        heads = table[0] if _is_head(table[0]) else None
        even = len({len(row) for row in table}) == 1
        if heads is not None or (even and len(table[0]) > 1):
            return _of_columns(heads, table if heads is None else table[1:])
    elif lines and delimiter is not None:
        table = read_table(text, delimiter)
        if len(table[0]) > 1 and all(cell.lower() in _HEADS for cell in table[0]):
            return _of_columns(table[0], table[1:])
    return _of_plain_lines(lines)


def _is_head(cells: Sequence[str]) -> bool:
    return any(cell.lower() in _HEADS and cell for cell in cells) and not any(
        number(cell) is not None or WNID.match(cell) for cell in cells
    )


def _of_plain_lines(lines: Sequence[str]) -> list[Row]:
    numbers, names = _numbered(lines, _FIRST_NUMBER, 1, 2)
    if numbers is None:
        numbers, names = _numbered(lines, _LAST_NUMBER, 2, 1)
    rows = [_split_wnid(name) for name in names]
    if numbers is None and all(wnid for wnid, _ in rows):  # "n02119789 1 kit_fox", as in the development kit
        numbers, titles = _numbered([name for _, name in rows], _FIRST_NUMBER, 1, 2)
        rows = [(wnid, title) for (wnid, _), title in zip(rows, titles, strict=True)]
    return [(None if numbers is None else numbers[at], *row) for at, row in enumerate(rows)]


def _numbered(lines: Sequence[str], form: re.Pattern, at: int, rest: int) -> tuple[list[int] | None, list[str]]:
    """The numbers of the lines, and the lines without them; None if the lines are not numbered throughout."""
    matches = [form.fullmatch(line) for line in lines]
    if all(match is not None for match in matches):
        numbers = [int(match[at]) for match in matches]  # type: ignore[index]
        names = [_unquoted(match[rest]) for match in matches]  # type: ignore[index]
        # ImageNet has two cranes, but "class 0", "class 1" are no names with a number behind.
        several = 2 * len(set(names)) > len(names)
        if lines and _runs(numbers) and several and (len(lines) > 1 or numbers == [0]):
            return numbers, names
    if lines and all(_unquoted(line) != line.rstrip(",") for line in lines):  # each in quotes
        return None, [_unquoted(line) for line in lines]
    return None, [*lines]


def _unquoted(text: str) -> str:
    bare = text.strip().removesuffix(",").rstrip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    return text.strip()


def _split_wnid(text: str) -> tuple[str | None, str]:
    match = _FIRST_WNID.fullmatch(text)
    if match is None:
        return None, text
    return match[1], match[2] if match[2] else match[1]


def _of_columns(heads: Sequence[str] | None, table: Sequence[Sequence[str]]) -> list[Row]:
    """The classes of a table. heads : of its columns; None without, then a first column may number the classes."""
    if not table:
        return []
    width = max(len(row) for row in table) if heads is None else len(heads)
    # A comma of a name that is not quoted makes a row too wide: what follows belongs to the last column.
    whole = [[*row[: width - 1], ", ".join(row[width - 1 :])] if len(row) > width else [*row] for row in table]
    columns = [[row[at] if at < len(row) else "" for row in whole] for at in range(width)]
    named = [head.strip().lower() for head in heads] if heads is not None else None
    numbered = [all(_whole(cell) is not None for cell in cells) and len(set(cells)) == len(cells) for cells in columns]
    numbers = _column(named, _NUMBERS, [at for at in range(width) if numbered[at]], headless=(0,))
    if numbers is None and named is None and width > 1 and numbered[-1] and _runs(map(int, columns[-1])):
        numbers = width - 1
    left = [at for at in range(width) if at != numbers]
    wnids = [at for at in left if all(WNID.fullmatch(cell) for cell in columns[at])]
    ids = wnids[0] if wnids else None
    if ids is None and len(left) > 1:
        ids = _column(named, _IDS, [at for at in left if not numbered[at]], headless=left[:1])
    left = [at for at in left if at != ids]
    names = _column(named, _NAMES, left, headless=left[:1])
    if names is None:
        names = next((at for at in (*left, ids, numbers) if at is not None), 0)
    return [
        (
            None if numbers is None else _whole(columns[numbers][row]),
            None if ids is None else columns[ids][row],
            columns[names][row],
        )
        for row in range(len(table))
    ]


def _column(
    named: Sequence[str] | None, known: Iterable[str], among: Sequence[int], headless: Sequence[int]
) -> int | None:
    """The column with the most telling head; without heads, the first of `headless`. among : columns that may be it."""
    if named is None:
        return next((at for at in headless if at in among), None)
    return next((at for head in known for at in among if named[at] == head), None)


# Their order -----------------------------------------------------------------------------------------


def _classes(rows: Sequence[Row]) -> ClassNames:
    if all(number is not None for number, _, _ in rows):
        rows = sorted(rows, key=lambda row: row[0])  # type: ignore[arg-type,return-value]
        numbers = [row[0] for row in rows]
        _check_numbers(numbers)  # type: ignore[arg-type]
    else:
        numbers = [*range(len(rows))]
    names, ids = [name for _, _, name in rows], [wnid if wnid else name for _, wnid, name in rows]
    if all(_PLACES.fullmatch(name) for name in names):
        ids, names = names, [name[3:] for name in names]
    if not all(names):
        raise ValueError(f"has no name for class {numbers[names.index('')]}")
    return ClassNames(tuple(names), tuple(ids), tuple(numbers))  # type: ignore[arg-type]


def _check_numbers(numbers: Sequence[int]) -> None:
    """Raise ValueError for a negative number, for one that occurs twice, and for numbers from 0 on with gaps.

    Numbers from 1 on may have gaps, as those of COCO's categories: they are no places in a network's output.
    """
    if numbers[0] < 0:
        raise ValueError(f"numbers a class {numbers[0]}")
    for before, after in zip(numbers, numbers[1:], strict=False):
        if before == after:
            raise ValueError(f"names class {after} twice")
        if after > before + 1 and numbers[0] == 0:
            raise ValueError(f"names class {before} and class {after}, but none between")


def _runs(numbers: Iterable[int]) -> bool:
    """Whether these are the numbers from 0 or from 1 on, in any order."""
    ordered = sorted(numbers)
    return bool(ordered) and ordered[0] in (0, 1) and ordered == [*range(ordered[0], ordered[0] + len(ordered))]
