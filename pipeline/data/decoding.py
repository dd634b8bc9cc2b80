"""Decoding of image files into upright RGB pixels."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFile

MOST_PIXELS = 2**28 // 3  # a quarter of a gibibyte of RGB; near the size at which Pillow warns of a bomb
MOST_BYTES = 2**29  # of a file; an image of MOST_PIXELS hardly takes more
TRANSPARENT_FILL = 255  # level behind transparent pixels: white, as on a page
# Formats that Pillow opens but that are not read: EPS starts another program, MPEG is a film without a decoder.
_NOT_READ = {"EPS", "MPEG"}
_USUAL = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")  # tried first
_ORIENTATION, _PHOTOMETRIC, _WHITE_IS_ZERO = 0x0112, 262, 0  # tags of EXIF and TIFF
# EXIF orientation → the transposition that makes the stored pixels upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(ValueError):
    """An image that cannot be used, with the reason. It is skipped and listed, and the run continues."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Decoded:
    """An upright image, possibly scaled down by the decoder.

    pixels : (row, column, rgb) uint8.
    rows, columns : of the upright original.
    reduction : original pixels along the side of one of these pixels: 1, or 2, 4 or 8 if the decoder scaled down. The
        last row and column may then extend beyond the original.
    """

    pixels: np.ndarray
    rows: int
    columns: int
    reduction: int = 1


@cache
def image_suffixes() -> tuple[str, ...]:
    """The suffixes, in lower case, of the still pictures that this build of Pillow reads.

    Left out are formats that Pillow only writes, and those of which it reads nothing but the head.
    """
    readable = {*_formats(), "MPO"}  # a JPEG of several pictures, which the JPEG reader opens
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in readable))


@cache
def _formats() -> tuple[str, ...]:
    """The formats that are read, those with a signature first, because others may take any bytes for their own."""
    registered = {*Image.registered_extensions().values(), "DIB"} - _NOT_READ
    opened = {name: Image.OPEN[name] for name in registered if name in Image.OPEN}
    stubs = {
        name
        for name, (factory, _) in opened.items()
        if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    }
    names = [*(name for name in _USUAL if name in opened), *sorted(opened.keys() - stubs - {*_USUAL})]
    return tuple(sorted(names, key=lambda name: opened[name][1] is None))


def decode(data: bytes, *, reduced_to: tuple[int, int] | None) -> Decoded:
    """The first frame of an encoded image, as upright RGB.

    Reads the formats of `image_suffixes`. Grey levels are repeated, palettes are looked up, and channels of 16 bits
    keep their upper 8 bits. CMYK is converted without a colour profile (JPEG's is inverted, as all software writes it).
    The EXIF orientation is applied. Transparent pixels are composited over white.

    data : the bytes of the file.
    reduced_to : the JPEG decoder may scale down (by 2, 4 or 8, in the frequency domain) to no less than these (rows,
        columns); None to keep the full size. Images with an EXIF rotation are not reduced.
    Departure: Caffe's reader drops the alpha channel and shows the colour that is stored under transparent pixels.
    Raises BadImage for a file that is empty, damaged, cut short, not an image, or larger than MOST_PIXELS.
    """
    _quiet()
    if not data:
        raise BadImage("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            return _read(image, reduced_to)
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"too large: more than {MOST_PIXELS} pixels") from error
    except Image.UnidentifiedImageError as error:
        known = _has_signature(data)
        reason = "damaged: its head cannot be read" if known else f"not an image (begins with {data[:8]!r})"
        raise BadImage(reason) from error
    except Exception as error:  # Pillow's readers raise nearly any exception on damaged files
        raise BadImage(f"damaged: {_line(error)}") from error


def _has_signature(data: bytes) -> bool:
    """Whether the beginning is that of some format."""
    head = data[:16].ljust(16, b"\0")  # some look at bytes that a shorter file lacks
    accepts = (Image.OPEN[name][1] for name in _formats())
    return any(accept is not None and accept(head) is True for accept in accepts)


def _quiet() -> None:
    """Ignore Pillow's warnings about odd files, because only the pixels matter.

    A filter is installed because catching warnings is not safe in threads.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", "") != r"PIL\.":
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _read(image: Image.Image, reduced_to: tuple[int, int] | None) -> Decoded:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise BadImage(f"too large: {height} × {width} pixels, more than {MOST_PIXELS}")
    reduction = 1
    if reduced_to is not None and image.format in ("JPEG", "MPO") and _orientation(image) == 1:
        drafted = image.draft(None, (reduced_to[1], reduced_to[0]))
        reduction = round(width / drafted[1][2]) if drafted is not None else 1
    image.load()
    turn = _UPRIGHT.get(_orientation(image))  # read after loading, because loading turns a TIFF upright
    pixels = np.asarray(_rgb(image) if turn is None else _rgb(image).transpose(turn))
    if reduction > 1:
        return Decoded(pixels, height, width, reduction)
    return Decoded(pixels, pixels.shape[0], pixels.shape[1])


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels may be valid although the EXIF data is damaged
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """The loaded image, converted to RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_eight_bits(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, (TRANSPARENT_FILL, TRANSPARENT_FILL, TRANSPARENT_FILL, 255))
        return Image.alpha_composite(white, clear).convert("RGB")
    if image.mode == "LAB":
        raise BadImage("colour space LAB is not read")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Grey levels (row, column) uint8 of an image with one channel of more than 8 bits."""
    levels = np.asarray(image)
    if image.mode == "F":
        if not np.all((levels >= 0) & (levels <= 1)):
            raise BadImage("floating point levels outside 0…1, of unknown range")
        return np.rint(levels * 255).astype(np.uint8)
    if levels.min() < 0 or levels.max() > 65535:
        raise BadImage("levels of 32 bits, of unknown range")
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
        levels = 65535 - levels
    return (levels >> 8).astype(np.uint8)  # as Pillow does for colour


def _line(error: Exception) -> str:
    """The message of an exception, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
