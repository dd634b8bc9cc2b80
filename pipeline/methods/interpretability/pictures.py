"""The stored pictures of a layer, of all styles and runs, for the machine interpretability score."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.atlas import Atlas
from pipeline.methods.registry import METHODS
from pipeline.plan import Plan
from pipeline.store.held import HeldAtlas


@dataclass(frozen=True)
class ShownPictures:
    """The pictures of one setting of a layer.

    path : in the layer's group.
    digest : of the stored digests of the pictures.
    minimized : whether they excite the units least.
    """

    atlas: Path
    layer: str
    path: str
    digest: str
    minimized: bool

    def units(self) -> Iterator[list[np.ndarray]]:
        """Yield the pictures (y, x, rgb) of each unit as pages show them; none where it has none.

        Raises FormatError if the atlas is damaged.
        """
        with Atlas(self.atlas) as atlas:
            layer = atlas[self.layer]
            climb = next(one for one in (*layer.ascent.values(), *layer.dgn.values()) if one.path == self.path)
            for row, there in enumerate(climb.there):
                yield list(layer.as_shown(climb, climb.pixels[row][there]))


def shown_pictures(atlas: Path, plan: Plan, layer: str) -> tuple[ShownPictures, ...]:
    """The pictures of every style and run of a layer in an atlas, by path; settings of sweeps are left out."""
    with HeldAtlas.open(atlas) as held:
        parent, found = held.layer_groups.get(layer), []
        for method in METHODS if parent is not None else ():
            if not method.makes_pictures:
                continue
            asked = [name for name in plan.layer_names(method.name, layer) if not plan.is_swept(method.name, name)]
            names = format.group_names(plan.layer_names(method.name, layer))
            for path in (f"{method.name}/{names[name]}" for name in asked):
                group = held.group(f"{parent}/{path}")
                if group is not None:
                    minimized = group.attrs.get("direction") == "minimize"
                    found.append(ShownPictures(atlas, layer, path, group_digest(group), minimized))
    return tuple(sorted(found, key=lambda one: one.path))


def group_digest(group: h5py.Group) -> str:
    """SHA-256 of the digests that a group keeps of its pictures."""
    return hashlib.sha256(np.ascontiguousarray(group["pixels_digest"][...], "<u8").tobytes()).hexdigest()
