"""Every format decodes to the upright RGB that it shows; a damaged file raises BadImage with the reason."""

from __future__ import annotations

import io
import pickle
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_forms import BROKEN, FORMS, exif, ink, picture, saved
from PIL import Image

from pipeline.data import decoding
from pipeline.data.decoding import BadImage, Decoded, decode


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_shown_as_it_is_meant(name):
    upright, form = picture(), FORMS[name]
    decoded = decode(form.encode(upright), reduced_to=None)
    assert decoded.pixels.shape == upright.shape
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.rows, decoded.columns, decoded.reduction) == (48, 64, 1)
    off = np.abs(decoded.pixels.astype(float) - form.shows(upright)).mean()
    assert off <= form.error
    if form.shows(upright) is upright:
        assert np.abs(decoded.pixels.astype(float) - 255 + upright).mean() > 30  # nor is it the negative


def test_cmyk_is_read_as_another_reader_does():
    data = saved(ink(picture()), "JPEG", quality=95)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decode(data, reduced_to=None).pixels.astype(float) - other).mean() < 3


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_says_why(name):
    encode, word = BROKEN[name]
    with pytest.raises(BadImage) as raised:
        decode(encode(picture()), reduced_to=None)
    assert word in raised.value.reason
    assert "\n" not in raised.value.reason
    assert str(pickle.loads(pickle.dumps(raised.value))) == raised.value.reason


def test_every_suffix_that_pillow_reads_is_that_of_an_image():
    """Left out are formats that are only written or only looked at, films, and what starts another program."""
    suffixes = set(decoding.image_suffixes())
    assert {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".ico", ".tif", ".psd", ".gif", ".mpo"} <= suffixes
    assert not suffixes & {".pdf", ".eps", ".ps", ".mpg", ".h5", ".grib", ".wmf", ".palm", ".txt", ".json", ".cls"}
    assert (".avif" in suffixes) == ("AVIF" in Image.OPEN)


def test_a_program_in_postscript_is_no_image():
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(BadImage, match="not an image"):
        decode(data, reduced_to=None)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(
        [
            "jpeg",
            "png",
            "webp",
            "bmp",
            "tiff lzw",
            "gif",
            "jpeg turned 6",
            "png clear palette",
            "ppm",
            "ppm as text",
            "pgm 16 bit",
            "tga alpha, packed",
            "pcx",
            "sgi",
            "ico",
            "dds",
        ]
    ),
    scribbles=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
)
def test_any_damage_gives_pixels_or_a_bad_image_and_nothing_else(name, scribbles):
    data = bytearray(FORMS[name].encode(picture(16, 20)))
    for place, bytes_there in scribbles:
        at = int(place * (len(data) - 1))
        data[at : at + len(bytes_there)] = bytes_there
    try:
        decoded = decode(bytes(data), reduced_to=None)
    except BadImage:
        return
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (decoded.rows, decoded.columns, 3)


def test_no_warning_escapes():
    odd = bytearray(saved(picture(), "JPEG", exif=exif(1)))
    at = odd.index(b"Exif") + 14
    odd[at : at + 12] = b"\xff" * 12  # states 65,535 tags and has none
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert decode(bytes(odd), reduced_to=None).rows == 48
    assert caught == []


def test_an_image_is_too_large_by_its_promise_whatever_is_in_it(monkeypatch):
    monkeypatch.setattr(decoding, "MOST_PIXELS", 48 * 64)
    decode(saved(picture(48, 64), "PNG"), reduced_to=None)
    with pytest.raises(BadImage, match=r"too large: 48 × 65 pixels"):
        decode(saved(picture(48, 65), "PNG"), reduced_to=None)


@pytest.mark.parametrize(("least", "reduction"), [((48, 64), 4), ((50, 64), 2), ((24, 32), 8), ((192, 256), 1)])
def test_the_decoder_scales_down_to_no_less_than_what_is_asked(least, reduction):
    data = saved(picture(192, 256), "JPEG", quality=95)
    decoded = decode(data, reduced_to=least)
    assert (decoded.rows, decoded.columns, decoded.reduction) == (192, 256, reduction)
    assert decoded.pixels.shape == (192 // reduction, 256 // reduction, 3)
    small = np.asarray(Image.open(io.BytesIO(data)).reduce(reduction))
    assert np.abs(decoded.pixels.astype(float) - small).mean() < 2


@pytest.mark.parametrize("data", [FORMS["jpeg turned 6"].encode(picture(192, 256)), saved(picture(192, 256), "PNG")])
def test_what_is_turned_or_no_jpeg_is_not_reduced(data):
    assert decode(data, reduced_to=(24, 32)).reduction == 1


def test_levels_of_unknown_range_are_refused():
    data = saved((picture()[..., 0] * 3.0).astype(np.float32), "TIFF")
    with pytest.raises(BadImage, match="unknown range"):
        decode(data, reduced_to=None)


def test_decoding_twice_gives_the_same():
    data = FORMS["jpeg"].encode(picture())
    first: Decoded = decode(data, reduced_to=None)
    assert np.array_equal(first.pixels, decode(data, reduced_to=None).pixels)
