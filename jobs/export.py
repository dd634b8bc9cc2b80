"""Write an atlas for other programs: the toolbox's viewer, MILAN, data hubs, or montages of whole layers."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.console import DONE, run_job
from jobs.request import read_out
from jobs.settings_reader import names, typed
from pipeline.errors import OutputError, SettingsError
from pipeline.settings import check, check_choice

LARGEST = 1000  # pixels: a montage of thousands of larger cells fits no program


def export(config: DictConfig) -> int:
    """Write each layout that is asked for; return the exit code."""
    from atlas_viewer.export.layouts import LAYOUTS
    from atlas_viewer.export.layouts import export as write

    out = read_out(config)
    if OmegaConf.is_missing(config, "layout"):
        raise SettingsError(f"layout: missing; choose by LAYOUT=… from {', '.join(LAYOUTS)}")
    layouts = names(config.layout)
    for layout in layouts:
        check_choice("layout", layout, tuple(LAYOUTS))
    side = typed(config.side, int, "side")
    check("side", side, f"1 to {LARGEST}", 1 <= side <= LARGEST)
    if not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not found; make it with make atlas OUT={out}, or name another with OUT=…")
    folder = out / "export" if config.to is None else Path(typed(config.to, str, "to")).expanduser()
    for layout in layouts:
        files = write(out / "atlas.h5", layout, folder / layout, side)
        print(f"{folder / layout}: {files} files", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    run_job(export, "export", __doc__)
