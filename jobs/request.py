"""The configuration as frozen settings: the last place that sees Hydra's own values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from jobs.search_request import SearchRequest, read_search_request
from jobs.settings_reader import check_sample_count, names, read_settings, typed
from pipeline.dataset_settings import DatasetSettings, MemorisationSettings, TopSettings
from pipeline.errors import SettingsError
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

METHODS = ("ascent", "dgn", "top")
LARGEST_SEED = 2**31 - 1  # the legacy generator takes 32 bits, and seeds of samples follow one another


@dataclass(frozen=True)
class Request:
    """What `make atlas` is asked."""

    model: ModelSettings
    units: tuple[str, ...] | None
    methods: tuple[str, ...]
    styles: tuple[StyleRecord, ...]
    samples: int
    search: SearchRequest
    seed: int
    dataset: DatasetSettings | None
    top: TopSettings
    memorisation: MemorisationSettings
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
        search=read_search_request(config),
        seed=seed,
        dataset=dataset,
        top=read_settings(TopSettings, config.top, "top"),
        memorisation=read_settings(MemorisationSettings, config.memorisation, "memorisation"),
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
    samples, seed = typed(config.samples, int, "samples"), typed(config.seed, int, "seed")
    check_sample_count("samples", samples)
    check("seed", seed, f"0 to {LARGEST_SEED}", 0 <= seed <= LARGEST_SEED)
    return samples, seed


def read_units(config: DictConfig) -> tuple[str, ...] | None:
    """The addresses of the units that are asked for; None for all that the job would choose."""
    return None if config.units is None else _some(config, "units", "conv5:0-63")


def read_flag(config: DictConfig, name: str) -> bool:
    """A setting that is true or false."""
    return typed(config[name], bool, name)


def read_out(config: DictConfig) -> Path:
    """The folder of the atlas."""
    return Path(typed(config.out, str, "out")).expanduser()


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
