"""The layouts in which an atlas can be given to other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atlas_viewer.atlas import Atlas
from atlas_viewer.export.milan import write_milan
from atlas_viewer.export.montages import write_montages
from atlas_viewer.export.parquet import write_parquet
from atlas_viewer.export.toolbox import write_toolbox
from atlas_viewer.site.folder import replacing

# Each writes files into an empty folder, with pictures of at most so many pixels, and returns how many.
LAYOUTS: dict[str, Callable[[Atlas, Path, int], int]] = {
    "toolbox": write_toolbox,
    "milan": write_milan,
    "montages": write_montages,
    "parquet": write_parquet,
}


def export(atlas: Path, layout: str, target: Path, side: int) -> int:
    """Write an atlas in one of LAYOUTS; the folder `target` is replaced as a whole. Return the number of files.

    side : largest side of a picture in montages, in pixels.
    """
    with Atlas(atlas) as opened, replacing(target, pages=False) as folder:
        return LAYOUTS[layout](opened, folder, side)
