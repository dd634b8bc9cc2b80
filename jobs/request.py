"""The configuration as frozen settings: the last place that sees Hydra's own values."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from pipeline.dataset_settings import DatasetSettings, TopSettings
from pipeline.errors import SettingsError, nearest
from pipeline.records import StyleRecord
from pipeline.settings import (
    AscentSettings,
    ClusterSettings,
    DeviceSettings,
    ModelSettings,
    StyleSettings,
    check,
    check_choice,
)

METHODS = ("ascent", "top")
LARGEST_SEED = 2**31 - 1  # the legacy generator takes 32 bits, and seeds of samples follow one another


@dataclass(frozen=True)
class Request:
    """What `make atlas` is asked."""

    model: ModelSettings
    units: tuple[str, ...] | None
    methods: tuple[str, ...]
    styles: tuple[StyleRecord, ...]
    samples: int
    dataset: DatasetSettings | None
    top: TopSettings
    cluster: ClusterSettings
    device: DeviceSettings
    out: Path
    plan_only: bool
    pages: bool


def read_request(config: DictConfig, device_kind: str) -> Request:
    """The request of a composed atlas configuration. Raises SettingsError for values out of range or of no use."""
    device, ascent = read_device(config, device_kind), read_settings(AscentSettings, config.ascent, "ascent")
    methods = _some(config, "methods", "ascent")
    for method in methods:
        check_choice("methods", method, METHODS)
    samples, seed = read_starts(config)
    _check_dataset(config.dataset, methods)
    dataset = None if config.dataset.kind == "none" else read_settings(DatasetSettings, config.dataset, "dataset")
    styles = []
    for name in _some(config, "styles", "low_frequency"):
        check_choice("styles", name, tuple(config.style))
        style = read_settings(StyleSettings, config.style[name], f"style.{name}")
        styles.append(StyleRecord(style, ascent, seed, device))
    if len({style.name for style in styles}) < len(styles):
        spoken = ", ".join(style.name for style in styles)
        raise SettingsError(f"styles: got {spoken}, expected each name once; give a variant its own by style.….name=…")
    return Request(
        model=read_model(config.model),
        units=read_units(config),
        methods=methods,
        styles=tuple(styles),
        samples=samples,
        dataset=dataset,
        top=read_settings(TopSettings, config.top, "top"),
        cluster=read_settings(ClusterSettings, config.cluster, "cluster"),
        device=device,
        out=read_out(config),
        plan_only=read_flag(config, "plan"),
        pages=read_flag(config, "pages"),
    )


def read_model(config: DictConfig) -> ModelSettings:
    """The model option of a configuration."""
    return read_settings(ModelSettings, config, "model")


def read_device(config: DictConfig, kind: str) -> DeviceSettings:
    """The sizes that cut work for a kind of device."""
    check_choice("device", kind, tuple(config.devices))
    return read_settings(DeviceSettings, config.devices[kind], f"devices.{kind}")


def read_starts(config: DictConfig) -> tuple[int, int]:
    """How many pictures a unit has in a style, and the seed of their starts."""
    samples, seed = _typed(config.samples, int, "samples"), _typed(config.seed, int, "seed")
    check("samples", samples, "1 or more", samples >= 1)
    check("seed", seed, f"0 to {LARGEST_SEED}", 0 <= seed <= LARGEST_SEED)
    return samples, seed


def read_units(config: DictConfig) -> tuple[str, ...] | None:
    """The addresses of the units that are asked for; None for all that the job would choose."""
    return None if config.units is None else _some(config, "units", "conv5:0-63")


def read_flag(config: DictConfig, name: str) -> bool:
    """A setting that is true or false."""
    return _typed(config[name], bool, name)


def read_out(config: DictConfig) -> Path:
    """The folder of the atlas."""
    return Path(_typed(config.out, str, "out")).expanduser()


def names(value: object) -> tuple[str, ...]:
    """A list of names, or a single one."""
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return tuple(str(part) for part in value)  # type: ignore[attr-defined]
    return (str(value),)


def _some(config: DictConfig, key: str, example: str) -> tuple[str, ...]:
    """The names under a key, of which there is at least one."""
    found = names(config[key])
    if not found:
        raise SettingsError(f"{key}: got none, expected at least one; set it by {key}=[{example}]")
    return found


def _check_dataset(config: DictConfig, methods: tuple[str, ...]) -> None:
    """Raise SettingsError for a folder of images that nothing would read, and for a run that could do nothing."""
    if config.kind == "none" and methods == ("top",):
        raise SettingsError("methods: got top alone, which needs a dataset; name one by DATASET=…")
    if config.kind == "none" and config.root is not None:
        raise SettingsError(
            f"dataset.root: got {config.root}, but dataset=none reads no images; choose a dataset of conf/dataset/ by "
            f"DATASET=…, or leave dataset.root out"
        )


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
