"""The configuration as frozen settings: the last place that sees Hydra's own values."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.errors import SettingsError, nearest
from pipeline.plan import StyleRecord
from pipeline.settings import (
    AscentSettings,
    ClusterSettings,
    DeviceSettings,
    ModelSettings,
    StyleSettings,
    check,
    check_choice,
)

METHODS = ("ascent",)


@dataclass(frozen=True)
class Request:
    """What `make atlas` is asked."""

    model: ModelSettings
    units: tuple[str, ...] | None
    methods: tuple[str, ...]
    styles: tuple[StyleRecord, ...]
    samples: int
    cluster: ClusterSettings
    device: DeviceSettings
    out: Path
    plan_only: bool
    pages: bool


def read_request(config: DictConfig, device_kind: str) -> Request:
    """The request of a composed atlas configuration. Raises SettingsError for values out of range or of no use."""
    device = read_settings(DeviceSettings, config.devices[device_kind], f"devices.{device_kind}")
    ascent = read_settings(AscentSettings, config.ascent, "ascent")
    methods = names(config.methods)
    for method in methods:
        check_choice("methods", method, METHODS)
    check("samples", config.samples, "1 or more", isinstance(config.samples, int) and config.samples >= 1)
    check("seed", config.seed, "a whole number, 0 or more", isinstance(config.seed, int) and config.seed >= 0)
    styles = []
    for name in names(config.styles):
        check_choice("styles", name, tuple(config.style))
        style = read_settings(StyleSettings, config.style[name], f"style.{name}")
        styles.append(StyleRecord(style, ascent, config.seed, device))
    if len({style.name for style in styles}) < len(styles):
        raise SettingsError("styles: two of them have one name; give each its own by style.….name=…")
    return Request(
        model=read_model(config.model),
        units=None if config.units is None else names(config.units),
        methods=methods,
        styles=tuple(styles),
        samples=config.samples,
        cluster=read_settings(ClusterSettings, config.cluster, "cluster"),
        device=device,
        out=Path(config.out).expanduser(),
        plan_only=bool(config.plan),
        pages=bool(config.pages),
    )


def read_model(config: DictConfig) -> ModelSettings:
    """The model option of a configuration."""
    return read_settings(ModelSettings, config, "model")


def names(value: object) -> tuple[str, ...]:
    """A list of names, or a single one."""
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return tuple(str(part) for part in value)  # type: ignore[attr-defined]
    return (str(value),)


T = typing.TypeVar("T")


def read_settings(kind: type[T], config: DictConfig | Mapping[str, object], where: str) -> T:
    """A settings value of a configuration's node, every number as the type that its field declares."""
    values = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else dict(config)
    known = {field.name for field in dataclasses.fields(kind)}
    for key in values:
        if key not in known:
            raise SettingsError(f"{where}.{key}: not a setting{nearest(str(key), known)}; remove it")
    missing = sorted(known - set(values))
    if missing:
        raise SettingsError(f"{where}.{missing[0]}: missing; set it in conf/ or by {where}.{missing[0]}=…")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(values[name], hints[name], f"{where}.{name}") for name in known})


def _typed(value: object, hint: object, where: str) -> object:
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
                return _typed(value, argument, where)
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
        return tuple(_typed(part, kind, where) for part, kind in zip(value, inner, strict=True))
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
