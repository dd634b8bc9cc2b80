"""The memorisation test of a class: each synthetic picture and the real images nearest to it, one for each space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.dataset import Dataset
from atlas_viewer.evidence.memorisation import Memorisation
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline, runs, safe
from atlas_viewer.site.panels.runs import draw_run, run_sprite, with_panel
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.sprites import PHOTO, Crop, Sprite, thumb_size, thumbs

SIDE = 112  # pixels: longest side of an image here
CLOSE = 0.5  # of the typical distance, below which an image is marked
COLUMNS = 9  # images in a row of their sprite


@dataclass(frozen=True)
class Near:
    """The nearest image in one space.

    relative : its distance over the typical one, in words.
    near : far below it.
    """

    crop: Crop | None
    alt: str
    key: str
    distance: str
    relative: str
    near: bool


@dataclass(frozen=True)
class Compared:
    """One synthetic picture and its nearest images, one per space."""

    sample: int
    picture: Crop | None
    alt: str
    nearest: tuple[Near, ...]


@dataclass(frozen=True)
class Strip:
    """The test of one run for one class, the best picture first.

    why : why there is nothing to show, or empty.
    """

    run: str
    spaces: tuple[str, ...]
    images: int
    rows: tuple[Compared, ...]
    why: str


class NearestPanel(Panel):
    """The memorisation tests of a class."""

    order = 40
    template = "panels/nearest.html"

    def draw(self, outline: Outline, unit: Unit, folder: Path) -> tuple[Strip, ...] | None:
        """A strip for each run that was tested; None without any."""
        tests, strips = unit.layer.atlas.memorisation, []
        for run in runs(unit.layer):
            test = tests.get(run.name)
            row = None if test is None or test.layer != unit.layer.name else test.row(unit.number)
            if row is not None:
                strips.append(_strip(unit, test, row, folder))
        return tuple(strips) if strips else None


def _strip(unit: Unit, test: Memorisation, row: int, folder: Path) -> Strip:
    dataset, run = unit.layer.atlas.dataset, unit.layer.run(test.run)
    images = int(test.images[row])
    if dataset is None or not (test.nearest[row] >= 0).any():
        why = "No image of this class was compared." if not images else "No distances yet."
        return Strip(test.run, test.spaces, images, (), why)
    used = np.unique(test.nearest[row][test.nearest[row] >= 0]).tolist()
    stem = f"{unit.number}-nearest.{safe(test.run)}"
    sprite = Sprite(stem, thumb_size(unit.layer.atlas.input_size, SIDE), len(used), min(COLUMNS, len(used)), PHOTO)
    if dataset.has_pixels:
        pixels = np.stack([dataset.pixels(image) for image in used])
        sprite.draw_forms(folder, {PHOTO[0]: thumbs(pixels, sprite.size)}, np.ones(len(used), bool))
    panelled = run.name in [each.name for each in with_panel(unit.layer)]  # its sprite is drawn by its panel
    pictures = run_sprite(run, unit.number) if panelled else draw_run(run, unit, folder)
    best, rows = int(run.best_sample[unit.row]), []
    for sample in sorted(range(run.samples), key=lambda sample: sample != best):
        if run.there[unit.row, sample] and (test.nearest[row, sample] >= 0).any():
            spaces = range(len(test.spaces))
            nearest = tuple(_near(dataset, test, (row, sample, space), used, sprite) for space in spaces)
            alt = f"{unit.address}, run {test.run}, sample {sample}"
            rows.append(Compared(sample, pictures.crop(sample), alt, nearest))
    return Strip(test.run, test.spaces, images, tuple(rows), "" if rows else "No picture was compared.")


def _near(dataset: Dataset, test: Memorisation, where: tuple[int, int, int], used: list[int], sprite: Sprite) -> Near:
    image, space = int(test.nearest[where]), test.spaces[where[2]]
    if image < 0:
        return Near(None, "none", "", "", "", False)
    distance, typical = float(test.distance[where]), float(test.typical[where[0], where[2]])
    share = distance / typical if typical > 0 else np.nan
    return Near(
        crop=sprite.crop(used.index(image)) if dataset.has_pixels else None,
        alt=f"{dataset.name} {dataset.key[image]}, nearest in {space}",
        key=dataset.key[image],
        distance=captions.number(distance),
        relative=f"{captions.number(share)} × typical" if np.isfinite(share) else "",
        near=bool(share < CLOSE),
    )
