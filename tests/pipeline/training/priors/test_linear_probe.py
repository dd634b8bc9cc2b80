"""The linear probe: it explains linear maps of the code, not the rest, and is ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.data.training_images import Pictures
from pipeline.training.priors.linear_probe import explained_variance, probe_text

SIDE = 4  # pixels; an image has 48 levels


class Values:
    """Stands for a network's values at some layers: each a fixed map of an image."""

    def __init__(self, **maps: np.ndarray) -> None:
        self.layers = tuple(maps)
        self.maps = [torch.from_numpy(value).float() for value in maps.values()]

    def values(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images.flatten(1) @ one for one in self.maps]


def pictures(count: int, seed: int) -> Pictures:
    stored = np.random.RandomState(seed).randint(0, 256, (count, SIDE, SIDE, 3)).astype(np.uint8)
    return Pictures(stored, np.arange(count), np.zeros(count, int), f"noise {seed}", ("noise",))


def explained(code: np.ndarray, **layers: np.ndarray) -> dict[str, float]:
    return explained_variance(
        Values(code=code), Values(**layers), pictures(300, 0), pictures(80, 1), torch.device("cpu")
    )


def test_a_linear_map_of_the_code_is_explained_and_the_rest_is_not():
    random = np.random.RandomState(0)
    every = random.randn(48, 48)
    shares = explained(
        every[:, :20], linear=every[:, :20] @ random.randn(20, 7), half=every[:, 15:25], other=every[:, 20:]
    )
    assert shares["linear"] > 0.99
    assert 0.3 < shares["half"] < 0.8
    assert shares["other"] < 0.6  # random maps are not orthogonal


def test_the_share_is_that_of_ridge_regression():
    random = np.random.RandomState(1)
    code, layer = random.randn(48, 10), random.randn(48, 6)
    seen = pictures(300, 0).stored.transpose(0, 3, 1, 2).reshape(300, -1) / 127.5 - 1
    x, y = seen @ code, seen @ layer
    new = pictures(80, 1).stored.transpose(0, 3, 1, 2).reshape(80, -1) / 127.5 - 1
    centred = x - x.mean(0)
    ridge = 0.01 * np.square(centred).mean() * len(x) * np.eye(10)
    weights = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (y - y.mean(0)))
    target = new @ layer - y.mean(0)
    error = target - (new @ code - x.mean(0)) @ weights
    expected = 1 - np.square(error).sum() / np.square(target).sum()
    assert explained(code, layer=layer)["layer"] == pytest.approx(expected, abs=1e-6)


def test_nothing_of_a_constant_layer_is_explained():
    assert explained(np.eye(48)[:, :5], flat=np.zeros((48, 3)))["flat"] == 0.0


def test_the_sentence_leaves_the_code_itself_out():
    text = probe_text("fc6", {"pool2": 0.5, "conv4": -0.1, "fc6": 1.0})
    assert text.startswith("a linear probe on fc6 explains these shares of variance: pool2 50 %, conv4 0 %")
    assert probe_text("fc6", {"fc6": 1.0}) == ""
