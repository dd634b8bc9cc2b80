"""Convert settings to plain JSON and back, so that a field added later leaves older records valid.

Records decide results: task ids are hashes of records, and plan.json holds them. The metadata of a field (`number`)
states what it means and how it is recorded. A field *added from now on* states the value that stands for "absent". At
that value a record omits the field, so existing ids, shards, plans and atlases stay valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pipeline.errors import OutputError, nearest

Record = dict[str, Any]  # plain JSON values
T = TypeVar("T")


class _Unset:
    """Marks a missing value where None is a valid one."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = _Unset()


@dataclasses.dataclass(frozen=True)
class Number:
    """Metadata of one field of a settings class.

    title : short title for pages, or "".
    symbol : symbol in the paper, or "".
    measured_in : unit of measure, or "".
    meaning : what the field does, as a sentence.
    axis : regularizer or constraint that the field belongs to, or ""; a sweep varies one axis at a time.
    neutral : value that switches the field off; UNSET if it is not a regularizer.
    published : the authors' value; UNSET if it is not published.
    read_when : "policy=progress,progress01" if the field is read only when another one has one of these values.
    below : exclusive upper limit; UNSET for none.
    logarithmic : whether a sweep draws the field uniformly in its logarithm.
    absent : value at which records omit the field; UNSET to record every value.
    recorded : False for a field that decides no result: records omit it, and reading them gives `absent`.
    spelling : key in records if that is an older name, else "".
    transform : whether the field asks for the transform of its name (`pipeline.climb.transforms`) unless neutral.
    shown : whether pages show the field with a picture.
    stored : whether the atlas file has the field even if the record omits it.
    """

    title: str = ""
    symbol: str = ""
    measured_in: str = ""
    meaning: str = ""
    axis: str = ""
    neutral: object = UNSET
    published: object = UNSET
    read_when: str = ""
    below: object = UNSET
    logarithmic: bool = False
    absent: object = UNSET
    recorded: bool = True
    spelling: str = ""
    transform: bool = False
    shown: bool = True
    stored: bool = False


def number(**facts: Any) -> Any:
    """A dataclass field with a `Number` in its metadata; the arguments are those of Number.

    A field that may be absent has that value as its default, so that code written before the field still works.
    """
    about = Number(**facts)
    if about.absent is UNSET:
        return dataclasses.field(metadata={"number": about})
    return dataclasses.field(default=about.absent, kw_only=True, metadata={"number": about})


def numbers(kind: type) -> dict[str, Number]:
    """Name → metadata of each field of a settings class, in the order of the class."""
    return {field.name: _number(field) for field in dataclasses.fields(kind)}


def axes(kind: type) -> dict[str, str]:
    """Axis → the field that a sweep varies: the first field of the axis in the class."""
    leading: dict[str, str] = {}
    for name, about in numbers(kind).items():
        if about.axis:
            leading.setdefault(about.axis, name)
    return leading


def neutral(kind: type) -> dict[str, object]:
    """Name → neutral value of the fields that are regularizers or constraints."""
    return {name: about.neutral for name, about in numbers(kind).items() if about.neutral is not UNSET}


def transforms(settings: Any) -> dict[str, float]:
    """Name → value of the transforms that the settings enable."""
    return {
        name: getattr(settings, name)
        for name, about in numbers(type(settings)).items()
        if about.transform and getattr(settings, name) != about.neutral
    }


def stored_numbers(settings: Any) -> dict[str, Any]:
    """Name → value of the fields that an atlas file has with pictures: those of the record, and `stored` ones."""
    about = numbers(type(settings))
    return {
        name: value
        for name, value in vars(settings).items()
        if about[name].recorded and (about[name].stored or about[name].absent is UNSET or value != about[name].absent)
    }


def to_record(value: Any) -> Any:
    """A settings value as plain JSON values: dataclasses as objects, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        record = {}
        for field in dataclasses.fields(value):
            about, content = _number(field), getattr(value, field.name)
            if about.recorded and (about.absent is UNSET or content != about.absent):
                record[about.spelling or field.name] = to_record(content)
        return record
    if isinstance(value, Mapping):
        return {str(key): to_record(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_record(part) for part in value]
    return value


def of_record(kind: type[T], record: object, where: str) -> T:
    """The inverse of `to_record`.

    kind : class of the settings.
    where : name of the record in errors.
    Raises OutputError for a key that is missing or that this version does not know.
    """
    if not isinstance(record, Mapping):
        raise OutputError(f"{where}: got {record!r}, expected settings; choose another folder with OUT=…")
    hints, values = typing.get_type_hints(kind), {}
    fields = {(_number(field).spelling or field.name): field for field in dataclasses.fields(kind)}
    for key in record:
        if key not in fields:
            raise OutputError(
                f"{where}.{key}: not known to this version{nearest(str(key), fields)}; update the program, or choose "
                f"another folder with OUT=…"
            )
    for key, field in fields.items():
        absent = _number(field).absent
        if key in record:
            values[field.name] = _value(hints[field.name], record[key], f"{where}.{key}")
            if not fits(hints[field.name], values[field.name]):
                raise OutputError(f"{where}.{key}: got {record[key]!r}, damaged; choose another folder with OUT=…")
        elif absent is not UNSET:
            values[field.name] = absent
        else:
            raise OutputError(f"{where}.{key}: missing; choose another folder with OUT=…")
    return kind(**values)


def fits(hint: Any, value: Any) -> bool:
    """Whether a value is of the type of a hint: a class, a union, a tuple or a mapping of such; a bool is no number."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(fits(one, value) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(inner) == len(value) and all(map(fits, inner, value))
    if origin is not None:
        held = isinstance(value, origin)
        if held and isinstance(value, Mapping) and len(arguments) == 2:
            return all(fits(arguments[0], key) and fits(arguments[1], part) for key, part in value.items())
        return held
    if hint in (int, float):
        return isinstance(value, (int,) if hint is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, type(None) if hint is None else hint)


def record_digest(record: Record) -> str:
    """SHA-256 of a record in canonical JSON, the first 32 hexadecimal digits."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def differences(old: Mapping, new: Mapping, path: str = "") -> list[str]:
    """Each value that differs between two records, as "path: old, now new"."""
    changes = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changes += differences(before, after, f"{path}{key}.")
        elif before != after:
            changes.append(f"{path}{key}: {before}, now {after}")
    return changes


def _number(field: dataclasses.Field) -> Number:
    return field.metadata.get("number", Number())


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert a JSON value to the type of the hint: lists become tuples, objects become dataclasses."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        chosen = [one for one in arguments if one is not type(None)]
        return _value(chosen[0], value, where) if len(chosen) == 1 else value
    if dataclasses.is_dataclass(hint):
        return of_record(hint, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise OutputError(f"{where}: got {value!r}, expected a list; choose another folder with OUT=…")
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(inner) != len(value):
            raise OutputError(f"{where}: got {value!r}, expected {len(inner)} values; choose another folder with OUT=…")
        return tuple(_value(one, part, where) for one, part in zip(inner, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
