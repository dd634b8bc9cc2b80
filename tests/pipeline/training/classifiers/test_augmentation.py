"""Augmentation: crops of the requested size, half of them mirrored; colours, blur, noise, fading and attacks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.classifiers.augmentation import attacked, blurred, cropped, faded, noisy, recoloured


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(count: int, side: int = 32) -> torch.Tensor:
    """Pictures whose red is the column and whose green is the row, in 0 … side−1, of every picture."""
    across = torch.arange(side, dtype=torch.float32).expand(side, side)
    return torch.stack([across, across.T, torch.zeros(side, side)]).expand(count, -1, -1, -1)


@settings(deadline=None, max_examples=20)
@given(least=st.floats(0.05, 1.0), aspect=st.floats(1.0, 2.0), size=st.sampled_from([16, 32]), seed=st.integers(0, 99))
def test_a_crop_shows_a_part_of_the_size_that_was_asked(least, aspect, size, seed):
    seen = cropped(ramp(20), size=size, least_area=least, most_aspect=aspect, generator=generator(seed))
    assert tuple(seen.shape) == (20, 3, size, size)
    assert seen[:, :2].min() >= -1e-3
    assert seen[:, :2].max() <= 31 + 1e-3
    # steps to the right and down, in pixels of the picture
    middle = slice(size // 2 - 2, size // 2 + 2)
    across = (seen[:, 0, size // 2, middle].diff(dim=1) * size / 32).mean(1)
    down = (seen[:, 1, middle, size // 2].diff(dim=1) * size / 32).mean(1)
    area = across.abs() * down
    whole = (across.abs() < 0.99) & (
        down < 0.99
    )  # a crop that sticks out is filled by reflection, which folds the ramp
    assert (area[whole] >= least - 0.02).all()
    assert (area[whole] <= 1.02).all()
    assert ((across.abs() / down)[whole] <= aspect * 1.02).all()


def test_half_of_the_views_are_mirrored_and_the_whole_picture_is_itself():
    photos = torch.rand(200, 3, 16, 16, generator=generator(0))
    seen = cropped(photos, size=16, least_area=1.0, most_aspect=1.0, generator=generator(1))
    same = (seen - photos).abs().amax((1, 2, 3))
    flipped = (seen - photos.flip(3)).abs().amax((1, 2, 3))
    assert (torch.minimum(same, flipped) < 1e-4).all()
    assert 70 < int((flipped < 1e-4).sum()) < 130


def test_views_differ_and_repeat_with_their_generator():
    again = [
        cropped(ramp(4), size=16, least_area=0.3, most_aspect=1.3, generator=generator(seed)) for seed in (5, 5, 6)
    ]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    assert not torch.equal(again[0][0], again[0][1])


@pytest.mark.parametrize("most", [0.1, 0.4])
def test_recoloured_pixels_stay_levels_and_change_by_no_more_than_asked(most):
    photos = 60 + 80 * torch.rand(50, 3, 8, 8, generator=generator(0))
    seen = recoloured(photos, most=most, generator=generator(1))
    assert seen.min() >= 0
    assert seen.max() <= 255
    brighter = seen.mean((1, 2, 3)) / photos.mean((1, 2, 3))
    assert (brighter > 1 - most - 0.03).all()
    assert (brighter < 1 + most + 0.03).all()
    assert float(brighter.std()) > most / 4


def test_grey_stays_grey_and_nothing_changes_without_recolouring():
    grey = (255 * torch.rand(5, 1, 8, 8, generator=generator(0))).expand(-1, 3, -1, -1)
    seen = recoloured(grey, most=0.4, generator=generator(1))
    torch.testing.assert_close(seen, seen[:, :1].expand_as(seen))
    assert recoloured(grey, most=0.0, generator=generator(1)) is grey


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
