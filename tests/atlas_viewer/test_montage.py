"""Grids of the sizes that others read, and the display stretch."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from atlas_viewer import montage


def test_the_stretch_puts_the_mean_at_mid_grey_and_one_extreme_at_the_end():
    pixels = np.array([[[110, 100, 100], [95, 100, 100]]], "u1")  # one row of two pixels
    shown = montage.stretch(pixels, np.array([100.0, 100.0, 100.0]).reshape(1, 1, 3))
    assert shown.tolist() == [[[255, 128, 128], [64, 128, 128]]]  # 10 -> 1, 0 -> 1/2, -5 -> 1/4


def test_each_picture_has_a_stretch_of_its_own():
    pixels = np.random.default_rng(0).integers(60, 180, (3, 2, 6, 6, 3)).astype("u1")
    mean = np.full((1, 1, 3), 117.0)
    together = montage.stretch(pixels, mean)
    for unit in range(3):
        for sample in range(2):
            assert (together[unit, sample] == montage.stretch(pixels[unit, sample], mean)).all()
    ends = (together == 0) | (together == 255)
    assert ends.any(axis=(2, 3, 4)).all()


def test_a_picture_of_the_mean_is_mid_grey():
    pixels = np.full((4, 4, 3), 117, "u1")
    assert (montage.stretch(pixels, np.full((1, 1, 3), 117.0)) == 128).all()


@pytest.mark.parametrize(("units", "side"), [(96, 10), (256, 16), (384, 20), (1000, 32), (1, 1)])
def test_a_whole_layer_is_square(units, side):
    pictures = np.arange(units * 12, dtype="u1").reshape(units, 2, 2, 3)
    image = montage.whole_layer(pictures)
    assert image.shape == (2 * side, 2 * side, 3)
    last = units - 1
    row, column = divmod(last, side)
    assert (image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] == pictures[last]).all()


def test_a_class_montage_has_the_published_size_and_order():
    side = 5
    pictures = np.zeros((4, 9, side, side, 3), "u1")
    pictures[:] = np.arange(36).reshape(4, 9, 1, 1, 1)
    image = montage.class_montage(pictures)
    assert image.shape == (6 * side + 20, 6 * side + 20, 3)
    half = 3 * side + 10
    block = image[half:, :half][3:-3, 3:-3]  # the lower left block as the toolbox trims it
    tile, step = block[:side, :side], side + 2
    assert (tile == 18).all()  # style 2, sample 0
    assert (block[2 * step : 2 * step + side, step : step + side] == 25).all()  # style 2, sample 7
    assert (image[:3] == montage.GREY).all()


def test_a_grid_has_gaps_between_its_pictures_and_none_around():
    image = montage.grid(np.full((3, 2, 2, 3), 9, "u1"), columns=2, gap=1, background=7)
    assert image[:, :, 0].tolist() == [
        [9, 9, 7, 9, 9],
        [9, 9, 7, 9, 9],
        [7] * 5,
        [9, 9, 7, 7, 7],
        [9, 9, 7, 7, 7],
    ]


def test_too_many_pictures_for_a_grid_are_refused():
    with pytest.raises(ValueError, match="5 pictures do not fit into 2 by 2 cells"):
        montage.grid(np.zeros((5, 2, 2, 3), "u1"), columns=2, rows=2)


def test_a_saved_png_holds_the_very_pixels(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype("u1")
    montage.save(tmp_path / "a.png", image)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == image).all()


@pytest.mark.parametrize("size", [(5, 5), (7, 4), (55, 55), (90, 60), (300, 227)])
def test_a_quad_has_the_size_that_was_said_and_fits(size):
    generator = np.random.default_rng(0)
    patches, inside = generator.integers(0, 256, (4, *size, 3), "u1"), np.ones((4, *size), bool)
    drawn = montage.quad(patches, inside, 112)
    assert drawn.shape[:2] == montage.quad_size(size, 112)
    assert 90 <= max(drawn.shape) <= 112


def test_a_quad_hatches_what_is_outside_and_what_is_missing():
    patches, inside = np.full((2, 10, 10, 3), 7, "u1"), np.ones((2, 10, 10), bool)
    inside[1, :, :5] = False
    drawn = montage.quad(patches, inside, 22)
    hatched = montage.hatched((10, 10))
    assert (drawn[:10, :10] == 7).all()
    assert (drawn[:10, 12:17] == hatched[:, :5]).all() and (drawn[:10, 17:] == 7).all()
    assert (drawn[12:, :10] == hatched).all() and (drawn[12:, 12:] == hatched).all()
    assert len(np.unique(hatched)) == 2
