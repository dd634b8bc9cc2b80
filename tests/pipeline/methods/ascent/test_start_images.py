from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.climb.seeds import StartKey
from pipeline.methods.ascent.pixels import start_image
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.window import Window

KEY = StartKey(seed=0, layer="conv5", unit=151, setting="sparse", sample=0, attempt=0)
CAFFENET = Preprocessing(227, 227, "BGR", np.array([104.0, 117.0, 123.0]), np.ones(3))
WHOLE = Window(0, 0, 227, 227)
PART = Window(32, 30, 195, 193)


def reference(key=KEY, image="mean_plus_rand", window=WHOLE):
    return start_image(key, image, "reference", CAFFENET, window)


def own(key=KEY, image="mean_plus_rand", window=PART):
    return start_image(key, image, "item", CAFFENET, window)


@pytest.mark.parametrize(
    ("seed", "first", "centre", "corner", "total", "norm", "spread", "lowest", "highest"),
    [
        (
            0,
            [17.64052346, 4.001572084, 9.787379841, 22.40893199],
            *(2.31062576109, 6.50209501546, 7869.5027605301, 3921.5236449688),
            *(9.973846880046, -48.5211765318, 42.8585564122),
        ),
        (
            1,
            [16.24345364, -6.117564137, -5.281717523, -10.72968622],
            *(-6.8301319908, -5.66439297906, 5626.7193578086, 3923.8742431730),
            *(9.979888913379, -43.2688728036, 41.6811767796),
        ),
    ],
)
def test_reference_starts_are_the_published_ones(seed, first, centre, corner, total, norm, spread, lowest, highest):
    image = reference(replace(KEY, seed=seed))
    assert image[0, 0, :4].tolist() == pytest.approx(first, rel=1e-9)
    found = [image[1, 113, 113], image[2, 226, 226], image.sum(), np.linalg.norm(image)]
    assert found == pytest.approx([centre, corner, total, norm], rel=1e-11)
    assert [image.std(), image.min(), image.max()] == pytest.approx([spread, lowest, highest], rel=1e-11)


def test_reference_sample_is_added_to_the_seed_and_shared_by_all_units():
    first = reference(replace(KEY, seed=1))
    assert np.array_equal(first, reference(replace(KEY, sample=1, unit=3, setting="contribution", layer="fc8")))


def test_reference_window_is_cut_from_the_whole():
    assert np.array_equal(reference(window=PART), reference()[:, 32:195, 30:193])


def test_uniform_start_covers_the_pixel_range():
    levels = reference(image="randu") + CAFFENET.full_mean
    assert levels[0, 0, :3].tolist() == pytest.approx([139.9474435, 182.3732884, 153.7046609], rel=1e-9)
    assert levels.sum() == pytest.approx(19720126.75949972, rel=1e-12)
    own_levels = own(image="randu") + CAFFENET.full_mean[:, 32:195, 30:193]
    assert 0 <= own_levels.min() < 0.1
    assert 254.9 < own_levels.max() <= 255


@pytest.mark.parametrize("start", ["item", "reference"])
def test_mean_start_is_zero(start):
    assert np.array_equal(start_image(KEY, "mean", start, CAFFENET, PART), np.zeros((3, 163, 163)))


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"layer": "conv4"}, {"unit": 150}, {"setting": "noise"}, {"sample": 1}, {"attempt": 1}],
)
def test_item_start_depends_on_every_part_of_its_key(change):
    assert not np.array_equal(own(), own(replace(KEY, **change)))


def test_item_start_is_noise_of_ten_levels_and_repeats():
    image = own()
    assert image.shape == (3, 163, 163)
    assert image.std() == pytest.approx(10, rel=0.01)
    assert image.mean() == pytest.approx(0, abs=0.15)
    assert np.array_equal(image, own())


def test_fresh_reference_start_is_another_one_at_every_attempt():
    starts = [reference(replace(KEY, attempt=attempt)) for attempt in range(3)]
    assert len({start.tobytes() for start in starts}) == 3
    assert np.array_equal(starts[2], reference(replace(KEY, attempt=2, unit=9)))


def test_starts_may_be_written_to():
    reference()[:] = 0
    assert reference().any()
