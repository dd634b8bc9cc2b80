"""The images of a dataset in their order: an index of them, and access to their bytes."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from pipeline.data.decoding import image_suffixes
from pipeline.data.doodles import REVISION, Doodles, label_of

UNREADABLE = bytes(32)  # the hash of a file that could not be read
NO_LABEL = -1

Load = Callable[[], "bytes | np.ndarray"]  # encoded bytes, or pixels (row, column, rgb)
Progress = Callable[[int, int], None]  # bytes read so far, bytes in all


@dataclass(frozen=True, eq=False)
class Index:
    """Names, labels and content hashes of all images; making it decodes no image.

    keys : names within the dataset, with "/", all different; never paths of the machine.
    labels : (image,) int32, class numbers; NO_LABEL for none.
    hashes : (image, 32) uint8, SHA-256 of the encoded bytes; for a drawing, of the numbers that determine its pixels;
        all zero for a file that could not be read.
    class_ids : by class number, the dataset's name of the class, such as a folder or a wnid.
    class_names : by class number, the readable name of the class.
    notes : lines for the log about how the classes were read.
    """

    keys: tuple[str, ...]
    labels: np.ndarray
    hashes: np.ndarray
    class_ids: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the keys, hashes and labels in their order, which identifies the dataset."""
        digest = hashlib.sha256()
        for key, content, label in zip(self.keys, self.hashes, self.labels.tolist(), strict=True):
            digest.update(json.dumps([key, content.tobytes().hex(), label]).encode() + b"\n")
        return digest.hexdigest()

    def sample(self, count: int, among: Iterable[int] | None = None) -> np.ndarray:
        """A pseudo-random sample of images: ascending numbers, int64.

        It takes the images whose content hashes have the smallest SHA-256, so it depends neither on the order of the
        images nor on how they are partitioned. Of images with equal contents the earlier one comes first.

        count : size of the sample.
        among : numbers of the images to choose from; None for all.
        """
        if among is not None:
            return self._sample(count, np.array([*among], np.int64))
        if count not in self._samples:
            self._samples[count] = self._sample(count, np.arange(len(self)))
        return self._samples[count]

    @cached_property
    def _samples(self) -> dict[int, np.ndarray]:
        """Samples of all images by size. They travel with the index, so that workers need not draw them again."""
        return {}

    def _sample(self, count: int, images: np.ndarray) -> np.ndarray:
        if count >= len(images):
            return np.sort(images)
        digests = b"".join(hashlib.sha256(content).digest() for content in map(bytes, self.hashes[images]))
        words = np.frombuffer(digests, ">u8").reshape(-1, 4).astype(np.uint64)
        last = np.partition(words[:, 0], count - 1)[count - 1]
        near = np.flatnonzero(words[:, 0] <= last)  # all of the sample, and what equals its last in the first 8 bytes
        order = np.lexsort((images[near], *words[near].T[::-1]))
        return np.sort(images[near[order[:count]]])


@dataclass(frozen=True, eq=False)
class ImageSource(ABC):
    """Images with an index. It is pickled to workers, which must have the files under the same paths.

    name : of the dataset.
    index : of its images.
    """

    name: str
    index: Index = field(repr=False)

    @abstractmethod
    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        """Yield the numbers start … stop−1, each with a function that returns the image's bytes or pixels.

        The function may be called in any thread. It raises BadImage for an image that cannot be used anywhere; both
        raise EnvironmentFault for an indexed file that cannot be read here.
        """

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
    """Drawings, which are drawn on demand."""

    doodles: Doodles

    def loads(self, start: int, stop: int) -> Iterator[tuple[int, Load]]:
        for image in self._bounds(start, stop):
            yield image, partial(_drawing, self.doodles, image)


def doodle_source(name: str, doodles: Doodles) -> DoodleSource:
    """The drawings with their index; draws nothing."""
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
    """A file's name as a key: bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image and is not hidden."""
    last = name.rsplit("/", 1)[-1]
    return not last.startswith(".") and last.lower().endswith(image_suffixes())


_KEPT = 1 << 27  # bytes of drawings that a process keeps: all of the default dataset
_kept: dict[tuple[int, int, int], np.ndarray] = {}  # seed, number, size → pixels


def _drawing(doodles: Doodles, image: int) -> np.ndarray:
    """The pixels of a drawing, (row, column, RGB) uint8.

    Drawing takes longer than a small network, and an image is read again for its pixels and for each layer's
    back-projections. The first drawings are kept: images are read in ascending order again and again, so that keeping
    the last ones would find nothing.
    """
    key = doodles.seed, image, doodles.size
    pixels = _kept.get(key)
    if pixels is None:
        pixels = doodles[image][0]
        if (len(_kept) + 1) * pixels.nbytes <= _KEPT:
            _kept[key] = pixels
    return pixels.copy()
