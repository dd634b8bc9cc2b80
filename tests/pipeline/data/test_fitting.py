"""The placement states correctly which part of the original the network gets, for each preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_forms import picture, saved
from PIL import Image

from pipeline.data.decoding import Decoded, decode
from pipeline.data.fitting import Box, Placement, fit, least_size
from pipeline.dataset_settings import PREPROCESSES

GREY = (120, 130, 140)
BILINEAR = Image.Resampling.BILINEAR
SIDES = st.integers(1, 400)
INPUTS = st.sampled_from([8, 64, 96, 130, 224, 227, 299])


def plain(pixels: np.ndarray) -> Decoded:
    return Decoded(pixels, *pixels.shape[:2])


def resized(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), BILINEAR)).astype(int)


def ramps(rows: int, columns: int) -> np.ndarray:
    """Levels that encode the position of a pixel: red its row, green its column, as a share of 255."""
    down, right = np.mgrid[0:rows, 0:columns]
    return (
        np.stack([255 * (down + 0.5) / rows, 255 * (right + 0.5) / columns, 0 * down], axis=2).round().astype(np.uint8)
    )


@given(rows=SIDES, columns=SIDES, height=INPUTS, width=INPUTS, preprocess=st.sampled_from(PREPROCESSES))
@settings(max_examples=60, deadline=None)
def test_boxes_come_back_from_the_original(rows, columns, height, width, preprocess):
    fitted = fit(Decoded(np.zeros((rows, columns, 3), np.uint8), rows, columns), preprocess, height, width, GREY)
    assert fitted.pixels.shape == (height, width, 3)
    box = Box(-3.0, 1.5, height / 2, width + 7.0)
    there = fitted.placement.original(box)
    back = in_the_input(fitted.placement, there)
    assert np.allclose(vector(back), vector(box), rtol=0, atol=1e-9 * max(height, width))
    inside = part_that_shows_the_original(fitted.placement, height, width)
    if preprocess == "pad":
        assert (
            fitted.pixels[round(inside.top) : round(inside.bottom), round(inside.left) : round(inside.right)] == 0
        ).all()
        shown = (round(inside.bottom) - round(inside.top)) * (round(inside.right) - round(inside.left))
        assert (fitted.pixels == GREY).all(2).sum() == height * width - shown
    else:
        assert np.allclose(vector(inside), [0, 0, height, width], atol=1e-9 * max(height, width))


def in_the_input(placement: Placement, box: Box) -> Box:
    """A box of the original in the input's coordinates."""
    return Box(
        (box.top - placement.first_row) / placement.row_scale,
        (box.left - placement.first_column) / placement.column_scale,
        (box.bottom - placement.first_row) / placement.row_scale,
        (box.right - placement.first_column) / placement.column_scale,
    )


def part_that_shows_the_original(placement: Placement, height: int, width: int) -> Box:
    whole = in_the_input(placement, Box(0, 0, placement.rows, placement.columns))
    return Box(
        max(0.0, whole.top), max(0.0, whole.left), min(float(height), whole.bottom), min(float(width), whole.right)
    )


def vector(box: Box) -> list[float]:
    return [box.top, box.left, box.bottom, box.right]


@given(
    rows=st.integers(60, 400),
    columns=st.integers(60, 400),
    height=st.sampled_from([64, 130, 227]),
    width=st.sampled_from([64, 130, 227]),
    preprocess=st.sampled_from(PREPROCESSES),
)
@settings(max_examples=40, deadline=None)
def test_a_pixel_shows_the_place_that_the_placement_names(rows, columns, height, width, preprocess):
    """The levels of the picture are coordinates, so a pixel of the result encodes its origin."""
    fitted = fit(plain(ramps(rows, columns)), preprocess, height, width, GREY)
    inside = part_that_shows_the_original(fitted.placement, height, width)
    for row, column in ((0.25, 0.5), (0.5, 0.25), (0.75, 0.6)):
        at_row = int(inside.top + row * (inside.bottom - inside.top))
        at_column = int(inside.left + column * (inside.right - inside.left))
        there = fitted.placement.original(Box(at_row, at_column, at_row + 1, at_column + 1))
        red, green, _ = fitted.pixels[at_row, at_column].astype(float)
        assert abs(red - 255 * (there.top + there.bottom) / 2 / rows) <= 2.0
        assert abs(green - 255 * (there.left + there.right) / 2 / columns) <= 2.0


@pytest.mark.parametrize(("side", "first"), [(227, 14), (224, 16)])
def test_squash_is_256_and_the_centre_as_published(side, first):
    pixels = picture(300, 180)
    fitted = fit(plain(pixels), "squash", side, side, GREY)
    whole = resized(pixels, 256, 256)[first : first + side, first : first + side]
    assert np.abs(fitted.pixels - whole).max() <= 1
    assert fitted.placement.first_row == pytest.approx(first * 300 / 256)
    assert fitted.placement.first_column == pytest.approx(first * 180 / 256)


@pytest.mark.parametrize(("side", "edge"), [(299, 342), (128, 146), (127, 127), (64, 64)])
def test_other_sizes_have_the_same_margin_and_small_ones_none(side, edge):
    pixels = picture(100, 150)
    fitted = fit(plain(pixels), "squash", side, side, GREY)
    first = (edge - side) // 2
    assert np.abs(fitted.pixels - resized(pixels, edge, edge)[first : first + side, first : first + side]).max() <= 1


@pytest.mark.parametrize("rows_columns", [(300, 180), (180, 300)])
def test_short_side_keeps_the_aspect_and_takes_the_centre(rows_columns):
    pixels = picture(*rows_columns)
    fitted = fit(plain(pixels), "short_side", 227, 227, GREY)
    rows, columns = (round(256 * side / 180) for side in rows_columns)
    top, left = (rows - 227) // 2, (columns - 227) // 2
    whole = resized(pixels, rows, columns)[top : top + 227, left : left + 227]
    assert np.abs(fitted.pixels - whole).max() <= 1


def test_resize_goes_straight_and_leaves_what_fits_as_it_is():
    pixels = picture(50, 80)
    assert np.array_equal(fit(plain(pixels), "resize", 40, 40, GREY).pixels, resized(pixels, 40, 40))
    assert fit(plain(pixels), "resize", 50, 80, GREY).pixels is pixels


FILTERS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@pytest.mark.parametrize("preprocess", ["squash", "short_side", "resize", "pad"])
def test_every_way_to_fit_uses_the_interpolation(preprocess):
    pixels = picture(90, 150)
    fitted = {name: fit(plain(pixels), preprocess, 64, 64, GREY, name).pixels for name in FILTERS}
    assert len({pixels.tobytes() for pixels in fitted.values()}) == len(FILTERS)
    assert np.array_equal(fit(plain(pixels), preprocess, 64, 64, GREY).pixels, fitted["bilinear"])


@pytest.mark.parametrize("interpolation", FILTERS)
def test_the_interpolation_is_pillow_s(interpolation):
    pixels = picture(90, 150)
    expected = Image.fromarray(pixels).resize((40, 40), Image.Resampling[interpolation.upper()])
    assert np.array_equal(fit(plain(pixels), "resize", 40, 40, GREY, interpolation).pixels, np.asarray(expected))


def test_pad_keeps_the_aspect_in_the_middle_of_the_fill():
    pixels = picture(50, 100)
    fitted = fit(plain(pixels), "pad", 64, 64, GREY)
    assert np.array_equal(fitted.pixels[16:48], resized(pixels, 32, 64))
    assert (fitted.pixels[:16] == GREY).all()
    assert (fitted.pixels[48:] == GREY).all()
    assert part_that_shows_the_original(fitted.placement, 64, 64) == Box(16, 0, 48, 64)
    assert fitted.placement.original(Box(16, 0, 48, 64)) == Box(0, 0, 50, 100)


@pytest.mark.parametrize("rows_columns", [(1, 20000), (20000, 1), (1, 1)])
@pytest.mark.parametrize("preprocess", PREPROCESSES)
def test_the_longest_of_pictures_takes_no_more_memory_than_it_has(rows_columns, preprocess):
    fitted = fit(plain(np.full((*rows_columns, 3), 9, np.uint8)), preprocess, 64, 64, GREY)
    assert fitted.pixels.shape == (64, 64, 3)
    assert (fitted.pixels == 9).all(2).any()


@pytest.mark.parametrize("preprocess", PREPROCESSES)
def test_reduced_decoding_shows_the_same_at_the_same_place(preprocess):
    data = saved(picture(501, 702), "JPEG", quality=95)
    whole = fit(decode(data, reduced_to=None), preprocess, 64, 64, GREY)
    reduced = decode(data, reduced_to=least_size(preprocess, 64, 64))
    assert reduced.reduction == 4
    less = fit(reduced, preprocess, 64, 64, GREY)
    assert less.placement == whole.placement
    assert np.abs(less.pixels.astype(int) - whole.pixels).mean() < 1.5
