"""A command's request as plain values, and the reading of settings from the sections of a configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.card import NetworkCard
from pipeline.errors import SettingsError, nearest
from pipeline.settings import DeviceSettings, check
from pipeline.units import Units

T = typing.TypeVar("T")


@dataclass(frozen=True)
class Config:
    """A composed configuration as plain values.

    values : setting → value; sections are mappings.
    device : sizes that cut work, for the kind of device in use.
    methods : names of the requested methods.
    samples : pictures of a unit in a setting.
    seed : seed of all random starts.
    precision : of climbs, "float32" or "bf16".
    """

    values: Mapping[str, Any]
    device: DeviceSettings
    methods: tuple[str, ...]
    samples: int
    seed: int
    precision: str = "float32"

    def read(self, kind: type[T], section: str) -> T:
        """The settings of a section; dots separate nested sections."""
        values: Any = self.values
        for name in section.split("."):
            values = values[name]
        return read_settings(kind, values, section)


@dataclass(frozen=True)
class Request:
    """What a command requests of one network.

    units : layer → requested units.
    asked : method → what its `read` returned.
    opened : name ("priors", "source") → what was opened for the request.
    """

    config: Config
    card: NetworkCard
    units: Units
    asked: Mapping[str, Any] = field(default_factory=dict)
    opened: Mapping[str, Any] = field(default_factory=dict)


def read_settings(kind: type[T], values: object, where: str) -> T:
    """Read the settings of a section, and convert every number to the type of its field.

    Raises SettingsError with the section and the setting.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where}: got {values}, expected settings; choose an option of conf/{where.split('.')[0]}")
    field_names = {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in field_names:
            raise SettingsError(f"{where}.{key}: not a setting{nearest(str(key), field_names)}; remove it")
    missing = sorted(field_names - set(values))
    if missing:
        raise SettingsError(f"{where}.{missing[0]}: missing; set it in conf/ or by {where}.{missing[0]}=…")
    unset = [name for name in values if values[name] == "???"]
    if unset:
        raise SettingsError(f"{where}.{unset[0]}: missing; give it by {where}.{unset[0]}=…")
    hints = typing.get_type_hints(kind)
    return kind(**{name: typed(values[name], hints[name], f"{where}.{name}") for name in field_names})


def typed(value: object, hint: object, where: str) -> Any:
    """Convert a value to the type of a hint; 3 is a valid float, 3.5 is not a valid int."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        problems = []
        for argument in arguments:
            if argument is type(None):
                continue
            try:
                return typed(value, argument, where)
            except SettingsError as error:
                problems.append(error)
        raise problems[-1]
    if origin is tuple:
        if isinstance(value, Mapping):
            return tuple(sorted((str(key), part) for key, part in value.items()))
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise SettingsError(f"{where}: got {value!r}, expected a list; set it by '{where}=[…]'")
        inner = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(inner) != len(value):
            raise SettingsError(f"{where}: got {len(value)} values, expected {len(inner)}; set it by '{where}=[…]'")
        return tuple(typed(part, kind, where) for part, kind in zip(value, inner, strict=True))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if hint in (int, bool) and type(value) is hint:
        return value
    if hint in (object, Any):
        return value
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        if isinstance(value, Mapping):
            return dict(value)
        raise SettingsError(f"{where}: got {value!r}, expected names with values; set them by {where}.NAME=…")
    spoken = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise SettingsError(f"{where}: got {value!r}, expected {spoken.get(hint, str(hint))}; set it by {where}=…")  # type: ignore[call-overload]


def names(value: object) -> tuple[str, ...]:
    """The names of a list, or a single name."""
    return tuple(str(part) for part in value) if isinstance(value, list | tuple) else (str(value),)


def check_sample_count(where: str, samples: int) -> None:
    """Raise SettingsError unless `samples` is 1 or more."""
    check(where, samples, "1 or more", samples >= 1)


def some_names(values: Mapping[str, Any], key: str, example: str) -> tuple[str, ...]:
    """The names under a key. Raises SettingsError if there is none. example : a name, for the error."""
    listed = names(values[key])
    if not listed:
        raise SettingsError(f"{key}: got none, expected at least one; set it by {key}=[{example}]")
    return listed
