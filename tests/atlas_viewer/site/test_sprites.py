"""Sprites: the crop that a page shows is the picture, and no neighbour shines in."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from atlas_viewer.montage import GREY
from atlas_viewer.site.sprites import Sprite, thumb_size, thumbs


def cut(image: np.ndarray, crop, size: tuple[int, int]) -> np.ndarray:
    """What a browser leaves of a sprite: percentages are of the tile, which is as large as the picture."""
    left, top, width = (float(part) / 100 for part in re.findall(r":(-?[\d.]+)", crop.views[0].css))
    view = crop.views[0]
    assert round(width * size[1]) == view.width and (view.width, view.height) == image.shape[1::-1]
    y, x = round(-top * size[0]), round(-left * size[1])
    return image[y : y + size[0], x : x + size[1]]


@pytest.mark.parametrize("size", [(7, 7), (11, 9), (64, 64), (22, 30)])
def test_a_crop_shows_exactly_its_picture(tmp_path, size):
    pictures = np.random.default_rng(0).integers(0, 256, (5, *size, 3)).astype("u1")
    sprite = Sprite("3.sparse", size, count=5, columns=2)
    sprite.draw(tmp_path, pictures, 255 - pictures, np.ones(5, bool))
    for form, drawn in (("true", pictures), ("stretched", 255 - pictures)):
        image = np.asarray(Image.open(tmp_path / sprite.name(form)))
        for cell in range(5):
            assert (cut(image, sprite.crop(cell), size) == drawn[cell]).all()


def test_a_picture_is_surrounded_by_its_own_edge(tmp_path):
    pictures = np.stack([np.full((6, 6, 3), level, "u1") for level in (10, 200)])
    sprite = Sprite("a", (6, 6), count=2, columns=2)
    sprite.draw(tmp_path, pictures, pictures, np.ones(2, bool))
    image = np.asarray(Image.open(tmp_path / "a.true.png"))
    assert (image[:, :8] == 10).all() and (image[:, 8:] == 200).all()


def test_a_cell_without_a_picture_is_grey(tmp_path):
    pictures = np.zeros((2, 6, 6, 3), "u1")
    Sprite("a", (6, 6), count=2, columns=2).draw(tmp_path, pictures, pictures, np.array([True, False]))
    assert (np.asarray(Image.open(tmp_path / "a.true.png"))[:, 8:] == GREY).all()


def test_large_pictures_stay_close_to_themselves(tmp_path):
    y, x = np.mgrid[0:96, 0:96] / 96
    picture = np.stack([128 + 60 * np.sin(9 * x), 128 + 60 * np.sin(7 * y), 128 + 50 * x * y], -1).astype("u1")
    sprite = Sprite("a", (96, 96), count=1, columns=1)
    sprite.draw(tmp_path, picture[None], picture[None], np.ones(1, bool))
    shown = cut(np.asarray(Image.open(tmp_path / "a.true.webp")), sprite.crop(0), (96, 96))
    assert np.abs(shown.astype(int) - picture).mean() < 2.5


def test_thumbs_keep_the_proportion_and_never_grow():
    assert thumb_size((227, 227), 112) == (112, 112)
    assert thumb_size((100, 200), 50) == (25, 50)
    assert thumb_size((7, 7), 112) == (7, 7)
    assert thumbs(np.zeros((2, 100, 200, 3), "u1"), (25, 50)).shape == (2, 25, 50, 3)


def test_a_crop_can_leave_out_what_is_outside_the_image():
    sprite = Sprite("a", (10, 20), count=1, columns=1)
    assert sprite.crop(0).clip == ""
    crop = sprite.crop(0, inside=(0.1, 0.2, 0.7, 1))
    assert crop.clip == "clip-path:inset(10% 0 30% 20%)"  # CSS goes round from the top: right, bottom, left


def test_grey_pictures_make_grey_files(tmp_path):
    sprite = Sprite("a", (6, 6), count=2, columns=2, forms=("photo",))
    sprite.draw_forms(tmp_path, {"photo": np.full((2, 6, 6), 9, "u1")}, np.ones(2, bool))
    image = Image.open(tmp_path / "a.photo.png")
    assert image.mode == "L" and (np.asarray(image) == 9).all()
    assert sprite.crop(1).views[0].file == "a.photo.png"
