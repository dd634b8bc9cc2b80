"""Write a large atlas, which grows in parts, as one whole file: to copy it, or to read it in a browser."""

from __future__ import annotations

import sys

from omegaconf import DictConfig
from tqdm import tqdm

from jobs.console import DONE, run_job
from jobs.folder import output, stored_plan
from jobs.request import read_out


def pack(config: DictConfig) -> int:
    """Pack the atlas in a folder; return the exit code."""
    from atlas_viewer.seal import is_sealed
    from pipeline.store.held import HeldAtlas
    from pipeline.store.publishing import is_open, pack_atlas, size_of

    out = read_out(config)
    stored_plan(out)
    with output(out, config):
        atlas = out / "atlas.h5"
        with HeldAtlas.open(atlas) as held:
            complete = not is_open(held.file) and is_sealed(held.file)
        if not complete:
            with tqdm(total=size_of(atlas), desc="pack", unit="B", unit_scale=True, disable=None) as bar:
                pack_atlas(atlas, advance=bar.update)
    print(f"{atlas}: one whole file, {atlas.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    run_job(pack, "pack", __doc__)
