"""Reads visualization atlases: `Atlas(path)` opens one, `site.build` makes its pages, `validator` checks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas

__all__ = ["Atlas"]


def __getattr__(name: str) -> Any:
    """The reader, imported on first use: whoever needs an error or the schema of this package needs no h5py file."""
    if name == "Atlas":
        from atlas_viewer.atlas import Atlas

        return Atlas
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
