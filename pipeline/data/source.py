"""The images of a dataset, in their order: what is known of them, and where their bytes come from."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from pipeline.data.doodles import REVISION, Doodles, label_of

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif")
UNREADABLE = bytes(32)  # the hash of a file that could not be read
NO_LABEL = -1

Load = Callable[[], "bytes | np.ndarray"]  # encoded bytes, or pixels (row, column, rgb); raises BadImage
Progress = Callable[[int, int], None]  # bytes looked at so far, bytes in all


@dataclass(frozen=True, eq=False)
class Index:
    """What is known of every image before any is decoded.

    keys : names within the dataset, with "/", never paths of the machine; all different. labels : (image,) int32,
    class numbers, NO_LABEL for none. hashes : (image, 32) uint8, SHA-256 of the encoded bytes (of a drawing: of what
    decides its pixels; all zero for a file that could not be read). class_ids, class_names : by class number; the
    id is what the dataset calls the class (a folder, a wnid), the name what people do.
    """

    keys: tuple[str, ...]
    labels: np.ndarray
    hashes: np.ndarray
    class_ids: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the keys, hashes and labels in their order: another dataset has another digest."""
        digest = hashlib.sha256()
        for key, content, label in zip(self.keys, self.hashes, self.labels.tolist(), strict=True):
            digest.update(json.dumps([key, content.tobytes().hex(), label]).encode() + b"\n")
        return digest.hexdigest()

    def sample(self, count: int, among: Iterable[int] | None = None) -> np.ndarray:
        """The `count` images (rising, int64) of least SHA-256 of their content hash: a choice by chance, the same
        whatever the order or the partition. Equal contents fall to the earlier image.

        among : numbers of the images that there is a choice of; None for all.
        """
        images = range(len(self)) if among is None else among
        order = sorted((hashlib.sha256(self.hashes[image].tobytes()).digest(), int(image)) for image in images)
        return np.array(sorted(image for _, image in order[:count]), np.int64)


@dataclass(frozen=True, eq=False)
class ImageSource(ABC):
    """Images with an index. Travels to workers as it is, and needs the files to lie there under the same path."""

    name: str
    index: Index = field(repr=False)

    @abstractmethod
    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        """Images start … stop−1 in order, each with what gives its bytes or pixels, in any thread."""

    @property
    def digest(self) -> str:
        return self.index.digest

    def __len__(self) -> int:
        return len(self.index)

    def _bounds(self, start: int, stop: int) -> range:
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"{self.name}: images {start} to {stop} are outside 0..{len(self)}")
        return range(start, stop)


@dataclass(frozen=True, eq=False)
class DoodleSource(ImageSource):
    """Drawings, made when they are asked for."""

    doodles: Doodles

    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        for image in self._bounds(start, stop):
            yield image, partial(_drawing, self.doodles, image)


def doodle_source(name: str, doodles: Doodles) -> DoodleSource:
    """The drawings with their index; nothing is drawn for it."""
    numbers = range(len(doodles))
    recipes = (f"doodles {REVISION} {doodles.seed} {number} {doodles.size}" for number in numbers)
    hashes = b"".join(hashlib.sha256(recipe.encode()).digest() for recipe in recipes)
    index = Index(
        keys=tuple(doodles.key(number) for number in numbers),
        labels=np.array([label_of(doodles.seed, number) for number in numbers], np.int32),
        hashes=np.frombuffer(hashes, np.uint8).reshape(-1, 32),
        class_ids=doodles.classes,
        class_names=doodles.classes,
    )
    return DoodleSource(name, index, doodles)


def key_of(name: str) -> str:
    """A file's name as a key: bytes that are no UTF-8 are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image; hidden files are not."""
    last = name.rsplit("/", 1)[-1]
    return not last.startswith(".") and last.lower().endswith(SUFFIXES)


def _drawing(doodles: Doodles, image: int) -> np.ndarray:
    return doodles[image][0]
