"""The memorisation test: the real images nearest to each synthetic picture of a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.field import ROWS_OF_IMAGES, Attribute, Field, Group, subgroups

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.layer import Layer

MEMORISATION = Group(
    "/memorisation/<run>",
    "the memorisation test: the real images nearest to each synthetic picture of a class, among those of that class, "
    "by Euclidean distance in each space: the pixels of the pictures' window, and each layer's own value with the mean "
    "image outside of the window (Nguyen et al. 2016, Fig. S22); the limits of the test are further attributes",
    (
        Attribute("run", "text", "the run whose pictures were compared: /layers/<class layer>/dgn/<run>, last iterate"),
        Attribute("pictures", "text", "SHA-256 of these pictures"),
        Attribute("revision", "int", "revision of the program that compared them", required=False),
        Attribute("layer", "text", "the class layer, whose units the pictures show"),
    ),
    (
        Field("space", "text", ("space",), "the spaces: pixels, and layers by name"),
        Field("unit", "i4", ("unit",), "the units of the class layer, rising"),
        Field("images", "i4", ("unit",), "images of the unit's class that were compared"),
        Field("nearest", "i4", ("unit", "sample", "space"),
              "row of the nearest image in /dataset/images; -1 for none", rows_of=ROWS_OF_IMAGES),
        Field("distance", "f4", ("unit", "sample", "space"), "its distance in that space"),
        Field("typical", "f4", ("unit", "space"),
              "for comparison: the median, over the class's images, of the distance to the nearest other one"),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (MEMORISATION,)


@dataclass(frozen=True)
class Memorisation:
    """One memorisation test. Arrays begin with (unit,): units of the class layer, rising."""

    group: h5py.Group

    @classmethod
    def of(cls, atlas: Atlas) -> dict[str, Memorisation]:
        """The memorisation tests of an atlas, by the original name of the run whose pictures were compared."""
        return {test.run: test for test in map(cls, subgroups(atlas.file, "memorisation"))}

    @property
    def run(self) -> str:
        """Original name of the run whose last iterates were compared."""
        return str(self.group.attrs["run"])

    @property
    def layer(self) -> str:
        """The class layer, whose units the pictures show."""
        return str(self.group.attrs["layer"])

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """The spaces in which distances were computed: pixels, and layers by name."""
        return tuple(self.group["space"].asstr()[...])

    @cached_property
    def units(self) -> np.ndarray:
        """(unit,) numbers of the units."""
        return self.group["unit"][...]

    @cached_property
    def images(self) -> np.ndarray:
        """(unit,) images of the unit's class that were compared."""
        return self.group["images"][...]

    @cached_property
    def nearest(self) -> np.ndarray:
        """(unit, sample, space) row of the nearest image among the dataset's stored ones; -1 for none."""
        return self.group["nearest"][...]

    @cached_property
    def distance(self) -> np.ndarray:
        """(unit, sample, space) its Euclidean distance; NaN for none."""
        return self.group["distance"][...]

    @cached_property
    def typical(self) -> np.ndarray:
        """(unit, space) median, over the class's images, of the distance to the nearest other one."""
        return self.group["typical"][...]

    def row(self, unit: int) -> int | None:
        """The index of a unit on the axis unit; None where it was not compared."""
        rows = np.flatnonzero(self.units == unit)
        return int(rows[0]) if rows.size else None


def shown_beside(layer: Layer) -> Iterator[h5py.Group]:
    """The tests of a layer's pictures, which its pages show."""
    return (test.group for test in Memorisation.of(layer.atlas).values() if test.layer == layer.name)


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between the memorisation tests of an open file, the runs and the dataset's images."""
    for test in MEMORISATION.within(file):
        yield from (f"{test.name}{fault}" for fault in _test_faults(file, test))


def _is_in(layer: h5py.Group | None, group: h5py.Group) -> bool:
    """Whether a group is a layer's, by its path: in an atlas of parts it is in another file."""
    return layer is not None and group.name.startswith(f"{layer.name}/")


def _test_faults(file: h5py.File, test: h5py.Group) -> Iterator[str]:
    layers = {layer.attrs["layer"]: layer for layer in file.get("layers", {}).values()}
    layer, name = layers.get(test.attrs["layer"]), test.attrs["run"]
    runs = {run.attrs["run"]: run for run in RUN.within(file) if _is_in(layer, run)}
    if name not in runs:
        yield f": run {name!r} of layer {test.attrs['layer']!r} is missing"
        return
    unit, nearest, distance = test["unit"][...], test["nearest"][...], test["distance"][...]
    if not (np.diff(unit) > 0).all() or not np.isin(unit, layer["units/unit"][...]).all():
        yield f"/unit: not rising, or not units of {layer.name}"
    samples = runs[name]["status"].shape[1]
    if nearest.shape[1] != samples:
        yield f"/nearest: {nearest.shape[1]} samples, expected {samples} as in {runs[name].name}"
    images = len(file["dataset/images/number"]) if "dataset/images" in file else 0
    if nearest.size and not (nearest.min() >= -1 and nearest.max() < images):
        yield f"/nearest: a row outside 0 to {images - 1}"
    if not np.isfinite(distance[nearest >= 0]).all():
        yield "/distance: not finite where there is an image"
