"""Put the same classes of several networks on one page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.console import DONE, run_job
from jobs.request import read_out
from pipeline.errors import OutputError, SettingsError
from pipeline.settings import check


def compare(config: DictConfig) -> int:
    """Make the page; return the exit code."""
    from atlas_viewer.site.pages.networks import compare as make_page

    out, folders = read_out(config), _folders(config)
    for folder in folders:
        if not (folder / "atlas.h5").is_file():
            raise OutputError(f"{folder}/atlas.h5: not found; make it with make atlas OUT={folder}, or name another")
    check("count", config.count, "1 or more", isinstance(config.count, int) and config.count >= 1)
    shown = make_page([folder / "atlas.h5" for folder in folders], out, _classes(config), config.count)
    print(
        f"{len(folders)} networks, {len(shown)} class{'' if len(shown) == 1 else 'es'}\nopen {out}/index.html",
        file=sys.stderr,
    )
    return DONE


def _folders(config: DictConfig) -> list[Path]:
    if OmegaConf.is_missing(config, "atlases"):
        raise SettingsError('atlases: missing; give two folders or more: make compare ATLASES="atlases/a atlases/b"')
    given = config.atlases
    folders = shlex.split(given) if isinstance(given, str) else [str(folder) for folder in given or ()]
    if len(folders) < 2:
        raise SettingsError(f'atlases: got {given}, expected two folders or more: ATLASES="atlases/a atlases/b"')
    return [Path(folder) for folder in folders]


def _classes(config: DictConfig) -> list[str]:
    if config.classes is None:
        return []
    if not OmegaConf.is_list(config.classes) or not config.classes:
        raise SettingsError(f"classes: got {config.classes}, expected a list of labels such as [house,fish], or null")
    return [str(label) for label in config.classes]


if __name__ == "__main__":
    run_job(compare, "compare", __doc__)
