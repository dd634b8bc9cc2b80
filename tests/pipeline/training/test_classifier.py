"""Training on drawings: it learns, it goes on where it was killed, and it refuses what cannot be."""

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
from pipeline.training import classifier
from pipeline.training.augment import attacked, blurred, faded, noisy
from pipeline.training.classifier import ClassifierSettings, fit, logits, train_classifier
from pipeline.training.course import epoch_rows, warm_and_linear
from pipeline.training.recipe import recipe

SMALL = ClassifierSettings(
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
    assert right > 0.5  # chance is 1 in 28


@pytest.mark.parametrize("network", ["doodlenet", "doodlejudge"])
def test_a_killed_training_goes_on_to_the_same_weights(network: str, cache: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, network=network)
    train_classifier(settings, tmp_path / "whole", lambda line: None, cache=cache)

    def die(line: str) -> None:
        if line.startswith("step 4"):
            raise Killed

    with pytest.raises(Killed):  # at step 4, whose checkpoint is not yet written: it goes on from step 2
        train_classifier(settings, tmp_path / "killed", die, cache=cache)
    said: list[str] = []
    train_classifier(settings, tmp_path / "killed", said.append, cache=cache)
    assert "going on from step 2" in said
    name = f"{network}.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_weights_file_says_what_it_is(cache: Path, tmp_path: Path) -> None:
    metrics = train_classifier(SMALL, tmp_path, lambda line: None, cache=cache)
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
    train_classifier(SMALL, tmp_path, lambda line: None, cache=cache)
    with pytest.raises(OutputError, match='stored "rate": 0.05, asked "rate": 0.1') as caught:
        train_classifier(replace(SMALL, rate=0.1), tmp_path, lambda line: None, cache=cache)
    assert "\n" not in str(pickle.loads(pickle.dumps(caught.value)))


def test_a_damaged_checkpoint_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "doodlenet.checkpoint").write_bytes(b"not a checkpoint")
    with pytest.raises(OutputError, match="remove it to start anew"):
        train_classifier(SMALL, tmp_path, lambda line: None, cache=cache)


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
def test_settings_that_cannot_be_are_refused(field: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        replace(SMALL, **{field: value})


def test_every_drawing_is_seen_once_an_epoch() -> None:
    first, second = (
        np.concatenate([epoch_rows(step, seed=0, count=48, batch=16) for step in range(start, start + 3)])
        for start in (0, 3)
    )
    assert sorted(first) == sorted(second) == list(range(48))
    assert first.tolist() != second.tolist()


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [warm_and_linear(step, steps=60, highest=0.05) for step in range(61)]
    assert rates[5] == max(rates) == pytest.approx(0.05)
    assert rates[60] == 0
    assert all(before > after for before, after in zip(rates[6:], rates[7:], strict=False))


def test_an_attack_stays_in_its_ball_and_in_the_pixel_range_and_raises_the_loss() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5))
    pixels, labels = torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 5
    moved = attacked(network, pixels, labels, size=50.0, steps=2, generator=torch.Generator().manual_seed(0))
    assert (moved - pixels).flatten(1).norm(dim=1).max() <= 50.0 * (1 + 1e-5)
    assert moved.min() >= 0
    assert moved.max() <= 255
    loss = torch.nn.functional.cross_entropy
    assert loss(network(moved), labels) > loss(network(pixels), labels)
    assert all(value.grad is None for value in network.parameters())


def test_blur_touches_only_the_chosen_pictures_and_keeps_a_flat_one() -> None:
    pixels = torch.rand(3, 3, 12, 12) * 255
    pixels[1] = 77.0
    result = blurred(pixels, sigma=1.2, rows=torch.tensor([True, True, False]))
    assert result[0].var() < pixels[0].var() / 2
    assert torch.allclose(result[1], pixels[1], atol=1e-3)
    assert torch.equal(result[2], pixels[2])


def test_noise_and_fading_do_nothing_at_zero_and_something_above() -> None:
    pixels = torch.rand(4, 3, 8, 8) * 255
    for change in (noisy, faded):
        assert change(pixels, most=0.0, generator=torch.Generator()) is pixels
    noise = noisy(pixels, most=20.0, generator=torch.Generator().manual_seed(0))
    assert 0 < (noise - pixels).std() < 20
    fade = faded(pixels, most=0.5, generator=torch.Generator().manual_seed(0))
    assert bool((fade.flatten(1).std(1) < pixels.flatten(1).std(1)).all())
    assert torch.allclose(fade.mean((1, 2, 3)), pixels.mean((1, 2, 3)), atol=1e-2)


def test_a_weight_file_gives_back_the_recipe_that_made_it(cache: Path, tmp_path: Path) -> None:
    train_classifier(SMALL, tmp_path, lambda line: None, cache=cache)
    assert recipe(tmp_path / "doodlenet.safetensors") == SMALL
    with pytest.raises(WeightsError, match="absent.safetensors"):
        recipe(tmp_path / "absent.safetensors")


def _drawn(settings: ClassifierSettings, cache: Path) -> Drawings:
    return drawings(
        seed=settings.train_seed, count=settings.train_count, size=SIZE, folder=cache, processes=1, log=print
    )
