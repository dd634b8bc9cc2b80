"""One picture in every file format, and files that are damaged in many ways."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Form:
    """A file format.

    encode : upright RGB pixels → bytes of a file.
    shows : the pixels that decoding should return.
    error : tolerated mean difference, in levels.
    """

    encode: Callable[[np.ndarray], bytes]
    shows: Callable[[np.ndarray], np.ndarray]
    error: float


def picture(rows: int = 48, columns: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth RGB pixels without symmetry."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((columns, rows), Image.Resampling.BICUBIC))


def saved(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as a camera stores them with this EXIF orientation."""
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),  # the first row is the picture's left side, from its top
        6: np.rot90(upright, 1),  # the right side, from its top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # the right side, from its bottom
        8: np.rot90(upright, -1),  # the left side, from its bottom
    }
    return np.ascontiguousarray(turned[orientation])


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png(levels: np.ndarray, colour: int) -> bytes:
    """A PNG of 16 bits a channel, written by hand; colour : 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    rows, columns = levels.shape[:2]
    lines = levels.astype(">u2").reshape(rows, -1).view(np.uint8).reshape(rows, -1)
    data = b"".join(b"\0" + line.tobytes() for line in lines)
    head = struct.pack(">IIBBBBB", columns, rows, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff16(levels: np.ndarray, photometric: int = 2) -> bytes:
    """A plain little-endian TIFF of 16 bits a channel, written by hand."""
    rows, columns, channels = levels.shape
    data = levels.astype("<u2").tobytes()
    bits_at = 8 + len(data)
    tags = [
        (256, 3, 1, columns), (257, 3, 1, rows), (258, 3, channels, bits_at if channels > 2 else 16), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, rows), (279, 4, 1, len(data)),
    ]  # fmt: skip
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0\0\0\0"
    bits = struct.pack("<4H", 16, 16, 16, 16)
    return struct.pack("<2sHI", b"II", 42, bits_at + len(bits)) + data + bits + table


def grey(upright: np.ndarray) -> np.ndarray:
    return np.rint(upright @ LUMA)[..., None].repeat(3, axis=2)


def deep(upright: np.ndarray) -> np.ndarray:
    """Levels that use all 16 bits: clipping to 8 bits would show white."""
    return upright.astype(np.uint16) * 257


def deep_grey(upright: np.ndarray) -> np.ndarray:
    return grey(upright)[..., :1].astype(np.uint16) * 257


def clear(upright: np.ndarray) -> np.ndarray:
    """Alpha that increases from left to right."""
    ramp = np.linspace(0, 255, upright.shape[1]).astype(np.uint8)
    return np.broadcast_to(ramp[None, :, None], (*upright.shape[:2], 1))


def on_white(upright: np.ndarray) -> np.ndarray:
    share = clear(upright) / 255
    return upright * share + 255 * (1 - share)


def rgba(upright: np.ndarray) -> Image.Image:
    return Image.fromarray(np.concatenate([upright, clear(upright)], axis=2))


def ink(upright: np.ndarray) -> Image.Image:
    return Image.fromarray(upright).convert("CMYK")


def palette(upright: np.ndarray) -> Image.Image:
    return Image.fromarray(upright).quantize(256, dither=Image.Dither.NONE)


def clear_palette(upright: np.ndarray) -> bytes:
    """A palette in which only the dark entries are opaque."""
    image = palette(upright)
    return saved(image, "PNG", transparency=bytes(255 if dark else 0 for dark in _dark(image)))


def shown_clear_palette(upright: np.ndarray) -> np.ndarray:
    image = palette(upright)
    plain = np.asarray(image.convert("RGB"))
    dark = np.array(_dark(image))[np.asarray(image)]
    return np.where(dark[..., None], plain, 255)


def _dark(image: Image.Image) -> list[bool]:
    colours = np.array(image.getpalette()).reshape(-1, 3)
    return [bool(dark) for dark in colours.sum(1) < 384] + [False] * (256 - len(colours))


def two_frames(upright: np.ndarray, kind: str, **options: object) -> bytes:
    return saved(upright, kind, save_all=True, append_images=[Image.fromarray(255 - upright)], **options)


def plain_ppm(upright: np.ndarray) -> bytes:
    return b"P3\n%d %d\n255\n" % upright.shape[1::-1] + b"\n".join(b"%d" % level for level in upright.ravel())


def few_levels(upright: np.ndarray, most: int) -> bytes:
    """A PPM whose levels go from 0 to `most`."""
    levels = np.rint(upright / 255 * most).astype("u1" if most < 256 else ">u2")
    return b"P6\n%d %d\n%d\n" % (*upright.shape[1::-1], most) + levels.tobytes()


def icon(upright: np.ndarray) -> bytes:
    """An ICO of one PNG; its directory writes a side of 256 or more as 0."""
    rows, columns = (side if side < 256 else 0 for side in upright.shape[:2])
    data = saved(upright, "PNG")
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, columns, rows, 0, 0, 1, 24, len(data), 22) + data


def _same(upright: np.ndarray) -> np.ndarray:
    return upright


def _turned(kind: str, orientation: int, **options: object) -> Callable[[np.ndarray], bytes]:
    return lambda upright: saved(stored(upright, orientation), kind, exif=exif(orientation), **options)


FORMS: dict[str, Form] = {
    "jpeg": Form(lambda u: saved(u, "JPEG", quality=95), _same, 3),
    "jpeg progressive": Form(lambda u: saved(u, "JPEG", quality=95, progressive=True), _same, 3),
    "jpeg grey": Form(lambda u: saved(Image.fromarray(u).convert("L"), "JPEG", quality=95), grey, 3),
    "jpeg cmyk": Form(lambda u: saved(ink(u), "JPEG", quality=95), _same, 6),
    "png": Form(lambda u: saved(u, "PNG"), _same, 0),
    "png grey": Form(lambda u: saved(Image.fromarray(u).convert("L"), "PNG"), grey, 1),
    "png one bit": Form(
        lambda u: saved(Image.fromarray(u).convert("L").point(lambda level: 255 * (level > 127), "1"), "PNG"),
        lambda u: 255 * (np.asarray(Image.fromarray(u).convert("L"))[..., None] > 127).repeat(3, axis=2),
        0,
    ),
    "png palette": Form(lambda u: saved(palette(u), "PNG"), _same, 8),
    "png clear palette": Form(clear_palette, shown_clear_palette, 0),
    "png alpha": Form(lambda u: saved(rgba(u), "PNG"), on_white, 1),
    "png grey alpha": Form(
        lambda u: saved(rgba(u).convert("LA"), "PNG"), lambda u: on_white(grey(u)), 1
    ),
    "png colour key": Form(
        lambda u: saved(u, "PNG", transparency=tuple(u[0, 0].tolist())),
        lambda u: np.where((u == u[0, 0]).all(2, keepdims=True), 255, u),
        0,
    ),
    "png 16 bit grey": Form(lambda u: png(deep_grey(u), 0), grey, 0.5),
    "png 16 bit": Form(lambda u: png(deep(u), 2), _same, 0),
    "png 16 bit alpha": Form(
        lambda u: png(np.concatenate([deep(u), deep(clear(u))], axis=2), 6), on_white, 1
    ),
    "png animated": Form(lambda u: two_frames(u, "PNG"), _same, 0),
    "webp": Form(lambda u: saved(u, "WEBP", quality=95), _same, 6),
    "webp lossless": Form(lambda u: saved(u, "WEBP", lossless=True), _same, 0),
    "webp alpha": Form(lambda u: saved(rgba(u), "WEBP", lossless=True, exact=True), on_white, 1),
    "webp animated": Form(lambda u: two_frames(u, "WEBP", lossless=True), _same, 0),
    "bmp": Form(lambda u: saved(u, "BMP"), _same, 0),
    "bmp palette": Form(lambda u: saved(palette(u), "BMP"), _same, 8),
    "tiff": Form(lambda u: saved(u, "TIFF"), _same, 0),
    "tiff lzw": Form(lambda u: saved(u, "TIFF", compression="tiff_lzw"), _same, 0),
    "tiff cmyk": Form(lambda u: saved(ink(u), "TIFF"), _same, 3),
    "tiff alpha": Form(lambda u: saved(rgba(u), "TIFF"), on_white, 1),
    "tiff 16 bit grey": Form(lambda u: tiff16(deep_grey(u), photometric=1), grey, 0.5),
    "tiff 16 bit grey, white is zero": Form(lambda u: tiff16(65535 - deep_grey(u), photometric=0), grey, 0.5),
    "tiff 16 bit": Form(lambda u: tiff16(deep(u)), _same, 0),
    "tiff float": Form(
        lambda u: saved((grey(u)[..., 0] / 255).astype(np.float32), "TIFF"), grey, 0.5
    ),
    "tiff of two pages": Form(lambda u: two_frames(u, "TIFF"), _same, 0),
    "tiff turned": Form(_turned("TIFF", 6), _same, 0),
    "gif": Form(lambda u: saved(palette(u), "GIF"), _same, 8),
    "gif animated": Form(lambda u: two_frames(u, "GIF"), _same, 16),
    "png turned": Form(_turned("PNG", 5), _same, 0),
    "webp turned": Form(_turned("WEBP", 8, lossless=True), _same, 0),
    "ppm": Form(lambda u: saved(u, "PPM"), _same, 0),
    "ppm as text": Form(plain_ppm, _same, 0),
    "ppm with a comment": Form(lambda u: saved(u, "PPM").replace(b"P6\n", b"P6\n# a camera's\n", 1), _same, 0),
    "ppm of few levels": Form(lambda u: few_levels(u, 15), _same, 9),
    "ppm 16 bit": Form(lambda u: few_levels(u, 65535), _same, 1),
    "pgm": Form(lambda u: saved(Image.fromarray(u).convert("L"), "PPM"), grey, 1),
    "pgm 16 bit": Form(
        lambda u: b"P5\n%d %d\n65535\n" % u.shape[1::-1] + deep_grey(u).astype(">u2").tobytes(), grey, 1
    ),
    "pbm": Form(
        lambda u: saved(Image.fromarray(u).convert("L").point(lambda level: 255 * (level > 127), "1"), "PPM"),
        lambda u: 255 * (np.asarray(Image.fromarray(u).convert("L"))[..., None] > 127).repeat(3, axis=2),
        0,
    ),
    "pfm": Form(lambda u: saved(Image.fromarray((grey(u)[..., 0] / 255).astype(np.float32)), "PPM"), grey, 1),
    "tga": Form(lambda u: saved(u, "TGA"), _same, 0),
    "tga alpha, packed": Form(lambda u: saved(rgba(u), "TGA", compression="tga_rle"), on_white, 1),
    "pcx": Form(lambda u: saved(u, "PCX"), _same, 0),
    "sgi": Form(lambda u: saved(u, "SGI"), _same, 0),
    "jpeg 2000": Form(lambda u: saved(u, "JPEG2000"), _same, 3),
    "ico": Form(icon, _same, 0),
    "dds": Form(lambda u: saved(u, "DDS"), _same, 0),
    "mpo": Form(lambda u: two_frames(u, "MPO", quality=95), _same, 3),
    "qoi": Form(lambda u: saved(u, "QOI"), _same, 0),
    **{f"jpeg turned {n}": Form(_turned("JPEG", n, quality=95), _same, 3) for n in range(1, 9)},
}  # fmt: skip


def huge() -> bytes:
    """A PNG whose header states 60,000 × 60,000 pixels, which would take 10 GB."""
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(180001))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _cut(kind: str, share: float = 0.5, **options: object) -> Callable[[np.ndarray], bytes]:
    def encode(upright: np.ndarray) -> bytes:
        whole = saved(upright, kind, **options)
        return whole[: int(len(whole) * share)]

    return encode


def scribbled_png(upright: np.ndarray) -> bytes:
    """A PNG with bytes overwritten in the middle of its pixels."""
    whole = bytearray(saved(upright, "PNG"))
    middle = len(whole) // 2
    whole[middle : middle + 64] = bytes(range(64))
    return bytes(whole)


# Kind of damage → the file, and a word of the expected reason
BROKEN: dict[str, tuple[Callable[[np.ndarray], bytes], str]] = {
    "nothing in it": (lambda u: b"", "empty"),
    "text": (lambda u: b"this is no image\n" * 20, "not an image"),
    "a web page": (lambda u: b"<!DOCTYPE html><html><body>404</body></html>", "not an image"),
    "zeros": (lambda u: bytes(5000), "not an image"),
    "jpeg cut short": (_cut("JPEG"), "damaged"),
    "jpeg cut in its head": (lambda u: saved(u, "JPEG")[:20], "damaged"),
    "png cut short": (_cut("PNG"), "damaged"),
    "png scribbled over": (scribbled_png, "damaged"),
    "webp cut short": (_cut("WEBP"), ""),
    "tiff cut short": (_cut("TIFF", 0.9), ""),
    "bmp cut short": (_cut("BMP"), "damaged"),
    "too large": (lambda u: huge(), "too large"),
}
