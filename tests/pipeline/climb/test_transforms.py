from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.climb.transforms import jittered

IMAGES = torch.from_numpy(np.random.RandomState(0).normal(0, 10, (5, 3, 12, 10)))


def shifted(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """One image (channel, row, column) shifted pixel by pixel; beyond an edge is the edge."""
    rows, columns = image.shape[1:]
    out = torch.empty_like(image)
    for y, x in np.ndindex(rows, columns):
        out[:, y, x] = image[:, min(max(y + down, 0), rows - 1), min(max(x + right, 0), columns - 1)]
    return out


@pytest.mark.parametrize("iteration", range(4))
def test_the_shift_is_drawn_from_seed_and_iteration(iteration):
    random = np.random.Generator(np.random.Philox(key=[7, iteration]))
    down, right = random.integers([-3, -2], [4, 3]).tolist()
    moved = jittered(IMAGES, [0.25] * 5, 7, iteration)
    for image, one in zip(IMAGES, moved, strict=True):
        assert torch.equal(one, shifted(image, down, right))


def test_an_item_is_shifted_by_its_own_share_whatever_stands_beside_it():
    shares = [0.0, 0.25, 0.25, 0.1, 0.0]
    moved = jittered(IMAGES, shares, 3, 1)
    for at, share in enumerate(shares):
        alone = jittered(IMAGES[at : at + 1], [share], 3, 1)
        assert torch.equal(moved[at : at + 1], alone)
    assert torch.equal(moved[[0, 4]], IMAGES[[0, 4]])
    assert not torch.equal(moved[1:4], IMAGES[1:4])


def test_a_share_of_less_than_a_pixel_shifts_nothing():
    assert jittered(IMAGES, [0.08] * 5, 3, 1) is IMAGES


def test_the_gradient_goes_back_to_the_pixels_that_were_shown():
    image = IMAGES.clone().requires_grad_()
    moved = jittered(image, [0.25] * 5, 3, 1)
    (gradient,) = torch.autograd.grad(moved.sum(), image)
    assert gradient.sum() == moved.numel()  # an edge that is repeated counts as often as it is shown
