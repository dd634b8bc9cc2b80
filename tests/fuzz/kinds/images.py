"""Images in every format that Pillow writes and the project reads, and a few that are made by hand."""

from __future__ import annotations

import io
import random
import warnings
from contextlib import suppress

import numpy as np
from PIL import Image

from pipeline.data.decoding import BadImage, decode, image_suffixes
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated

_BY_HAND = (
    b"P6 4 4 255\n" + bytes(48), b"P3 2 2 255\n" + b"0 9 9 " * 4, b"P1 3 2\n1 0 1 0 1 0\n",
    b"Pf 2 2\n-1.0\n" + bytes(16),
    b"#define x_width 8\n#define x_height 2\nstatic char x_bits[] = {0x1, 0x2};\n",
    b'/* XPM */\nstatic char * x[] = {"2 2 2 1", "a c #000000", "b c #ffffff", "ab", "ba"};\n',
    b"qoif" + bytes([0, 0, 0, 2, 0, 0, 0, 2, 3, 0]) + b"\xfe\1\2\3\xc2" + bytes(7) + b"\1",
    b"farbfeld" + bytes([0, 0, 0, 1, 0, 0, 0, 1]) + bytes(8),
)  # fmt: skip


class Images(Kind):
    """Image files, decoded at full size or smaller."""

    expected = (BadImage,)
    costly = 0.5

    def make_seeds(self) -> list[bytes]:
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (9, 11, 4), "u1")
        modes = {mode: Image.fromarray(pixels).convert(mode) for mode in ("RGB", "L", "P", "1", "RGBA", "CMYK", "LA")}
        modes["I;16"] = Image.fromarray(draw.integers(0, 60000, (9, 11), "u2"))
        formats = sorted({Image.registered_extensions()[suffix] for suffix in image_suffixes()})
        made = [*_BY_HAND]
        for name in formats:
            for mode in ("RGB", "L") if name in ("BLP", "ICNS") else modes:
                file = io.BytesIO()
                with warnings.catch_warnings(), suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    warnings.simplefilter("ignore")  # about formats that Pillow will drop
                    modes[mode].save(file, name)
                    made.append(file.getvalue())
        for form, more in (("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
                           ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True})):  # fmt: skip
            file = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            modes["RGB"].save(file, form, exif=exif, **more)
            made.append(file.getvalue())
        for form in ("GIF", "PNG", "WEBP", "TIFF"):
            file = io.BytesIO()
            modes["RGB"].save(file, form, save_all=True, append_images=[modes["RGB"].rotate(90)])
            made.append(file.getvalue())
        return made

    def case(self, random: random.Random) -> bytes:
        return mutated(random.choice(self.seeds), self.seeds, random)

    def read(self, case: bytes) -> None:
        decoded = decode(case, reduced_to=(4, 4) if len(case) % 2 else None)
        assert decoded.pixels.dtype == np.uint8 and decoded.pixels.shape[2:] == (3,)
