"""The network of an atlas is found by the name that the atlas has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.console import compose_config
from jobs.opening import network_settings, same_network
from pipeline.errors import SettingsError, WeightsError


@pytest.mark.parametrize("job", ["score", "interpretability", "verify"])
def test_a_network_is_known_by_its_name_unless_another_is_named(job):
    assert network_settings(compose_config(job, []), "tinynet").name == "tinynet"
    assert network_settings(compose_config(job, ["model=doodlevgg"]), "tinynet").name == "doodlevgg"
    assert network_settings(compose_config(job, []), "mine") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine", r"^out/atlas\.h5: is an atlas of mine@0123456789ab, and conf/model has no mine; name .* MODEL=…$"),
        ("doodlenet", r"is an atlas of doodlenet@0123456789ab, but model=doodlenet has digest (?!0123)\w{12}; name"),
    ],
)
def test_a_network_that_is_not_the_atlas_s_is_refused(name, message):
    plan = SimpleNamespace(card=SimpleNamespace(name=name, digest="0123456789abcdef"))
    with pytest.raises(WeightsError, match=message):
        same_network(compose_config("score", []), plan, Path("out"))


@pytest.mark.parametrize("job", ["score", "interpretability", "verify"])
def test_a_setting_of_a_network_that_is_not_named_asks_for_its_name(job):
    with pytest.raises(SettingsError, match=r"^setting model\.size: no network is named; name it by MODEL=…"):
        compose_config(job, ["model.size=[9,9]"])
    with pytest.raises(SettingsError, match=r"^setting model\.sise: not known"):
        compose_config(job, ["model=tinynet", "model.sise=[9,9]"])
    assert compose_config(job, ["model=tinynet", "model.size=[9,9]"]).model.size == [9, 9]
