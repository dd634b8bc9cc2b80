"""Text is read in the Unicode forms that editors write."""

from __future__ import annotations

import codecs

import pytest

from pipeline.nets.open_network import read_labels
from pipeline.text_files import read_text

TEXT = "n01440764 tench, Tinca tinca\nGröße\n卷积\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF8 * 2 + TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.replace("\n", "\r\n").encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
)
def test_every_form_gives_the_same_text_and_labels(data, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    assert read_text(path) == TEXT
    assert read_labels(str(path), path) == ("tench, Tinca tinca", "Größe", "卷积")


@pytest.mark.parametrize("data", [b"", b"a", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_files_of_few_bytes_are_read(data, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    assert read_text(path) == ("a" if data == b"a" else "")


def test_bytes_that_are_no_text_are_refused_or_replaced(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes("Größe".encode("latin-1"))
    with pytest.raises(UnicodeDecodeError):
        read_text(path)
    assert read_text(path, errors="replace") == "Gr\ufffd\ufffde"
