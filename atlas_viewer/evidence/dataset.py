"""The dataset: which images were evaluated, and the pixels of those that are hits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.errors import MissingError
from atlas_viewer.field import Attribute, Field, Group, subgroup

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas

DATASET = Group(
    "/dataset",
    "the images that were evaluated; the digest identifies them, not a path",
    (
        Attribute("name", "text", "name of the dataset"),
        Attribute("kind", "text", "its layout: folder, list, tar, imagenet, doodles"),
        Attribute("digest", "text", "SHA-256 over keys, content hashes and labels of all its images, in hexadecimal"),
        Attribute("preprocess", "text", "how an image becomes the network's input: squash, short_side, resize, pad"),
        Attribute("reduced_decoding", "bool", "whether the decoder's own down-scaling was used"),
        Attribute("images", "int", "images that were evaluated, without the skipped ones"),
        Attribute("skipped", "int", "images that could not be read"),
        Attribute("waiting", "int", "images that were not evaluated yet", required=False),
        Attribute("pixels", "text", "stored, or pointers: keys, hashes and windows only; pixels can be filled in"),
    ),
    (
        Field("classes", "text", ("class",), "names of the dataset's classes, by class number; empty without labels"),
        Field("class_ids", "text", ("class",), "the dataset's own names of its classes: folders, wnids",
              required=False),
        Field("skipped_key", "text", ("skipped",), "keys of the images that could not be read"),
        Field("skipped_reason", "text", ("skipped",), "why each of them could not be read"),
    ),
    open=True,
    required=False,
)  # fmt: skip
IMAGES = Group(
    "/dataset/images",
    "every image that is a hit of a unit or the nearest to a synthetic picture, once, by rising number; other groups "
    "name an image by its row here",
    (),
    (
        Field("number", "i4", ("image",), "place of the image in the dataset, from 0, rising"),
        Field("key", "text", ("image",), "name of the image in the dataset, never a path of a machine"),
        Field("hash", "u1", ("image", "byte"), "SHA-256 of the file's bytes"),
        Field("label", "i4", ("image",), "class number; -1 without a label"),
        Field("placement", "f4", ("image", "side"),
              "box of the original that the network's input shows: top, left, bottom, right; it sticks out where "
              "the input is padded", "pixels of the original"),
        Field("size", "i4", ("image", "plane"), "size of the original, upright", "pixels of the original"),
        Field("pixels", "u1", ("image", "y", "x", "rgb"), "the network's input as true colours; absent for pointers",
              "pixel levels, 0 to 255", required=False),
    ),
    required=False,
)  # fmt: skip
GROUPS = (DATASET, IMAGES)

_KEPT_BYTES = 40_000_000  # of decoded images that are kept, because one image is a hit of many units


@dataclass(frozen=True)
class Dataset:
    """The dataset of an open atlas. Arrays begin with (image,), by rising number; hits name images by their row."""

    group: h5py.Group

    @classmethod
    def of(cls, atlas: Atlas) -> Dataset | None:
        """The dataset of an atlas, or None."""
        group = subgroup(atlas.file, "dataset")
        return None if group is None else cls(group)

    @cached_property
    def name(self) -> str:
        """The dataset's name."""
        return str(self.group.attrs["name"])

    @cached_property
    def kind(self) -> str:
        """Its layout: folder, list, tar, imagenet or doodles."""
        return str(self.group.attrs["kind"])

    @property
    def digest(self) -> str:
        """SHA-256 over keys, content hashes and labels of all its images, in hexadecimal."""
        return str(self.group.attrs["digest"])

    @property
    def preprocess(self) -> str:
        """How an image becomes the network's input: squash, short_side, resize or pad."""
        return str(self.group.attrs["preprocess"])

    @property
    def reduced_decoding(self) -> bool:
        """Whether the decoder's own down-scaling was used."""
        return bool(self.group.attrs["reduced_decoding"])

    @cached_property
    def images(self) -> int:
        """How many images were evaluated, without the skipped ones."""
        return int(self.group.attrs["images"])

    @property
    def waiting(self) -> int:
        """How many images were not evaluated yet."""
        return int(self.group.attrs.get("waiting", 0))

    @cached_property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Key and reason of every image that could not be read."""
        keys, reasons = (self.group[name].asstr()[...].tolist() for name in ("skipped_key", "skipped_reason"))
        return tuple(zip(keys, reasons, strict=True))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes; empty without labels."""
        return tuple(self.group["classes"].asstr()[...])

    @cached_property
    def number(self) -> np.ndarray:
        """(image,) place in the dataset."""
        return self.group["images/number"][...]

    @cached_property
    def key(self) -> tuple[str, ...]:
        """(image,) name in the dataset."""
        return tuple(self.group["images/key"].asstr()[...])

    @cached_property
    def label(self) -> np.ndarray:
        """(image,) class number, -1 without a label."""
        return self.group["images/label"][...]

    @cached_property
    def hash(self) -> np.ndarray:
        """(image, 32) SHA-256 of the file's bytes."""
        return self.group["images/hash"][...]

    @cached_property
    def placement(self) -> np.ndarray:
        """(image, side) box of the original that the network's input shows, in the original's pixels."""
        return self.group["images/placement"][...]

    @cached_property
    def size(self) -> np.ndarray:
        """(image, plane) rows and columns of the original."""
        return self.group["images/size"][...]

    @cached_property
    def has_pixels(self) -> bool:
        """Whether the pixels of hits are in the file."""
        return "images/pixels" in self.group

    def is_read(self, row: int) -> bool:
        """Whether an image has been read, and is stored; those of a run that is not finished are stored last."""
        return bool(self._are_read[row])

    def pixels(self, row: int) -> np.ndarray:
        """(y, x, rgb) uint8, the network's input for one image. MissingError where the atlas has only pointers."""
        if not self.has_pixels:
            raise MissingError(
                f"dataset {self.name}: the atlas has keys and hashes of its images, no pixels; fill them in from a "
                "copy of the dataset with make pixels"
            )
        return self._read(row)

    def class_name(self, label: int) -> str:
        """The name of a class: its label, its number, or nothing for -1."""
        if label < 0:
            return ""
        return self.classes[label] if label < len(self.classes) and self.classes[label] else f"class {label}"

    def original(
        self, row: int, window: tuple[int, int, int, int], input_size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """A window of the network's input in pixels of the original image: top, left, bottom, right.

        NaN for an image that has not been read.
        """
        top, left, bottom, right = self.placement[row].tolist()
        high, wide = (bottom - top) / input_size[0], (right - left) / input_size[1]
        return top + window[0] * high, left + window[1] * wide, top + window[2] * high, left + window[3] * wide

    @cached_property
    def _read(self) -> Callable[[int], np.ndarray]:
        stored = self.group["images/pixels"]
        kept = max(1, _KEPT_BYTES // max(1, math.prod(stored.shape[1:])))
        return lru_cache(kept)(lambda row: stored[row])

    @cached_property
    def _are_read(self) -> np.ndarray:
        """(image,) what `is_read` says of each."""
        return np.isfinite(self.placement).all(axis=1)


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions between /dataset, its images and the network's input."""
    if "dataset" not in file:
        return
    group = file["dataset"]
    skipped = len(group["skipped_key"])
    if int(group.attrs["skipped"]) != skipped:
        yield f"/dataset: attribute skipped is {group.attrs['skipped']}, but {skipped} are listed"
    if group.attrs["pixels"] not in ("stored", "pointers"):
        yield f"/dataset: attribute pixels is {group.attrs['pixels']!r}, expected 'stored' or 'pointers'"
    if "images" not in group:
        return
    images = group["images"]
    if ("pixels" in images) != (group.attrs["pixels"] == "stored"):
        yield f"/dataset/images: pixels are {'' if 'pixels' in images else 'not '}there, but /dataset states otherwise"
    elif "pixels" in images and images["pixels"].shape[1:3] != input_size(file):
        yield f"/dataset/images/pixels: size {images['pixels'].shape[1:3]}, expected the input's {input_size(file)}"
    number, label = images["number"][...], images["label"][...]
    if number.size and not (number[0] >= 0 and (np.diff(number) > 0).all()):
        yield "/dataset/images/number: not rising from 0 on"
    classes = len(group["classes"])
    if label.size and not (label.min() >= -1 and label.max() < max(classes, 1)):
        yield f"/dataset/images/label: not within -1 to {classes - 1}"


def input_size(file: h5py.File) -> tuple[int, int]:
    """Height and width of the network's input in pixels."""
    attributes = file["preprocessing"].attrs
    return int(attributes["height"]), int(attributes["width"])
