"""Text files in the Unicode forms that editors write."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a file, UTF-8 unless its byte order mark says otherwise, with "\\n" at the end of each line.

    errors : what to do with bytes that are no text, as for `bytes.decode`.
    Raises OSError, and UnicodeDecodeError if errors is "strict".
    """
    return decoded(path.read_bytes(), errors)


def decoded(data: bytes, errors: str = "strict") -> str:
    """The text of a file's bytes, as for `read_text`."""
    coding = next((coding for mark, coding in _MARKS.items() if data.startswith(mark)), None)
    if coding is None:
        coding = "utf-8"
        if len(data) > 1 and 0 in data[:2]:  # every Latin letter of UTF-16 has a zero byte
            coding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    text = data.decode(coding, errors)
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")
