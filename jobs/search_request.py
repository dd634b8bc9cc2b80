"""What a configuration asks of learned priors, as frozen settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.settings_reader import check_sample_count, names, read_settings, typed
from pipeline.errors import SettingsError, nearest
from pipeline.search_settings import CombinationSettings, PriorSettings, SearchSettings

_SEARCH = {field.name for field in fields(SearchSettings)}
_BESIDE = ("samples", "units", "variants", "variants_of")  # of dgn, but of no single search


@dataclass(frozen=True)
class SearchRequest:
    """What `make atlas` is asked of priors.

    priors : each an option of conf/prior or a folder; none where the network has none of its own. settings : name of
    a variant, "" for the plain one → its numbers. variants_of : names of the priors that the variants are of; None for
    all. samples, units : None for the run's. combinations : by name.
    """

    priors: tuple[PriorSettings | Path, ...]
    settings: Mapping[str, SearchSettings]
    variants_of: tuple[str, ...] | None
    samples: int | None
    units: tuple[str, ...] | None
    combinations: Mapping[str, CombinationSettings]

    def settings_of(self, prior: str) -> dict[str, SearchSettings]:
        """Those by which a prior is searched: the plain ones, and the variants if they are of it."""
        varied = self.variants_of is None or prior in self.variants_of
        return {variant: settings for variant, settings in self.settings.items() if varied or not variant}


def read_search_request(config: DictConfig) -> SearchRequest:
    """The request of a composed atlas configuration. Raises SettingsError for values out of range or of no use."""
    dgn = OmegaConf.to_container(config.dgn, resolve=True)
    plain = {name: value for name, value in dgn.items() if name not in _BESIDE}
    settings = {"": read_settings(SearchSettings, plain, "dgn")}
    for name, changes in _named(dgn["variants"], "dgn.variants").items():
        where = f"dgn.variants.{name}"
        _check_keys(changes, _SEARCH, where)
        settings[name] = read_settings(SearchSettings, {**plain, **changes}, where)
    shared = OmegaConf.to_container(config.combination, resolve=True)
    combinations = {}
    for name, changes in _named(config.combinations, "combinations").items():
        _check_keys(changes, set(shared), f"combinations.{name}")
        combinations[name] = read_settings(CombinationSettings, {**shared, **changes}, f"combinations.{name}")
    samples = typed(dgn["samples"], int | None, "dgn.samples")
    if samples is not None:
        check_sample_count("dgn.samples", samples)
    return SearchRequest(
        priors=_read_priors(config),
        settings=settings,
        variants_of=None if dgn["variants_of"] is None else names(dgn["variants_of"]),
        samples=samples,
        units=None if dgn["units"] is None else names(dgn["units"]),
        combinations=combinations,
    )


def _read_priors(config: DictConfig) -> tuple[PriorSettings | Path, ...]:
    known = tuple(config.prior) if config.prior else ()
    if config.priors is None:
        own = f"{config.model.name}_fc6"
        return (_option(config, own),) if own in known else ()
    found: list[PriorSettings | Path] = []
    for name in names(config.priors):
        if name in known:
            found.append(_option(config, name))
        elif "/" in name or Path(name).is_dir():
            found.append(Path(name).expanduser())
        else:
            raise SettingsError(
                f"priors: got {name!r}, neither an option of conf/prior ({', '.join(known)}) nor a folder"
                f"{nearest(name, known)}"
            )
    return tuple(found)


def _option(config: DictConfig, name: str) -> PriorSettings:
    return read_settings(PriorSettings, config.prior[name], f"prior.{name}")


def _named(values: object, where: str) -> dict[str, dict]:
    """Name → what differs, of a setting whose names the user gives."""
    plain = OmegaConf.to_container(values, resolve=True) if OmegaConf.is_config(values) else values
    found = {} if plain is None else plain
    if not isinstance(found, Mapping):
        raise SettingsError(f"{where}: got {found!r}, expected names with settings; write +{where}.NAME.setting=…")
    for name, changes in found.items():
        if not str(name) or not all(letter.isalnum() or letter in "_-" for letter in str(name)):
            raise SettingsError(f"{where}: got the name {name!r}, expected letters, digits, _ and -")
        if not isinstance(changes, Mapping):
            raise SettingsError(f"{where}.{name}: got {changes!r}, expected settings; write +{where}.{name}.setting=…")
    return {str(name): dict(changes) for name, changes in found.items()}


def _check_keys(changes: Mapping, known: set[str], where: str) -> None:
    for key in changes:
        if key not in known:
            raise SettingsError(f"{where}.{key}: not a setting{nearest(str(key), known)}; remove it")
