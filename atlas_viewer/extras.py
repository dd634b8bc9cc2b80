"""The packages for tables and figures, which the reader does without: the extra `viewer`."""

from __future__ import annotations

from importlib.util import find_spec

from atlas_viewer.errors import MissingError

INSTALL = "pip install 'visualization-atlas[viewer]'"


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return find_spec(package) is not None


def require(package: str, wanted: str) -> None:
    """Raise MissingError, with the command that installs it, if `wanted` needs a package that is not installed."""
    if not installed(package):
        raise MissingError(f"{wanted}: {package} is not installed; install it with {INSTALL}")
