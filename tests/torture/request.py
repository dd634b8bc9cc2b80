"""The smallest atlas with all kinds of tasks: a network of 12 units, a prior and a few images; and its command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.jobs.tiny_network import LABELS, SMALL
from tests.pipeline.folder_prior import write_untrained

ROOT = Path(__file__).parents[2]
WHOLE, OPEN = 1e9, 0.0  # bytes below which an atlas is one whole file
COUNTS = {"round": 13, "square": 10}  # images of a class; none is striped
QUICK = (
    "model.build=tests.jobs.tiny_network:tiny", "model.labels=tests.jobs.tiny_network:LABELS",
    "devices.cpu.max_batch=1", "dgn.iterations=4", "dgn.trace_points=2", "tops.k=2", "tops.batch=3",
    "tops.quantiles=false", "tops.own_class=false", "tops.rules=[deconvnet]", "tops.whole_image_rules=[]",
    "dataset=folder", "dataset.preprocess=resize", "dataset.block=3", "memorisation.samples=2",
    "memorisation.typical=3", "methods=[ascent,dgn,tops]", "combinations={pairs:{random:2}}", "pages=true",
    "site.workers=1",
)  # fmt: skip


def given(folder: Path) -> tuple[str, ...]:
    """Write the prior and the images into a folder; return the overrides that name them, and all others."""
    prior = write_untrained(folder / "prior")
    (folder / "names.txt").write_text("\n".join(LABELS) + "\n")
    for seed, (label, count) in enumerate(COUNTS.items()):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(count):
            noise = np.random.RandomState(100 * seed + number).randint(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(noise).save(folder / "images" / label / f"{number}.png")
    files = (f'priors=["{prior}"]', f'dataset.root="{folder / "images"}"', f'dataset.labels="{folder / "names.txt"}"')
    return (*SMALL, *QUICK, *files)


def command(
    overrides: tuple[str, ...], *, whole_below: float, merge_seconds: float, merge_share: float, pause: float
) -> list[str]:
    """The command line of an atlas; see `tests.torture.command` for the numbers."""
    numbers = (whole_below, merge_seconds, merge_share, pause)
    return [sys.executable, "-m", "tests.torture.command", *map(str, numbers), *overrides]


def environment() -> dict[str, str]:
    """The environment of the command and of the nodes, which find the modules of these tests."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    of_ray = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**usual, **of_ray, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
