"""The drawings depend only on seed and index, cover every class, and are read back from a file unchanged."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import doodles
from pipeline.data.doodles import CLASSES, Doodles, draw, label_of, render
from pipeline.data.training_images import drawings


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**63), index=st.integers(0, 2**40))
def test_a_drawing_is_the_same_whenever_it_is_drawn(seed: int, index: int) -> None:
    pixels, label = draw(seed, index)
    np.random.seed(1)
    random.seed(1)
    draw(seed + 1, index)
    again, label_again = draw(seed, index)
    assert np.array_equal(pixels, again)
    assert label == label_again


def test_the_order_of_drawing_plays_no_part() -> None:
    forward = [draw(3, index)[0] for index in range(8)]
    backward = [draw(3, index)[0] for index in reversed(range(8))]
    assert np.array_equal(np.stack(forward), np.stack(backward[::-1]))


def test_another_seed_or_index_gives_another_drawing() -> None:
    drawn = {draw(seed, index)[0].tobytes() for seed in (0, 1, 2) for index in (0, 1, 2)}
    assert len(drawn) == 9


@pytest.mark.parametrize("size", [48, 96, 130])
def test_a_drawing_has_the_size_asked_for(size: int) -> None:
    pixels, label = draw(0, 5, size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert 0 <= label < len(CLASSES)


def test_a_larger_drawing_shows_the_same_thing() -> None:
    small = render(_label("house"), _plain(4), 48).astype(float)
    large = render(_label("house"), _plain(4), 96).astype(float)
    halved = large.reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.8


def test_every_class_appears_about_equally_often() -> None:
    labels = [label_of(11, index) for index in range(60 * len(CLASSES))]
    assert labels[:20] == [draw(11, index, 24)[1] for index in range(20)]
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert len(CLASSES) >= 24
    assert counts.min() > 25
    assert counts.max() < 110


def test_names_of_classes_are_all_different() -> None:
    assert len(set(CLASSES)) == len(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_covers_a_good_part_of_its_picture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, _ = doodles._SHAPES[name]
    covered = []
    for seed in range(4):
        pixels = render(_label(name), _plain(seed), 96).astype(int)
        with monkeypatch.context() as patch:
            patch.setitem(doodles._SHAPES, name, (lambda pen, rng: None, doodles._SHAPES[name][1]))
            background = render(_label(name), _plain(seed), 96).astype(int)
        covered.append((np.abs(pixels - background).max(axis=2) > 40).mean())
    assert 0.05 < np.mean(covered) < 0.85


def test_edges_are_antialiased() -> None:
    shares = [len(np.unique(draw(2, index)[0].reshape(-1, 3), axis=0)) for index in range(5)]
    assert min(shares) > 100


def test_a_dataset_has_the_length_labels_and_keys_of_its_drawings() -> None:
    source = Doodles(seed=7, count=3, size=48)
    assert len(source) == 3
    assert source.classes == CLASSES
    assert source.key(2) == "doodles/7/000002"
    pixels, label = source[2]
    assert np.array_equal(pixels, draw(7, 2, 48)[0])
    assert label == draw(7, 2, 48)[1]


@pytest.mark.parametrize("index", [-1, 3])
def test_a_dataset_ends_at_its_count(index: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.2"):
        Doodles(seed=7, count=3, size=48)[index]


def test_drawings_on_disk_are_those_drawn_one_by_one_and_are_drawn_once(tmp_path) -> None:
    said: list[str] = []
    asked = {"seed": 5, "count": 7, "size": 32, "folder": tmp_path, "processes": 1, "log": said.append}
    first, second = drawings(**asked), drawings(**asked)
    assert len(said) == 1
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.pixels, np.stack([draw(5, index, 32)[0] for index in range(7)]))
    assert first.labels.tolist() == [draw(5, index, 32)[1] for index in range(7)]
    assert not list(tmp_path.glob("*.part*"))


def _label(name: str) -> int:
    return CLASSES.index(name)


def _plain(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, 99]))
