"""The errors that a user can correct, for readers and for the pipeline."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AtlasError(Exception):
    """A request that cannot be fulfilled; its one line states where, what and what to do."""


class FormatError(AtlasError, ValueError):
    """A file that is not an atlas, or an atlas that this version cannot read."""


class MissingError(AtlasError, LookupError):
    """A layer, unit, style or other name that is not in the atlas."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " (nearest: …)" for the names most like `name`, or "" when none is close."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" (nearest: {', '.join(close)})" if close else ""
