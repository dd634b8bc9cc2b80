"""The sprite of a unit: every form of every picture is found where its crop says, in few files, within a bound."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from atlas_viewer.site.packing import BYTES_PER_PIXEL, UnitSprite, webp


def cut(image: np.ndarray, place, form: int = 0) -> np.ndarray:
    """What a browser leaves of a sprite, with a form chosen by its number."""
    css, (height, width) = place.crop().views[0].css, place.size
    left = float(re.search(r"left:(-?[\d.]+)%", css)[1]) / 100
    step = re.search(r"top:calc\((-?[\d.]+)% - var\(--\w+,0\)\*([\d.]+)%\)", css)
    top = float(re.search(r"top:(-?[\d.]+)%", css)[1]) / 100
    if step:
        top = (float(step[1]) - form * float(step[2])) / 100
    y, x = round(-top * height), round(-left * width)
    return image[y : y + height, x : x + width]


def test_pictures_of_several_sizes_and_forms_are_found_in_one_exact_file(tmp_path):
    draw = np.random.default_rng(0).integers
    sprite = UnitSprite("3")
    small, large = draw(0, 256, (5, 7, 9, 3), "u1"), draw(0, 256, (2, 41, 33, 3), "u1")
    signals = {"raw": draw(0, 256, (3, 11, 11, 3), "u1"), "norm": draw(0, 256, (3, 11, 11), "u1")}
    placed = [*zip(sprite.add({"photo": small}), small), *zip(sprite.add({"photo": large}), large)]  # noqa: B905
    forms = sprite.add(signals)
    sprite.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["3.png"]
    image = np.asarray(Image.open(tmp_path / "3.png"))
    assert all((cut(image, place) == picture).all() for place, picture in placed)
    for at, place in enumerate(forms):
        assert (cut(image, place, 0) == signals["raw"][at]).all()
        assert (cut(image, place, 1) == signals["norm"][at][..., None]).all()


def test_large_pictures_are_kept_within_the_bound_and_a_full_page_is_not():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), "u1")
    bounded, full = webp(noise), webp(noise, full=True)
    assert len(bounded) < len(full) / 2
    smooth = np.asarray(Image.fromarray(noise[:10, :10]).resize((300, 300), Image.Resampling.BICUBIC))
    assert len(webp(smooth)) <= BYTES_PER_PIXEL * 300 * 300 and webp(smooth) == webp(smooth)
    assert Image.open(io.BytesIO(bounded)).size == (300, 300)
