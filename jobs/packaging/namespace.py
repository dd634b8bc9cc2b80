"""Visualization atlases of trained networks: show what a unit prefers, draw a stored code again, read an atlas.

>>> from visualization_atlas import visualize
>>> visualize("doodlenet", "fc8:house")

The commands are those of the script visualization-atlas. The modules are visualization_atlas.jobs and
visualization_atlas.pipeline, and atlas_viewer, the reader.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.errors import AtlasError
    from jobs.notebook import render, visualize

__all__ = ["Atlas", "AtlasError", "render", "visualize"]


def __getattr__(name: str) -> Any:
    """The public names, imported on first use: none of them loads torch before it computes."""
    if name in ("render", "visualize"):
        from jobs import notebook

        return getattr(notebook, name)
    if name == "Atlas":
        from atlas_viewer.atlas import Atlas

        return Atlas
    if name == "AtlasError":
        from atlas_viewer.errors import AtlasError

        return AtlasError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def _refuse_another_reader() -> None:
    """Raise ImportError if the distribution atlas-viewer is installed beside this one, in another version."""
    try:
        reader, needed = version("atlas-viewer"), version("visualization-atlas")
    except PackageNotFoundError:
        return
    if reader != needed:
        raise ImportError(
            f"atlas-viewer {reader} is installed beside visualization-atlas {needed}, and found in place of the reader "
            f"that comes with it; install atlas-viewer {needed}, or uninstall it"
        )


_refuse_another_reader()
if find_spec("atlas_viewer") is None:  # a folder of `pip install --target`, whose .pth file Python does not read
    sys.path.append(str(Path(__file__).parent / "reader"))
