"""What a file is, where it is not the expected one: a web page, a server's error, a Git LFS pointer, an archive."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from pipeline.errors import AtlasError

HEAD = 1 << 14  # bytes to look at; titles of web pages are near their beginning
_SHOWN = 80  # letters of a text that a message repeats

_FETCH = "download the file itself"
_PAGES = re.compile(rb"<(!doctype\s+html|html|head|body|script|title)[\s>]", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_XML_WORDS = re.compile(r"<(Code|Message|title|error|message)>(.*?)</\1>", re.DOTALL)
_LFS = b"version https://git-lfs.github.com/spec/"
_COMPRESSED = {  # first bytes → name and the command that unpacks it
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x"),
    b"Rar!\x1a\x07": ("rar", "unrar x"),
}
_SIGNATURES = {
    b"%PDF-": "a PDF document",
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x7fELF": "a program",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"


def refuse_page(path: Path, where: str, error: type[AtlasError]) -> None:
    """Raise the error if the file is what a server or git gives in place of a file.

    These are a web page, an answer in XML and a pointer to a file of Git LFS. No setting asks for any of them, even if
    it asks for a text.

    where : begins the message, such as "labels names.txt".
    """
    _raise_if(page_kind(_readable_head(path, where, error)), where, error)


def refuse_foreign(path: Path, where: str, error: type[AtlasError]) -> None:
    """Raise the error if a binary file of numbers is recognisably something else; see `refuse_page`.

    Also refused are empty files, JSON and other texts, compressed files, documents and images.
    """
    head = _readable_head(path, where, error)
    _raise_if(page_kind(head) or _other_kind(head), where, error)


def is_hdf5(path: Path) -> bool:
    return _head(path).startswith(_HDF5)


def is_zip(path: Path) -> bool:
    """Whether the file begins as zip archives do, which it also does if its end is missing."""
    return _head(path).startswith(_ZIP)


def page_kind(head: bytes) -> tuple[str, str] | None:
    """What a server or git gave in place of a file, in words, and what to do; None for anything else.

    head : the first bytes of the file.
    """
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if bare.startswith(_LFS):
        size = re.search(rb"^size (\d+)", bare, re.MULTILINE)
        of = f" to a file of {int(size[1])} bytes" if size else ""
        return f"a Git LFS pointer{of}, not the file", f"run `git lfs pull` in its repository, or {_FETCH}"
    if re.match(rb"\S*annex/objects/", bare):
        return "a git-annex pointer, not the file", f"run `git annex get` in its repository, or {_FETCH}"
    if _PAGES.match(bare) or (bare.startswith((b"<?xml", b"<!--")) and re.search(rb"<html", bare, re.IGNORECASE)):
        text = _text(bare)
        title = _TITLE.search(text)
        words = title[1] if title else re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
        return f"a web page{_quoted(html.unescape(words))}, not the file", f"{_FETCH}, not the page about it"
    if bare.startswith((b"<?xml", b"<Error>")):
        words = ": ".join(word.strip() for _, word in _XML_WORDS.findall(_text(bare)))
        return f"the answer of a server in XML{_quoted(words)}, not the file", _FETCH
    return None


def _raise_if(kind: tuple[str, str] | None, where: str, error: type[AtlasError]) -> None:
    if kind is not None:
        raise error(f"{where}: is {kind[0]}; {kind[1]}")


def _other_kind(head: bytes) -> tuple[str, str] | None:
    if not head:
        return "empty (0 bytes)", "fetch the file again"
    for signature, (name, command) in _COMPRESSED.items():
        if head.startswith(signature):
            return f"a {name} archive", f"unpack it ({command}) and give the file inside"
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it (tar -xf) and give the file inside"
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name, _FETCH
    if not head.strip(b"\0"):
        return "filled with zero bytes", "fetch the file again"
    text = _text(head)
    if not _printable(text):
        return None
    if text.lstrip().startswith(("{", "[")):
        return f"a JSON text{_quoted(_json_words(text))}", _FETCH
    return f"a text{_quoted(text)}", _FETCH


def _printable(text: str) -> bool:
    """Whether the bytes were text, not numbers: no control characters, and nothing that UTF-8 cannot decode.

    A letter that is cut at the end of the part read is not counted.
    """
    return not re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text.rstrip("\ufffd"))


def _json_words(text: str) -> str:
    """The message of an error in JSON, else the text."""
    try:
        content = json.loads(text)
    except ValueError:
        return text
    error = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(error, dict):
        error = next((error[name] for name in ("message", "detail", "error") if name in error), text)
    return str(error) if isinstance(error, str) else text


def _quoted(words: str) -> str:
    """The beginning of a text on one line, in brackets and quotes; "" without a text."""
    line = " ".join(words.split())
    return f' ("{line[:_SHOWN] + "…" if len(line) > _SHOWN else line}")' if line else ""


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _readable_head(path: Path, where: str, error: type[AtlasError]) -> bytes:
    try:
        return _head(path)
    except OSError as problem:
        raise error(f"{where}: cannot be read ({problem.strerror}); check the file and its permissions") from None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)
