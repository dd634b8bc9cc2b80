"""Tar and zip files of images, with the small files beside them that webdataset writes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile

from PIL import Image

from pipeline.data.archive import open_archive
from pipeline.data.decoding import BadImage, decode
from pipeline.nets.archive import extract
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated

_NAMES = ("a/1.png", "b/2.png", "../out.png", "/abs/3.png", "c\\4.png", "ä.png", "x" * 120 + "/5.png", "6.png")


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (9, 99, 200)).save(file, "PNG")
    return file.getvalue()


class Archives(Kind):
    """Archives, read from the index to the pixels."""

    costly = 2.0

    def make_seeds(self) -> list[bytes]:
        members = [(name, _picture()) for name in _NAMES]
        members += [("6.cls", b"3"), ("6.json", b'{"label": 3, "text": "a cat"}'), ("6.txt", b"a cat")]
        made = []
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w", format=form) as archive:
                for name, data in members:
                    entry = tarfile.TarInfo(name if form != tarfile.USTAR_FORMAT else name[-90:])
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
                for kind, target in (
                    (tarfile.SYMTYPE, "/etc/passwd"),
                    (tarfile.LNKTYPE, "6.png"),
                    (tarfile.CHRTYPE, ""),
                ):
                    entry = tarfile.TarInfo(f"link{kind.decode()}.png")
                    entry.type, entry.linkname = kind, target
                    archive.addfile(entry)
            made.append(file.getvalue())
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", method) as archive:
                for name, data in members:
                    archive.writestr(name, data)
            made.append(file.getvalue())
        return made

    def case(self, random: random.Random) -> bytes:
        case = mutated(random.choice(self.seeds), self.seeds, random)
        return _with_sums(case) if random.random() < 0.6 and case[257:262] == b"ustar" else case

    def read(self, case: bytes) -> None:
        path = self.folder / ("a.tar" if case[257:262] == b"ustar" else "a.zip")
        path.write_bytes(case)
        source = open_archive("toy", str(path), (), limit=None, cache=self.folder / "cache", progress=None)
        for key in source.index.keys:
            assert not key.startswith("/") and ".." not in key.split("/") and "\0" not in key, key
        for _, load in source.loads(0, min(len(source), 20)):
            try:
                decode(load(), reduced_to=None)
            except BadImage as error:
                assert str(error).isprintable()


class Members(Archives):
    """Archives from which one member is taken out, as from a published one; tars are compressed too."""

    costly = 1.0

    def case(self, random: random.Random) -> bytes:
        case = super().case(random)
        if case[257:262] == b"ustar" and random.random() < 0.5:
            case = random.choice((gzip.compress, bz2.compress, lzma.compress))(case)
            return mutated(case, self.seeds, random) if random.random() < 0.7 else case
        return case

    def read(self, case: bytes) -> None:
        path, folder = self.folder / "archive", self.folder / "out"
        path.write_bytes(case)
        for member in ("6.png", "../out.png"):
            extract(path, member, folder / "member")
        assert {each.name for each in self.folder.iterdir()} <= {"archive", "out"}


def _with_sums(case: bytes) -> bytes:
    """The tar with the check sums of its headers set right, so that readers look at what was changed."""
    blocks = [bytearray(case[at : at + 512]) for at in range(0, len(case), 512)]
    for block in blocks:
        if len(block) == 512 and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)
