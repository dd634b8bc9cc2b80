"""Images for training are decoded once, in their order, without those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.image_files import open_folder
from pipeline.data.training_images import Pictures, read_pictures
from pipeline.errors import DataError


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of three uniform pictures each, PNG, with level 10 · class + number in every channel."""
    for number, name in enumerate(("cat", "dog")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for place in range(3):
            Image.new("RGB", (20, 16), (10 * number + place,) * 3).save(folder / f"{place}.png")
    return tmp_path / "photos"


def read(root: Path, *, bad_share: float = 0.0, log=lambda line: None) -> Pictures:
    source = open_folder("photos", root, [], limit=None, cache=root.parent / "cache", progress=None)
    return read_pictures(
        source, height=8, width=10, preprocess="resize", fill=(0, 0, 0), bad_share=bad_share,
        folder=root.parent / "decoded", threads=2, log=log,
    )  # fmt: skip


def levels(pictures: Pictures) -> list[int]:
    return pictures.pixels(slice(0, len(pictures)))[:, 0, 0, 0].tolist()


def test_pictures_come_in_their_order_with_their_classes(photos):
    found = read(photos)
    assert levels(found) == [0, 1, 2, 10, 11, 12]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (found.size, found.names, len(found)) == ((8, 10), ("cat", "dog"), 6)
    assert found.pixels(np.array([5, 0])).shape == (2, 8, 10, 3)


def test_a_bad_picture_is_left_out_and_named(photos):
    (photos / "cat" / "1.png").write_bytes(b"no picture")
    said: list[str] = []
    found = read(photos, bad_share=0.2, log=said.append)
    assert levels(found) == [0, 2, 10, 11, 12]
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    assert [line for line in said if "cat/1" in line and line.startswith("left out")]
    with pytest.raises(DataError):
        (photos / "cat" / "2.png").write_bytes(b"no picture either")
        read(photos)


def test_pictures_are_decoded_once(photos):
    said: list[str] = []
    first = read(photos, log=said.append)
    assert said
    said.clear()
    again = read(photos, log=said.append)
    assert said == []
    assert np.array_equal(first.stored, again.stored)
    assert levels(first) == levels(again)
    Image.new("RGB", (20, 16), (99,) * 3).save(photos / "dog" / "1.png")
    assert levels(read(photos, log=said.append)) == [0, 1, 2, 10, 99, 12]
    assert said


def test_split_pictures_are_all_of_them_with_their_own_labels(photos):
    kept, held_out = read(photos).split(2, seed=1)
    assert sorted(levels(kept) + levels(held_out)) == [0, 1, 2, 10, 11, 12]
    for part in (kept, held_out):
        assert [level // 10 for level in levels(part)] == part.labels.tolist()
