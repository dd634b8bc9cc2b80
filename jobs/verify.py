"""Find damage in an atlas by the digests that it keeps."""

from __future__ import annotations

import sys

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_out
from pipeline.errors import OutputError

DAMAGED = 1


def verify(config: DictConfig) -> int:
    """Print a line for each fault; return the exit code, 1 if there are any."""
    from atlas_viewer.verify import faults

    out = read_out(config)
    if not (out / "atlas.h5").is_file():
        raise OutputError(f"{out}/atlas.h5: not found; make it with make atlas OUT={out}, or name another with OUT=…")
    found = 0
    for fault in faults(out / "atlas.h5"):
        print(f"{out}/atlas.h5: {fault}")
        found += 1
    print(f"{out}/atlas.h5: {found} faults" if found else f"{out}/atlas.h5: as it was written", file=sys.stderr)
    return DAMAGED if found else DONE


if __name__ == "__main__":
    run_job(verify, "verify", __doc__)
