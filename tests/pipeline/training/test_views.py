"""Random views of photos: parts of the size that is asked, mirrored half the time, in other colours."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.views import cropped, recoloured


def chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(count: int, side: int = 32) -> torch.Tensor:
    """Pictures whose red is the column and whose green is the row, in 0 … side−1, of every picture."""
    across = torch.arange(side, dtype=torch.float32).expand(side, side)
    return torch.stack([across, across.T, torch.zeros(side, side)]).expand(count, -1, -1, -1)


@settings(deadline=None, max_examples=20)
@given(least=st.floats(0.05, 1.0), aspect=st.floats(1.0, 2.0), size=st.sampled_from([16, 32]), seed=st.integers(0, 99))
def test_a_crop_shows_a_part_of_the_size_that_was_asked(least, aspect, size, seed):
    seen = cropped(ramp(20), size=size, least_area=least, most_aspect=aspect, generator=chance(seed))
    assert tuple(seen.shape) == (20, 3, size, size)
    assert seen[:, :2].min() >= -1e-3
    assert seen[:, :2].max() <= 31 + 1e-3
    # steps to the right and down, in pixels of the picture
    middle = slice(size // 2 - 2, size // 2 + 2)
    across = (seen[:, 0, size // 2, middle].diff(dim=1) * size / 32).mean(1)
    down = (seen[:, 1, middle, size // 2].diff(dim=1) * size / 32).mean(1)
    area = across.abs() * down
    whole = (across.abs() < 0.99) & (down < 0.99)  # what sticks out is mirrored, and folds the ramp
    assert (area[whole] >= least - 0.02).all()
    assert (area[whole] <= 1.02).all()
    assert ((across.abs() / down)[whole] <= aspect * 1.02).all()


def test_half_of_the_views_are_mirrored_and_the_whole_picture_is_itself():
    photos = torch.rand(200, 3, 16, 16, generator=chance(0))
    seen = cropped(photos, size=16, least_area=1.0, most_aspect=1.0, generator=chance(1))
    same = (seen - photos).abs().amax((1, 2, 3))
    flipped = (seen - photos.flip(3)).abs().amax((1, 2, 3))
    assert (torch.minimum(same, flipped) < 1e-4).all()
    assert 70 < int((flipped < 1e-4).sum()) < 130


def test_views_differ_and_repeat_with_their_generator():
    again = [cropped(ramp(4), size=16, least_area=0.3, most_aspect=1.3, generator=chance(seed)) for seed in (5, 5, 6)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    assert not torch.equal(again[0][0], again[0][1])


@pytest.mark.parametrize("most", [0.1, 0.4])
def test_recoloured_pixels_stay_levels_and_change_by_no_more_than_asked(most):
    photos = 60 + 80 * torch.rand(50, 3, 8, 8, generator=chance(0))
    seen = recoloured(photos, most=most, generator=chance(1))
    assert seen.min() >= 0
    assert seen.max() <= 255
    brighter = seen.mean((1, 2, 3)) / photos.mean((1, 2, 3))
    assert (brighter > 1 - most - 0.03).all()
    assert (brighter < 1 + most + 0.03).all()
    assert float(brighter.std()) > most / 4


def test_grey_stays_grey_and_nothing_changes_without_recolouring():
    grey = (255 * torch.rand(5, 1, 8, 8, generator=chance(0))).expand(-1, 3, -1, -1)
    seen = recoloured(grey, most=0.4, generator=chance(1))
    torch.testing.assert_close(seen, seen[:, :1].expand_as(seen))
    assert recoloured(grey, most=0.0, generator=chance(1)) is grey
