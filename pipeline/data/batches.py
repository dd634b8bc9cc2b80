"""Images in batches of one shape, decoded while the network computes, and a record of the skipped ones."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from pipeline.data.decoding import BadImage, Decoded, decode
from pipeline.data.fitting import Fitted, Placement, fit, least_size
from pipeline.data.source import ImageSource, Load
from pipeline.errors import EnvironmentFault, RefusedDataset

HANDFUL = 5  # bad images that are allowed whatever their share, for small datasets
_GROUP = 8  # images that a thread decodes at a time
_SHOWN = 3  # bad images named in an error


@dataclass(frozen=True)
class Skipped:
    """An image that was skipped.

    image : its number in the dataset.
    key : its name in the dataset.
    reason : why it cannot be used.
    """

    image: int
    key: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Images in the network's input size.

    pixels : (batch, row, column, rgb) uint8. The shape is always the same: after the first `count` images the last one
        is repeated.
    images : numbers of the `count` images in the dataset.
    placements : for each of them, the position of the input in the original image.
    """

    pixels: np.ndarray = field(repr=False)
    images: tuple[int, ...]
    placements: tuple[Placement, ...]

    @property
    def count(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _Fit:
    """Turns encoded images into network input; fields as the arguments of `batches`."""

    source: ImageSource
    height: int
    width: int
    preprocess: str
    reduced: bool
    fill: tuple[int, int, int]
    interpolation: str

    def group(self, loads: Sequence[tuple[int, Load]]) -> list[tuple[int, Fitted | BadImage]]:
        return [(image, self.one(image, load)) for image, load in loads]

    def one(self, image: int, load: Load) -> Fitted | BadImage:
        """One image, or why it cannot be used. Raises EnvironmentFault if its content differs from the index."""
        try:
            data = self._load(image, load)
            if isinstance(data, np.ndarray):
                decoded = Decoded(data, data.shape[0], data.shape[1])
            else:
                self._check(image, data)
                least = least_size(self.preprocess, self.height, self.width) if self.reduced else None
                decoded = decode(data, reduced_to=least)
        except BadImage as error:
            return error.with_traceback(None)
        return fit(decoded, self.preprocess, self.height, self.width, self.fill, self.interpolation)

    def _load(self, image: int, load: Load) -> bytes | np.ndarray:
        """The image's bytes or pixels. One that the index lacks is bad on every machine, whether or not it is there."""
        if self.source.index.hashes[image].any():
            return load()
        with suppress(EnvironmentFault):
            load()  # which may know a better reason
        raise BadImage("could not be read when the dataset was indexed")

    def _check(self, image: int, data: bytes) -> None:
        index = self.source.index
        if hashlib.sha256(data).digest() != index.hashes[image].tobytes():
            raise EnvironmentFault(
                f"dataset {self.source.name}: {index.keys[image]} has changed since the dataset was indexed, or "
                "differs on this machine; start again (touch the file first if it kept its old modification time)"
            )


def batches(
    source: ImageSource,
    start: int,
    stop: int,
    *,
    height: int,
    width: int,
    preprocess: str,
    fill: tuple[int, int, int],
    reduced: bool,
    batch: int,
    threads: int,
    skipped: list[Skipped],
    interpolation: str = "bilinear",
) -> Iterator[Batch]:
    """Yield the images start … stop−1 in batches, in order, without those that cannot be decoded.

    Threads decode the next two batches while the caller works on one; no more are held.

    height, width : of the network's input, in pixels.
    preprocess, fill, interpolation : as for `fit`.
    reduced : let the JPEG decoder scale down.
    batch : images in a batch.
    threads : number of decoding threads; with 0, the caller's thread decodes on demand.
    skipped : receives the skipped images, in order; it is complete when the iterator ends.
    Raises EnvironmentFault if an indexed image cannot be read, or its content differs from the index.
    """
    work = _Fit(source, height, width, preprocess, reduced, fill, interpolation)
    waiting: list[tuple[int, Fitted]] = []
    for image, result in _in_order(work, source.loads(start, stop), 2 * batch, threads):
        if isinstance(result, BadImage):
            skipped.append(Skipped(image, source.index.keys[image], result.reason))
            continue
        waiting.append((image, result))
        if len(waiting) == batch:
            yield _batch(waiting, batch)
            waiting = []
    if waiting:
        yield _batch(waiting, batch)


def check_bad(skipped: Sequence[Skipped], count: int, bad_share: float, name: str) -> None:
    """Raise RefusedDataset if too many images were skipped, or all of them.

    count : images in all.
    bad_share : the share of them that may be skipped. HANDFUL images may always be, unless the share is 0.
    name : of the dataset, for messages.
    """
    allowed = max(HANDFUL, int(bad_share * count)) if bad_share else 0
    if not skipped or (len(skipped) <= allowed and len(skipped) < count):
        return
    shown = "; ".join(f"{bad.key}: {bad.reason}" for bad in skipped[:_SHOWN])
    raise RefusedDataset(
        f"dataset {name}: {len(skipped)} of {count} images cannot be used, allowed are {min(allowed, count - 1)} "
        f"({shown}{'; …' if len(skipped) > _SHOWN else ''}); mend or remove them, or allow more by dataset.bad_share=…"
    )


def _in_order(
    work: _Fit, loads: Iterator[tuple[int, Load]], ahead: int, threads: int
) -> Iterator[tuple[int, Fitted | BadImage]]:
    """Yield the result of every image, in order; at most about `ahead` of them are decoded in advance."""
    if threads == 0:
        for image, load in loads:
            yield image, work.one(image, load)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    under_way: deque[Future[list[tuple[int, Fitted | BadImage]]]] = deque()
    try:
        while True:
            while len(under_way) * _GROUP < ahead + _GROUP:
                group = [*islice(loads, _GROUP)]
                if not group:
                    break
                under_way.append(pool.submit(work.group, group))
            if not under_way:
                return
            yield from under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        loads.close()  # type: ignore[attr-defined]


def _batch(waiting: Sequence[tuple[int, Fitted]], size: int) -> Batch:
    images = [fitted.pixels for _, fitted in waiting]
    images += images[-1:] * (size - len(images))
    return Batch(
        pixels=np.stack(images),
        images=tuple(image for image, _ in waiting),
        placements=tuple(fitted.placement for _, fitted in waiting),
    )
