"""The priors that the project ships: each inverts a shipped network, and beats the mean image."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.console import compose_config
from jobs.request import read_model
from pipeline.nets.open_network import open_network
from pipeline.priors.prior import read_prior

FOLDER = Path(__file__).parents[3] / "pipeline" / "weights" / "priors"
SHIPPED = sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_of_the_network_that_comes_with_it(name: str) -> None:
    prior = read_prior(FOLDER / name)
    network = open_network(read_model(compose_config("atlas", [f"model={prior.network}"]).model))
    assert prior.name == name == f"{prior.network}_{prior.code_layer}"
    assert prior.network_digest == network.digest
    size = network.preprocessing
    assert (prior.height, prior.width) == (size.height, size.width)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_card_says_that_it_draws_better_than_the_mean_image(name: str) -> None:
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:4]]
        for row in read_prior(FOLDER / name).card.splitlines()
        if row.startswith("| ")
    }
    (pixel, code), (mean_pixel, mean_code) = (map(float, rows[what]) for what in ("reconstruction", "mean image"))
    assert pixel < mean_pixel
    assert code < 0.35 * mean_code


def test_the_default_prior_is_small() -> None:
    assert sum(file.stat().st_size for file in (FOLDER / "doodlenet_fc6").iterdir()) <= 8_000_000
