"""The memorisation test of a class: each synthetic picture and the real images nearest to it, one for each space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.dataset import Dataset
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.memorisation import Memorisation
from atlas_viewer.layer import Unit
from atlas_viewer.site import captions
from atlas_viewer.site.outline import Outline, runs
from atlas_viewer.site.packing import LateCrop, Place, UnitSprite
from atlas_viewer.site.pieces import Panel
from atlas_viewer.site.sprites import ITERATES, PHOTO, thumb_size, thumbs

SIDE = 112  # pixels: longest side of an image here
CLOSE = 0.5  # of the typical distance, below which an image is marked


@dataclass(frozen=True)
class Near:
    """The nearest image in one space.

    relative : its distance over the typical one, in words.
    near : far below it.
    """

    crop: LateCrop | None
    alt: str
    key: str
    distance: str
    relative: str
    near: bool


@dataclass(frozen=True)
class Compared:
    """One synthetic picture and its nearest images, one per space."""

    sample: int
    picture: LateCrop | None
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

    def contents(self, outline: Outline, shown: tuple[Strip, ...]) -> Sequence[tuple[str, str]]:
        """The tests, as one."""
        return [("nearest-1", "memorisation test")]

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> tuple[Strip, ...] | None:
        """A strip for each run that was tested; None without any."""
        tests, strips = unit.layer.atlas.memorisation, []
        for run in runs(unit.layer):
            test = tests.get(run.name)
            row = None if test is None or test.layer != unit.layer.name else test.row(unit.number)
            if row is not None:
                strips.append(_strip(unit, test, row, sprite))
        return tuple(strips) if strips else None


def _strip(unit: Unit, test: Memorisation, row: int, sprite: UnitSprite) -> Strip:
    dataset, run = unit.layer.atlas.dataset, unit.layer.run(test.run)
    images = int(test.images[row])
    if dataset is None or not (test.nearest[row] >= 0).any():
        why = "No image of this class was compared." if not images else "No distances yet."
        return Strip(test.run, test.spaces, images, (), why)
    used = np.unique(test.nearest[row][test.nearest[row] >= 0]).tolist()
    size = unit.layer.atlas.input_size if sprite.full else thumb_size(unit.layer.atlas.input_size, SIDE)
    places: dict[int, Place] = {}
    if dataset.has_pixels:
        pixels = thumbs(np.stack([dataset.pixels(image) for image in used]), size)
        places = dict(zip(used, sprite.add({PHOTO[0]: pixels}), strict=True))
    best, rows = int(run.best_sample[unit.row]), []
    for sample in sorted(range(run.samples), key=lambda sample: sample != best):
        if run.there[unit.row, sample] and (test.nearest[row, sample] >= 0).any():
            spaces = range(len(test.spaces))
            nearest = tuple(_near(dataset, test, (row, sample, space), places) for space in spaces)
            alt = f"{unit.address}, run {test.run}, sample {sample}"
            rows.append(Compared(sample, _picture(unit, run, sample, sprite), alt, nearest))
    return Strip(test.run, test.spaces, images, tuple(rows), "" if rows else "No picture was compared.")


def _picture(unit: Unit, run: Run, sample: int, sprite: UnitSprite) -> LateCrop:
    """The picture that was compared, last and best iterate, as small as the images beside it."""
    size = run.size if sprite.full else thumb_size(run.size, SIDE)
    iterates = (run.pixels, run.best_pixels)
    drawn = {
        form: thumbs(pixels[unit.row, sample][None], size) for form, pixels in zip(ITERATES, iterates, strict=True)
    }
    return sprite.add(drawn)[0].crop()


def _near(dataset: Dataset, test: Memorisation, where: tuple[int, int, int], places: Mapping[int, Place]) -> Near:
    image, space = int(test.nearest[where]), test.spaces[where[2]]
    if image < 0:
        return Near(None, "none", "", "", "", False)
    distance, typical = float(test.distance[where]), float(test.typical[where[0], where[2]])
    share = distance / typical if typical > 0 else np.nan
    return Near(
        crop=places[image].crop() if dataset.has_pixels else None,
        alt=f"{dataset.name} {dataset.key[image]}, nearest in {space}",
        key=dataset.key[image],
        distance=captions.number(distance),
        relative=f"{captions.number(share)} × typical" if np.isfinite(share) else "",
        near=bool(share < CLOSE),
    )
