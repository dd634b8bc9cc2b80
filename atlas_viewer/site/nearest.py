"""The memorisation test on a class's page: each synthetic picture and the real images nearest to it, one a space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.dataset import Dataset
from atlas_viewer.evidence.memorisation import Memorisation
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import runs, safe
from atlas_viewer.site.run_panels import run_sheet
from atlas_viewer.site.sheets import PHOTO, Crop, Sheet, thumb_size, thumbs

SIDE = 112  # pixels: longest side of an image here
CLOSE = 0.5  # of the typical distance: below it an image is pointed out
COLUMNS = 9  # images in a row of their sheet


@dataclass(frozen=True)
class Near:
    """The nearest image in one space. relative : its distance over the typical one, in words; near : far below it."""

    crop: Crop | None
    alt: str
    key: str
    distance: str
    relative: str
    near: bool


@dataclass(frozen=True)
class Compared:
    """One synthetic picture and its nearest images, one a space."""

    sample: int
    picture: Crop | None
    alt: str
    nearest: tuple[Near, ...]


@dataclass(frozen=True)
class Strip:
    """The test of one run for one class, the best picture first. why : why there is nothing to show, or empty."""

    run: str
    spaces: tuple[str, ...]
    images: int
    rows: tuple[Compared, ...]
    why: str


def unit_strips(unit: Unit, folder: Path) -> tuple[Strip, ...]:
    """Draw the nearest images of a class into its layer's folder; a strip a run that was tested is returned."""
    tests, found = unit.layer.atlas.memorisation, []
    for run in runs(unit.layer):
        test = tests.get(run.name)
        row = None if test is None or test.layer != unit.layer.name else test.row(unit.number)
        if row is not None:
            found.append(_strip(unit, test, row, folder))
    return tuple(found)


def _strip(unit: Unit, test: Memorisation, row: int, folder: Path) -> Strip:
    dataset, run = unit.layer.atlas.dataset, unit.layer.run(test.run)
    images = int(test.images[row])
    if dataset is None or not (test.nearest[row] >= 0).any():
        why = "No image of this class was compared." if not images else "No distances yet."
        return Strip(test.run, test.spaces, images, (), why)
    used = np.unique(test.nearest[row][test.nearest[row] >= 0]).tolist()
    stem = f"{unit.number}-nearest.{safe(test.run)}"
    sheet = Sheet(stem, thumb_size(unit.layer.atlas.input_size, SIDE), len(used), min(COLUMNS, len(used)), PHOTO)
    if dataset.has_pixels:
        pixels = np.stack([dataset.pixels(image) for image in used])
        sheet.draw_forms(folder, {PHOTO[0]: thumbs(pixels, sheet.size)}, np.ones(len(used), bool))
    own, best = run_sheet(run, unit.number), int(run.best_sample[unit.row])
    rows = []
    for sample in sorted(range(run.samples), key=lambda sample: sample != best):
        if run.there[unit.row, sample] and (test.nearest[row, sample] >= 0).any():
            spaces = range(len(test.spaces))
            nearest = tuple(_near(dataset, test, (row, sample, space), used, sheet) for space in spaces)
            alt = f"{unit.address}, run {test.run}, sample {sample}"
            rows.append(Compared(sample, own.crop(sample), alt, nearest))
    return Strip(test.run, test.spaces, images, tuple(rows), "" if rows else "No picture was compared.")


def _near(dataset: Dataset, test: Memorisation, where: tuple[int, int, int], used: list[int], sheet: Sheet) -> Near:
    image, space = int(test.nearest[where]), test.spaces[where[2]]
    if image < 0:
        return Near(None, "none", "", "", "", False)
    distance, typical = float(test.distance[where]), float(test.typical[where[0], where[2]])
    share = distance / typical if typical > 0 else np.nan
    return Near(
        crop=sheet.crop(used.index(image)) if dataset.has_pixels else None,
        alt=f"{dataset.name} {dataset.key[image]}, nearest in {space}",
        key=dataset.key[image],
        distance=captions.number(distance),
        relative=f"{captions.number(share)} × typical" if np.isfinite(share) else "",
        near=bool(share < CLOSE),
    )
