"""Training on photos: it learns, resumes after it was killed, measures accuracy, and refuses invalid input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.data.training_images import Pictures
from pipeline.errors import DataError, SettingsError, TrainingError, WeightsError
from pipeline.nets.tinynet import SIZE, tinynet
from pipeline.training.classifiers.loop import fold
from pipeline.training.classifiers.photos import PhotoRecipe, fit, logits, measure, photo_recipe, train_on_photos
from pipeline.training.weights_file import write_weights

SMALL = PhotoRecipe(
    network="tinynet", seed=0, epochs=2, batch=8, rate=0.02, momentum=0.9, weight_decay=1e-4, label_smoothing=0.05,
    least_area=0.5, most_aspect=1.3, recolour=0.2, blur=1.0, recall=1.0, first_size=32,
    first_share=0.5, closing_epochs=1, closing_area=0.9, closing_rate=0.005, precision="fp32", threads=1,
    checkpoint_every=2,
)  # fmt: skip
COLOURS = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])  # of the classes


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def pictures(count: int, seed: int = 0, names: tuple[str, ...] = ("red", "green", "blue")) -> Pictures:
    """Noise around the colour of the class."""
    random = np.random.RandomState(seed)
    labels = np.arange(count) % len(COLOURS)
    noise = random.randint(-40, 41, (count, SIZE, SIZE, 3))
    stored = np.clip(COLOURS[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    return Pictures(stored, np.arange(count), labels, f"photos {seed}", names)


@pytest.mark.parametrize("network", ["tinynet", "tinyjudge"])
def test_a_short_training_learns_its_classes(network, tmp_path):
    settings = replace(SMALL, network=network, epochs=6, recall=1.0 if network == "tinynet" else 0.0)
    metrics = train_on_photos(settings, pictures(24), pictures(12, seed=1), tmp_path, lambda line: None)
    assert metrics.top1 > 0.8  # a random guess is right once in 3
    assert (metrics.steps, metrics.photos, metrics.top5) == (21, 12, 1.0)
    assert photo_recipe(tmp_path / f"{network}.safetensors") == settings


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    photos, held_out = pictures(24), pictures(6, seed=1)
    train_on_photos(SMALL, photos, held_out, tmp_path / "whole", lambda line: None)

    def die(line: str) -> None:
        if line.startswith("step 4"):  # before its checkpoint is written
            raise Killed

    with pytest.raises(Killed):
        train_on_photos(SMALL, photos, held_out, tmp_path / "killed", die)
    said: list[str] = []
    train_on_photos(SMALL, photos, held_out, tmp_path / "killed", said.append)
    assert "going on from step 2" in said
    name = "tinynet.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_folded_form_computes_what_the_trained_form_computes():
    torch.manual_seed(0)
    trained, images = tinynet(classes=5, normalised=True), torch.randn(6, 3, SIZE, SIZE)
    trained(images)  # moves the running means away from their first values
    trained.eval()
    plain = fold(trained, tinynet(classes=5))
    assert not [name for name, _ in plain.named_children() if name.startswith("bn")]
    with torch.no_grad():
        torch.testing.assert_close(plain[:-1](images), trained[:-1](images), rtol=1e-4, atol=1e-5)


class Fixed(nn.Module):
    """Gives the same values for every image."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(images), -1)


@pytest.mark.parametrize(
    ("values", "top1", "top5"),
    [
        ([3.0, 2.0, 1.0], 1 / 3, 1.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 0.0, 1 / 3),  # blue's 3 is the fifth
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.0, 0.0),  # a tie counts as a miss
        ([float("nan")] * 6, 0.0, 0.0),
    ],
)
def test_accuracy_counts_the_rank_of_a_photos_class(values, top1, top5):
    metrics = measure(SMALL, nn.Sequential(Fixed(values), nn.Softmax(dim=1)), pictures(24), pictures(12))
    assert (metrics.top1, metrics.top5, metrics.photos) == (pytest.approx(top1), pytest.approx(top5), 12)


def test_black_is_scaled_to_minus_one_and_white_to_one():
    pixels = torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    seen = logits(nn.Sequential(nn.Identity(), nn.Softmax(dim=1)), pixels)
    assert seen[0].unique().tolist() == [-1.0]
    assert seen[1].unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("train", "held_out", "said"),
    [
        (pictures(24), pictures(6, names=("red", "green", "violet")), "classes are not those of the photos"),
        (pictures(7), pictures(6), r"got 7, fewer than the 8 of a step"),
        (replace(pictures(24), labels=np.full(24, -1)), pictures(6), "have no class"),
        (pictures(24), pictures(0), "none is held out"),
    ],
)
def test_unusable_photos_are_refused(train, held_out, said, tmp_path):
    with pytest.raises(DataError, match=said) as caught:
        train_on_photos(SMALL, train, held_out, tmp_path / "out", lambda line: None)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    with pytest.raises(TrainingError, match=r"no longer a number.*lower recipe.rate"):
        fit(replace(SMALL, rate=1e30), pictures(24), checkpoint=tmp_path / "c", log=lambda line: None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "tinyjugde"}, "nearest: tinyjudge"),
        ({"batch": 0}, "at least 1"),
        ({"rate": -0.1}, "0 or more"),
        ({"least_area": 0.0}, "shares of 1"),
        ({"precision": "fp8"}, "fp32 or bf16"),
        ({"network": "tinyjudge"}, "tinyjudge has no fc6"),
    ],
)
def test_invalid_recipes_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        replace(SMALL, **changes)


def test_weights_of_another_training_have_no_recipe_of_photos(tmp_path):
    write_weights(tmp_path / "w.safetensors", {"w": torch.zeros(1)}, {"settings": {"epochs": 3}}, half=False)
    with pytest.raises(WeightsError, match="was not trained on photos"):
        photo_recipe(tmp_path / "w.safetensors")
