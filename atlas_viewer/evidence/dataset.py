"""The images that an atlas looked at: which they are, and the pixels of those that are hits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import h5py
import numpy as np

from atlas_viewer.errors import MissingError

_KEPT = 256  # images that stay decoded, because one image is a hit of many units: 40 MB at 227 × 227


@dataclass(frozen=True)
class Dataset:
    """The dataset of an open atlas. Arrays begin with (image,): the rows that hits name, rising by number."""

    group: h5py.Group

    @property
    def name(self) -> str:
        """The dataset's name."""
        return str(self.group.attrs["name"])

    @property
    def kind(self) -> str:
        """How it is laid out: folder, list, tar, imagenet or doodles."""
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

    @property
    def images(self) -> int:
        """How many images were looked at, without the skipped ones."""
        return int(self.group.attrs["images"])

    @property
    def waiting(self) -> int:
        """How many images were not looked at yet."""
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
        """(image,) class number, -1 where there is none."""
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

    @property
    def has_pixels(self) -> bool:
        """Whether the pixels of hits are in the file."""
        return "images/pixels" in self.group

    def pixels(self, row: int) -> np.ndarray:
        """(y, x, rgb) uint8, the network's input for one image. MissingError where the atlas has pointers alone."""
        if not self.has_pixels:
            raise MissingError(
                f"dataset {self.name}: the atlas has keys and hashes of its images, no pixels; fill them in from a "
                "copy of the dataset with make pixels"
            )
        return self._read(row)

    def class_name(self, label: int) -> str:
        """What a class is called: its name, its number, or nothing for -1."""
        if label < 0:
            return ""
        return self.classes[label] if label < len(self.classes) and self.classes[label] else f"class {label}"

    def original(
        self, row: int, window: tuple[int, int, int, int], input_size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """A window of the network's input in pixels of the original image: top, left, bottom, right."""
        top, left, bottom, right = self.placement[row].tolist()
        high, wide = (bottom - top) / input_size[0], (right - left) / input_size[1]
        return top + window[0] * high, left + window[1] * wide, top + window[2] * high, left + window[3] * wide

    @cached_property
    def _read(self) -> Callable[[int], np.ndarray]:
        stored = self.group["images/pixels"]
        return lru_cache(_KEPT)(lambda row: stored[row])
