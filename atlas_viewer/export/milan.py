"""Exemplars as MILAN reads them: for each layer the images that excite the units most, with a mask of what they see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from atlas_viewer import table
from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError
from atlas_viewer.evidence.tops import Tops
from atlas_viewer.layer import Layer

SIDE = 224  # of images and masks, as MILAN's own


def write_milan(atlas: Atlas, folder: Path, side: int) -> int:
    """Write a folder for each layer with hits; return how many files.

    images.npy : uint8 (unit, rank, rgb, y, x), the images in true colours at 224 x 224 pixels.
    masks.npy : uint8 (unit, rank, 1, y, x), 1 in the window of the position that the unit liked best.
    units.npy : int64 (unit,), the units' numbers; units without hits are left out.
    activations.csv, ids.csv : (unit, rank), the activations, and the images' places in the dataset; -1 for none.
    Departure: MILAN masks the positions above a quantile of the unit's activations, which an atlas does not hold.
    Source: Hernandez et al. 2022, the layout that their TopImagesDataset loads.
    Raises MissingError for an atlas without the pixels of its images.
    """
    if atlas.dataset is None or not atlas.dataset.has_pixels:
        raise MissingError(f"atlas {atlas.path}: has no images; make it with DATASET=…, or add them by make pixels")
    layers = [layer for layer in atlas if "largest" in layer.kinds and layer.tops("largest").there.any()]
    for layer in layers:
        into = folder / layer.key
        into.mkdir()
        _write_layer(layer, layer.tops("largest"), into)
    return 5 * len(layers)


def _write_layer(layer: Layer, tops: Tops, folder: Path) -> None:
    rows = np.flatnonzero(tops.there.any(axis=1))
    count = tops.image.shape[1]
    images, masks = (
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (len(rows), count, planes, SIDE, SIDE))
        for name, planes in (("images", 3), ("masks", 1))
    )
    for place, row in enumerate(rows.tolist()):
        for rank in np.flatnonzero(tops.there[row]).tolist():
            image = tops.dataset.pixels(int(tops.image[row, rank]))
            resized = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            images[place, rank] = np.moveaxis(np.asarray(resized), -1, 0)
            masks[place, rank, 0] = _mask(tops.window[row, rank].tolist(), image.shape[:2])
    images.flush()
    masks.flush()
    np.save(folder / "units.npy", layer.units[rows].astype(np.int64))
    number = np.where(tops.there, tops.dataset.number[tops.image], -1)[rows]
    _write_rows(folder / "ids.csv", number)
    _write_rows(folder / "activations.csv", tops.activation[rows])


def _mask(window: list[int], size: tuple[int, int]) -> np.ndarray:
    """1 inside the window, at SIDE x SIDE pixels; at least one pixel along each side."""
    top, left, bottom, right = window
    mask = np.zeros((SIDE, SIDE), np.uint8)
    (first, last), (start, stop) = (
        (near * SIDE // whole, max(near * SIDE // whole + 1, round(far * SIDE / whole)))
        for near, far, whole in ((top, bottom, size[0]), (left, right, size[1]))
    )
    mask[first:last, start:stop] = 1
    return mask


def _write_rows(path: Path, values: np.ndarray) -> None:
    first, *rest = values.tolist()
    table.write(path, first, rest)
