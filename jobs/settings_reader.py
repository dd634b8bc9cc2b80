"""Settings out of a configuration's nodes, every value as the type that its field declares."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from pipeline.errors import SettingsError, nearest
from pipeline.settings import check

T = typing.TypeVar("T")


def read_settings(kind: type[T], config: DictConfig | Mapping[str, object], where: str) -> T:
    """A settings value of a configuration's node, every number as the type that its field declares."""
    values = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where}: got {values}, expected settings; choose an option of conf/{where.split('.')[0]}")
    known = {field.name for field in dataclasses.fields(kind)}
    for key in values:
        if key not in known:
            raise SettingsError(f"{where}.{key}: not a setting{nearest(str(key), known)}; remove it")
    missing = sorted(known - set(values))
    if missing:
        raise SettingsError(f"{where}.{missing[0]}: missing; set it in conf/ or by {where}.{missing[0]}=…")
    unset = [name for name in values if values[name] == "???"]
    if unset:
        raise SettingsError(f"{where}.{unset[0]}: missing; give it by {where}.{unset[0]}=…")
    hints = typing.get_type_hints(kind)
    return kind(**{name: typed(values[name], hints[name], f"{where}.{name}") for name in known})


def typed(value: object, hint: object, where: str) -> object:
    """The value as the type that the hint names; 3 is a good float, 3.5 no good int."""
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
    if hint is object:
        return value
    spoken = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}.get(hint, str(hint))
    raise SettingsError(f"{where}: got {value!r}, expected {spoken}; set it by {where}=…")


def names(value: object) -> tuple[str, ...]:
    """A list of names, or a single one."""
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return tuple(str(part) for part in value)  # type: ignore[attr-defined]
    return (str(value),)


def check_sample_count(where: str, samples: int) -> None:
    """Raise SettingsError unless there is at least one."""
    check(where, samples, "1 or more", samples >= 1)
