"""Write a folder with the pages of an atlas that any static host serves."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.console import DONE, run_job
from jobs.request import read_flag, read_out
from jobs.settings_reader import typed
from jobs.site import build_pages, read_site, unfinished
from pipeline.errors import SettingsError

SCHEMES = ("https://", "http://")


def publish(config: DictConfig) -> int:
    """Bring the pages up to date, write the folder, and print its size; return the exit code."""
    from atlas_viewer.site import publishing

    out, pages, with_atlas = read_out(config), read_site(config), read_flag(config, "atlas")
    if OmegaConf.is_missing(config, "to"):
        raise SettingsError("to: missing; name the folder to write by TO=…")
    address = None if config.address is None else typed(config.address, str, "address")
    if address is not None and not address.startswith(SCHEMES):
        raise SettingsError(f"address: got {address!r}, expected one that begins with https://")
    build_pages(out, pages, unfinished(out))
    to = Path(typed(config.to, str, "to")).expanduser()
    published = publishing.publish(out / "atlas.h5", out / "site", to, with_atlas=with_atlas, address=address)
    for line in publishing.lines(published):
        print(line)
    print(f"{to}: upload this folder as it is, or open {to}/index.html", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    run_job(publish, "publish", __doc__)
