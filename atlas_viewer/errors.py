"""The errors that a user can correct, for readers and for the pipeline."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_MESSAGE = 2000  # letters: more than any message needs, unless it repeats what a damaged file or a user gave
LONGEST_NAME = 200  # letters of a name that nearest names are sought for: the search is quadratic


class AtlasError(Exception):
    """A request that cannot be fulfilled; its one line states where, what and what to do.

    Messages repeat names from files and from the command line, which may hold anything. As a text the message is one
    line of printable letters all the same, and what is very long is cut in its middle.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class FormatError(AtlasError, ValueError):
    """A file that is not an atlas, or an atlas that this version cannot read."""


class MissingError(AtlasError, LookupError):
    """A layer, unit, style or other name that is not in the atlas."""


def one_line(text: str) -> str:
    """The text on one line: control characters are spelled, and the middle of a very long text is left out."""
    if len(text) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        text = f"{text[:half]} … {text[-half:]}"
    text = " ".join(text.splitlines())
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " (nearest: …)" for the names most like `name`, or "" when none is close."""
    if len(name) > LONGEST_NAME:
        return ""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" (nearest: {', '.join(close)})" if close else ""
