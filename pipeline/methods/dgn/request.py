"""A configuration's request for pictures through priors, as frozen settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.errors import SettingsError, nearest
from pipeline.methods.dgn.settings import CombinationSettings, RunSettings
from pipeline.request import Config, check_sample_count, names, read_settings, typed
from pipeline.settings import PriorSettings

_RUN = {field.name for field in fields(RunSettings)}
_BESIDE = (
    "samples",
    "class_samples",
    "units",
    "variants",
    "variants_of",
)  # settings of the section that are not numbers of a run


@dataclass(frozen=True)
class DgnRequest:
    """The request for pictures through priors.

    priors : options of conf/prior, or folders; empty if none is named and the network has no prior of its own.
    settings : name of a variant, "" for the default → its numbers.
    variants_of : names of the priors to run with the variants too; None for all.
    samples, units : None for those of the whole request.
    class_samples : pictures of each unit of the class layer; None for as many as of the others.
    combinations : name → set of combinations.
    """

    priors: tuple[PriorSettings | Path, ...]
    settings: Mapping[str, RunSettings]
    variants_of: tuple[str, ...] | None
    samples: int | None
    class_samples: int | None
    units: tuple[str, ...] | None
    combinations: Mapping[str, CombinationSettings]

    def settings_of(self, prior: str) -> dict[str, RunSettings]:
        """The settings to run with this prior: the default and, if they are meant for it, the variants."""
        varied = self.variants_of is None or prior in self.variants_of
        return {variant: settings for variant, settings in self.settings.items() if varied or not variant}


def read_dgn(config: Config) -> DgnRequest:
    """The request of a configuration. Raises SettingsError for invalid values."""
    dgn = config.values["dgn"]
    plain = {name: value for name, value in dgn.items() if name not in _BESIDE}
    settings = {"": read_settings(RunSettings, plain, "dgn")}
    for name, changes in _named(dgn["variants"], "dgn.variants").items():
        where = f"dgn.variants.{name}"
        _check_keys(changes, _RUN, where)
        settings[name] = read_settings(RunSettings, {**plain, **changes}, where)
    for numbers in settings.values():
        numbers.check_image()
    shared, combinations = config.values.get("combination", {}), {}  # a sweep has no combinations
    for name, changes in _named(config.values.get("combinations"), "combinations").items():
        _check_keys(changes, set(shared), f"combinations.{name}")
        combinations[name] = read_settings(CombinationSettings, {**shared, **changes}, f"combinations.{name}")
    return DgnRequest(
        priors=read_priors(config),
        settings=settings,
        variants_of=None if dgn["variants_of"] is None else names(dgn["variants_of"]),
        samples=_sample_count(dgn, "samples"),
        class_samples=_sample_count(dgn, "class_samples"),
        units=None if dgn["units"] is None else names(dgn["units"]),
        combinations=combinations,
    )


def read_priors(config: Config) -> tuple[PriorSettings | Path, ...]:
    """The priors that a configuration names, in order; the network's own prior if it names none."""
    options = config.values["prior"] or {}
    if config.values["priors"] is None:
        default = f"{config.values['model']['name']}_fc6"
        return (config.read(PriorSettings, f"prior.{default}"),) if default in options else ()
    priors: list[PriorSettings | Path] = []
    for name in names(config.values["priors"]):
        if name in options:
            priors.append(config.read(PriorSettings, f"prior.{name}"))
        elif "/" in name or Path(name).is_dir():
            priors.append(Path(name).expanduser())
        else:
            raise SettingsError(
                f"priors: got {name!r}, neither an option of conf/prior ({', '.join(options)}) nor a folder"
                f"{nearest(name, options)}"
            )
    return tuple(priors)


def _sample_count(dgn: Mapping[str, object], name: str) -> int | None:
    samples = typed(dgn[name], int | None, f"dgn.{name}")
    if samples is not None:
        check_sample_count(f"dgn.{name}", samples)
    return samples


def _named(values: object, where: str) -> dict[str, dict]:
    """Name → changes, of a section whose names the user chooses."""
    named = {} if values is None else values
    if not isinstance(named, Mapping):
        raise SettingsError(f"{where}: got {named!r}, expected names with settings; write +{where}.NAME.setting=…")
    for name, changes in named.items():
        if not str(name) or not all(letter.isalnum() or letter in "_-" for letter in str(name)):
            raise SettingsError(f"{where}: got the name {name!r}, expected letters, digits, _ and -")
        if not isinstance(changes, Mapping):
            raise SettingsError(f"{where}.{name}: got {changes!r}, expected settings; write +{where}.{name}.setting=…")
    return {str(name): dict(changes) for name, changes in named.items()}


def _check_keys(changes: Mapping, allowed: set[str], where: str) -> None:
    for key in changes:
        if key not in allowed:
            raise SettingsError(f"{where}.{key}: not a setting{nearest(str(key), allowed)}; remove it")
