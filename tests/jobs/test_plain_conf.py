"""conf/ read without Hydra has the values that Hydra composes."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from jobs.bench.plain_conf import atlas_values
from jobs.console import compose_config


@pytest.mark.parametrize(("model", "dataset"), [("caffenet", "none"), ("doodlenet", "doodles")])
def test_the_values_are_those_of_hydra(model, dataset):
    composed = compose_config("atlas", [f"model={model}", f"dataset={dataset}", "experiment=null", "out=a", "seed=3"])
    ours = atlas_values({"out": "a", "seed": 3}, model=model, dataset=dataset)
    assert ours == OmegaConf.to_container(composed, resolve=True)


def test_a_change_of_one_number_leaves_its_neighbours():
    changed = atlas_values({"style": {"sparse": {"max_iter": 7}}})
    plain = atlas_values({})
    assert changed["style"]["sparse"] == plain["style"]["sparse"] | {"max_iter": 7}
    assert changed["dgn"]["step_end"] == 1e-10 and isinstance(plain["devices"]["cuda"]["batch_bytes"], int)
