"""The configuration of an atlas from conf/, for machines without Hydra: the same values, read with PyYAML alone.

It covers what conf/atlas.yaml uses: groups with their packages, fields that options share, and later values over
earlier ones. Overrides of a command line are given as nested values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError

CONF = Path(__file__).resolve().parents[2] / "conf"
_EVERY = ("style", "prior")  # groups whose options are all loaded
_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?$")  # 1e-10 too, which YAML 1.1 reads as text

Values = dict[str, Any]


def atlas_values(changes: Mapping[str, Any], **chosen: str | None) -> Values:
    """The values of conf/atlas.yaml with other options and values.

    changes : nested values in place of those of the files.
    chosen : group → option, such as model="doodlenet"; None for no option.
    Raises SettingsError without PyYAML.
    """
    values: Values = {}
    own = _read(CONF / "atlas.yaml")
    for entry in own.pop("defaults"):
        if not isinstance(entry, dict):  # _self_
            continue
        ((key, option),) = entry.items()
        group, _, package = key.partition("@")
        option = chosen.get(key, option)
        if group in _EVERY:
            for file in sorted((CONF / group).glob("[!_]*.yaml")):
                _merge(values, _packed(f"{group}.{file.stem}", _option(file)))
        elif option is not None and group != "experiment":
            _merge(values, _packed(package or group, _option(CONF / group / f"{option}.yaml")))
    _merge(values, own)
    _merge(values, changes)
    return values


def _option(file: Path) -> Values:
    """An option with the fields that it shares with others of its group."""
    own, values = _read(file), {}
    for entry in own.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            _merge(values, _option(file.parent / f"{entry.partition('@')[0]}.yaml"))
    _merge(values, own)
    return values


def _read(file: Path) -> Values:
    try:
        import yaml
    except ImportError:
        raise SettingsError("conf/: cannot be read without PyYAML, which Hydra brings; install one of them") from None

    class Loader(yaml.SafeLoader):
        """With numbers as Hydra reads them."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    for resolvers in Loader.yaml_implicit_resolvers.values():  # whole numbers stay whole: theirs comes first
        resolvers.sort(key=lambda each: each[0] == "tag:yaml.org,2002:float")
    return yaml.load(file.read_text(), Loader) or {}


def _packed(package: str, values: Values) -> Values:
    for name in reversed(package.split(".")):
        values = {name: values}
    return values


def _merge(into: Values, more: Mapping[str, Any]) -> None:
    """Put `more` over the values, section by section."""
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value
