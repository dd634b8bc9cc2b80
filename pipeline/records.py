"""Settings as plain JSON and back: one way for all of them, so that a field added later leaves older records valid.

A record is what decides a result: task ids are hashes of records, and plan.json holds them. A field says in its
metadata what it means and how it is recorded (`number`). A field *added from now on* names the value that stands for
"absent": at that value it is left out, so ids, shards, plans and atlases of before stay as they are.
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
    """Stands for a value that is not given, where None is a value."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = _Unset()


@dataclasses.dataclass(frozen=True)
class Number:
    """What is known of one field of a settings class.

    title : a few words for pages, or "".
    symbol : in the paper, or "".
    measured_in : its measure, or "".
    meaning : what it does, as a sentence.
    axis : the regularizer or constraint to which it belongs; a sweep raises one axis at a time. "" for none.
    neutral : the value that switches it off; UNSET where it is no regularizer.
    published : the authors' value; UNSET where nothing is published.
    read_when : "policy=progress,progress01" where it is read only while another field has one of these values.
    below : the value that no setting reaches; UNSET for no such limit.
    logarithmic : whether a sweep draws it evenly in its logarithm.
    absent : the value at which the field is left out of records. UNSET keeps it in every record.
    recorded : False for a field that decides no result; records leave it out, and reading gives `absent`.
    spelling : its key in records where that is an older name, else "".
    transform : whether it asks for the transform of its name (`pipeline.climb.transforms`), unless it is neutral.
    shown : whether pages show it beside a picture.
    stored : whether the atlas file has it even where the record leaves it out.
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

    A field that may be absent has that value as its default, so that code from before it existed goes on working.
    """
    about = Number(**facts)
    if about.absent is UNSET:
        return dataclasses.field(metadata={"number": about})
    return dataclasses.field(default=about.absent, kw_only=True, metadata={"number": about})


def numbers(kind: type) -> dict[str, Number]:
    """Name → what is known of each field of a settings class, in their order."""
    return {field.name: _number(field) for field in dataclasses.fields(kind)}


def axes(kind: type) -> dict[str, str]:
    """Axis → the field that a sweep raises along it: the axis's first field, in the order of the class."""
    leading: dict[str, str] = {}
    for name, about in numbers(kind).items():
        if about.axis:
            leading.setdefault(about.axis, name)
    return leading


def neutral(kind: type) -> dict[str, object]:
    """The fields that are regularizers or constraints, each at the value that switches it off."""
    return {name: about.neutral for name, about in numbers(kind).items() if about.neutral is not UNSET}


def transforms(settings: Any) -> dict[str, float]:
    """Name → value of the transforms that a settings value asks for."""
    return {
        name: getattr(settings, name)
        for name, about in numbers(type(settings)).items()
        if about.transform and getattr(settings, name) != about.neutral
    }


def stored_numbers(settings: Any) -> dict[str, Any]:
    """Name → value of the fields that an atlas file states beside pictures: those of the record, and `stored` ones."""
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
            about, own = _number(field), getattr(value, field.name)
            if about.recorded and (about.absent is UNSET or own != about.absent):
                record[about.spelling or field.name] = to_record(own)
        return record
    if isinstance(value, Mapping):
        return {str(key): to_record(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_record(part) for part in value]
    return value


def of_record(kind: type[T], record: object, where: str) -> T:
    """The settings value of such JSON values.

    where : what the record is of, for errors.
    Raises OutputError for a key that this version does not know, and for one that is missing.
    """
    if not isinstance(record, Mapping):
        raise OutputError(f"{where}: got {record!r}, expected settings; choose another folder by OUT=…")
    hints, values = typing.get_type_hints(kind), {}
    fields = {(_number(field).spelling or field.name): field for field in dataclasses.fields(kind)}
    for key in record:
        if key not in fields:
            raise OutputError(
                f"{where}.{key}: not known to this version{nearest(str(key), fields)}; update the program that reads "
                f"it, or choose another folder by OUT=…"
            )
    for key, field in fields.items():
        absent = _number(field).absent
        if key in record:
            values[field.name] = _value(hints[field.name], record[key], f"{where}.{key}")
        elif absent is not UNSET:
            values[field.name] = absent
        else:
            raise OutputError(f"{where}.{key}: missing; choose another folder by OUT=…")
    return kind(**values)


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
    """A JSON value as what the type hint names: lists become tuples, objects become dataclasses."""
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
            raise OutputError(f"{where}: got {value!r}, expected a list; choose another folder by OUT=…")
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(_value(one, part, where) for one, part in zip(inner, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
