"""Training on drawings: it learns, resumes after it was killed, and refuses invalid recipes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawing_networks import load

from pipeline.data.training_images import Drawings, drawings
from pipeline.errors import OutputError, SettingsError, WeightsError
from pipeline.nets.doodlenet import SIZE, doodlenet
from pipeline.training.classifiers import drawings as classifier
from pipeline.training.classifiers.drawings import DrawingRecipe, drawing_recipe, fit, logits, train_on_drawings

SMALL = DrawingRecipe(
    network="doodlenet",
    seed=0,
    train_seed=0,
    train_count=48,
    held_out_seed=1,
    held_out_count=16,
    epochs=2,
    batch=16,
    rate=0.05,
    momentum=0.9,
    weight_decay=1e-4,
    label_smoothing=0.05,
    noise=10.0,
    blur=1.0,
    fade=0.2,
    attack=200.0,
    attack_steps=1,
    threads=1,
    checkpoint_every=2,
)


class Killed(BaseException):
    """Stands for a signal that ends the process."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawings")


@pytest.mark.parametrize("network", ["doodlenet", "doodlejudge"])
def test_a_short_training_learns_its_drawings(network: str, cache: Path, tmp_path: Path) -> None:
    plain = replace(SMALL, network=network, epochs=12, noise=0.0, blur=0.0, fade=0.0, attack=0.0)
    train = _drawn(plain, cache)
    trained = fit(plain, train, checkpoint=tmp_path / "checkpoint", log=lambda line: None)
    pixels = torch.from_numpy(np.array(train.pixels)).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        right = (logits(trained, pixels).argmax(1).numpy() == train.labels).mean()
    assert right > 0.5  # a random guess is right once in 28


@pytest.mark.parametrize("network", ["doodlenet", "doodlejudge"])
def test_a_killed_training_resumes_to_the_same_weights(network: str, cache: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, network=network)
    train_on_drawings(settings, tmp_path / "whole", lambda line: None, cache=cache)

    def die(line: str) -> None:
        if line.startswith("step 4"):
            raise Killed

    with pytest.raises(Killed):  # at step 4, before its checkpoint is written: the training resumes from step 2
        train_on_drawings(settings, tmp_path / "killed", die, cache=cache)
    said: list[str] = []
    train_on_drawings(settings, tmp_path / "killed", said.append, cache=cache)
    assert "going on from step 2" in said
    name = f"{network}.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_weights_file_describes_itself(cache: Path, tmp_path: Path) -> None:
    metrics = train_on_drawings(SMALL, tmp_path, lambda line: None, cache=cache)
    network, labels = load(tmp_path / "doodlenet.safetensors")
    assert not network.training
    assert len(labels) == 28
    assert metrics.steps == SMALL.steps == 6
    assert metrics.parameters == sum(value.numel() for value in network.parameters())


def test_the_shipped_form_computes_what_the_trained_form_computes() -> None:
    torch.manual_seed(0)
    normalised = doodlenet(classes=28, normalised=True)
    images = torch.randn(6, 3, SIZE, SIZE)
    normalised(images)  # moves the running means away from their first values
    normalised.eval()
    folded = classifier._folded(normalised)
    assert not [name for name, _ in folded.named_children() if name.startswith("bn")]
    for number in (1, 2):
        assert getattr(folded, f"norm{number}") is not None
    expected = normalised[:-1](images)  # the trained form leaves out norm1 and norm2, near the identity here
    assert (folded[:-1](images) - expected).abs().max() < 1e-3 * expected.abs().max()


def test_a_checkpoint_of_other_settings_is_refused(cache: Path, tmp_path: Path) -> None:
    train_on_drawings(SMALL, tmp_path, lambda line: None, cache=cache)
    with pytest.raises(OutputError, match='stored "rate": 0.05, asked "rate": 0.1') as caught:
        train_on_drawings(replace(SMALL, rate=0.1), tmp_path, lambda line: None, cache=cache)
    assert "\n" not in str(pickle.loads(pickle.dumps(caught.value)))


def test_a_damaged_checkpoint_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "doodlenet.checkpoint").write_bytes(b"not a checkpoint")
    with pytest.raises(OutputError, match="remove it to start anew"):
        train_on_drawings(SMALL, tmp_path, lambda line: None, cache=cache)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("network", "doodelnet", "nearest: doodlenet"),
        ("held_out_seed", 0, "another than train_seed"),
        ("epochs", 0, "at least 1"),
        ("batch", 1000, "at most train_count"),
        ("attack", -1.0, "0 or more"),
        ("label_smoothing", 1.0, "below 1"),
    ],
)
def test_invalid_recipes_are_refused(field: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        replace(SMALL, **{field: value})


def test_a_weight_file_gives_back_the_recipe_that_made_it(cache: Path, tmp_path: Path) -> None:
    train_on_drawings(SMALL, tmp_path, lambda line: None, cache=cache)
    assert drawing_recipe(tmp_path / "doodlenet.safetensors") == SMALL
    with pytest.raises(WeightsError, match="absent.safetensors"):
        drawing_recipe(tmp_path / "absent.safetensors")


def _drawn(settings: DrawingRecipe, cache: Path) -> Drawings:
    return drawings(
        seed=settings.train_seed, count=settings.train_count, size=SIZE, folder=cache, processes=1, log=print
    )
