"""Read the stored pictures of a setting, for judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas_viewer import format
from pipeline.plan import Plan
from pipeline.store.held import HeldAtlas
from pipeline.store.pictures import pictures_digest


@dataclass(frozen=True)
class StoredPictures:
    """The pictures of one setting of a layer.

    pixels : uint8 (unit, sample, y, x, rgb).
    shown : bool (unit, sample), which pictures exist.
    digest : SHA-256 of the pixels.
    """

    pixels: np.ndarray
    shown: np.ndarray
    digest: str


def read_pictures(atlas: Path, plan: Plan, layer: str, made_by: str, setting: str) -> StoredPictures:
    """Read the pictures of a method's setting in a layer from an atlas. OutputError if it is damaged.

    made_by : name of the method.
    """
    layer_group = format.group_names(part.name for part in plan.card.layers)[layer]
    with HeldAtlas.open(atlas) as held:
        group = held.file[f"/layers/{layer_group}/{pictures_group(plan, layer, made_by, setting)}"]
        shown = np.isin(group["status"][:], (format.Status.ok, format.Status.never_active))
        return StoredPictures(group["pixels"][:], shown, pictures_digest(group["pixels"]))


def pictures_group(plan: Plan, layer: str, made_by: str, setting: str) -> str | None:
    """The group of a setting inside the group of its layer; None if the plan has no such pictures."""
    name = format.group_names(plan.layer_names(made_by, layer)).get(setting)
    return None if name is None else f"{made_by}/{name}"
