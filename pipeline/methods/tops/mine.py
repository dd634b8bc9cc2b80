"""Mining: in one pass over a block of images, the images that excite each unit most, and statistics of each unit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.methods.tops import moments, topk
from pipeline.methods.tops.blocks import RELU, BlockResult, LayerBlock, joined, rectified_parts
from pipeline.methods.tops.derivation import Derivation, derive
from pipeline.methods.tops.histogram import Counter
from pipeline.methods.tops.moments import Moments
from pipeline.methods.tops.reading import MapReader, Reading
from pipeline.methods.tops.topk import Hits
from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Network, is_gated, is_rectified, stream

_HELD = 1 << 22  # maximum number of readings held before they are merged: 84 MB
_FEWEST, _MOST = 256, 2048  # minimum and maximum number of images held


@dataclass(frozen=True)
class MineSettings:
    """What is kept of each unit.

    k : number of hits of every kind.
    smallest : also keep the k smallest maxima.
    own_class : for the class layer, also keep the k best images of each unit's own class.
    quantiles : also keep k images evenly spaced over a sample's maxima, in descending order.
    positions : also keep moments and histogram of all positions, besides those of the per-image maxima.
    """

    k: int
    smallest: bool
    own_class: bool
    quantiles: bool
    positions: bool


def mine_block(
    network: Network,
    layers: Sequence[str],
    batches: Iterable[Batch],
    *,
    settings: MineSettings,
    sample: Collection[int],
    labels: Mapping[int, int],
    classes: int,
    device: torch.device,
) -> BlockResult:
    """Hits and statistics of every unit of the named layers over the images of one block.

    network : on the device.
    batches : (numbers, pixels, count) of one shape; images beyond `count` are padding. No image comes twice.
    sample : numbers of the images whose maxima are kept for quantiles and correlations.
    labels : image number → class; an image may have none.
    classes : number of classes.

    In batches of one shape, an image's value does not depend on its place in the batch or on the other images. If a
    unit is NaN anywhere in an image, the image is left out for that unit.
    Source: Yosinski et al. 2015, section 2, and their program: one candidate per image, the maximum's first position.
    Departure: ties are ordered by image and position, and small values are kept too.
    """
    plan = derive(network, layers)
    mined = [name for name in layers if not plan.joins(name)]
    chunk = _Chunk(sample, labels, sum(network.layer(name).channels for name in mined))
    miners = {name: _LayerMiner(network, name, settings, classes, chunk.size) for name in mined}
    reader, images = MapReader(device), None
    with torch.inference_mode():
        for numbers, pixels, count in batches:
            if len(chunk) + count > chunk.size:
                _flush(miners, plan, chunk)
            images = centred(network.preprocessing, pixels, device, into=images)
            start = chunk.take(numbers[:count])
            for name, maps in stream(network, images, plan.measured):
                miner, relu = miners[name], miners.get(plan.relu_of.get(name, ""))
                over = None if relu is None else relu.next_rows(start, count)
                reader.read(maps[:count], miner.next_rows(start, count), over, miner.counter(device))
        _flush(miners, plan, chunk)
    return _finish(network, layers, miners, plan)


@dataclass(frozen=True)
class _Images:
    """Numbers of images, their classes (−1 for none) and whether they are in the sample; all (image,)."""

    numbers: np.ndarray
    labels: np.ndarray
    sampled: np.ndarray


class _Chunk:
    """The images whose readings wait to be merged. Their number depends on the units only: it decides the last bits."""

    def __init__(self, sample: Collection[int], labels: Mapping[int, int], units: int) -> None:
        self._sample, self._labels, self._numbers = sample, labels, []
        self.size = min(max(_HELD // units, _FEWEST), _MOST)

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, numbers: np.ndarray) -> int:
        """Add images; return the row of the first."""
        if len(numbers) > self.size:
            raise ValueError(f"mining: batch of {len(numbers)} images, expected at most {self.size}")
        start = len(self._numbers)
        self._numbers += [int(number) for number in numbers]
        return start

    def empty(self) -> _Images:
        """Return the waiting images, and remove them."""
        numbers, self._numbers = self._numbers, []
        return _Images(
            np.array(numbers, np.int64),
            np.array([self._labels.get(number, -1) for number in numbers], np.int64),
            np.array([number in self._sample for number in numbers], bool),
        )


class _LayerMiner:
    """The hits and statistics of one layer so far, and working memory for one chunk of images."""

    def __init__(self, network: Network, name: str, settings: MineSettings, classes: int, images: int) -> None:
        layer = network.layer(name)
        self._settings, self._width, self._area = settings, layer.width, layer.height * layer.width
        self._gated = _has_off(network, name)
        units = layer.channels
        self._reading = Reading.blank(images, units)
        self._counter: Counter | None = None
        self._maxima_counter = Counter(units, torch.device("cpu"))
        self._largest = Hits.empty(units, settings.k)
        self._smallest = Hits.empty(units, settings.k) if settings.smallest else None
        best_of_own = settings.own_class and name == network.class_layer and units == classes
        self._own_class = Hits.empty(units, settings.k) if best_of_own else None
        self._not_a_number, self._active = np.zeros(units, np.int64), np.zeros(units, np.int64)
        self._maxima = Moments.empty(units)
        self._positions = Moments.empty(units) if settings.positions else None
        self._class_counts, self._class_sums = np.zeros((classes, units), np.int64), np.zeros((classes, units))
        self._sample: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def next_rows(self, start: int, count: int) -> Reading:
        """The memory for the readings of the chunk's next images."""
        return self._reading.rows(start, start + count)

    def counter(self, device: torch.device) -> Counter | None:
        """The counter of the values at all positions; None if they are not requested, or are the maxima."""
        if self._counter is None and self._settings.positions and self._area > 1:
            self._counter = Counter(len(self._active), device)
        return self._counter

    def merge(self, images: _Images, *, derived: bool) -> None:
        """Add the readings of the images. derived : whether histogram and sample follow from another layer."""
        reading, k = self._reading.rows(0, len(images.numbers)), self._settings.k
        value, place = reading.value, reading.place
        common = (images.numbers, place, self._width, k)
        self._largest = topk.merge(self._largest, topk.best_images(value, *common), k)
        if self._smallest is not None:
            few = topk.best_images(value, *common, smallest=True)
            self._smallest = topk.merge(self._smallest, few, k, smallest=True)
        if self._own_class is not None:
            self._own_class = topk.merge(self._own_class, topk.best_of_own_class(value, *common, images.labels), k)
        self._add_moments(reading)
        self._add_classes(value, images.labels)
        if not derived:
            maxima = torch.from_numpy(value)[None]
            self._maxima_counter.add(maxima, torch.empty(maxima.numel(), dtype=torch.float16))
            self._keep_sample(images, reading)

    def block(self, derived: Mapping[str, np.ndarray | None] | None) -> LayerBlock:
        """The layer's block. derived : the fields that follow from another layer."""
        present = np.flatnonzero(self._class_counts.any(axis=1))
        counts = self._class_counts[present]
        if not self._not_a_number.any():
            counts = counts[:, :1]
        fields: dict[str, np.ndarray | None]
        if derived is not None:
            fields = dict(derived)
        else:
            images, values, places = (np.concatenate(parts) for parts in zip(*self._sample, strict=True))
            fields = {
                "maxima_counts": self._maxima_counter.counts(),
                "position_counts": self._position_counts(),
                "sample_images": images,
                "sample_values": values,
                "sample_places": places,
            }
        return LayerBlock(
            width=self._width,
            gated=self._gated,
            largest=self._largest,
            smallest=self._smallest,
            own_class=self._own_class,
            not_a_number=self._not_a_number,
            active=self._active,
            maxima=self._maxima,
            positions=self._positions if self._area > 1 or self._positions is None else self._maxima,
            classes=present,
            class_counts=counts,
            class_sums=self._class_sums[present],
            **fields,
        )

    def _position_counts(self) -> np.ndarray | None:
        if not self._settings.positions:
            return None
        return self._maxima_counter.counts() if self._counter is None else self._counter.counts()

    def _add_moments(self, reading: Reading) -> None:
        value = reading.value
        good = ~np.isnan(value)
        self._not_a_number += len(value) - good.sum(axis=0)
        self._active += (value > 0).sum(axis=0)
        with np.errstate(invalid="ignore"):  # the spread of infinities is NaN
            single = moments.of_groups(value, np.zeros_like(value), value, value, good=good, size=1)
            self._maxima = moments.merge(self._maxima, single)
            if self._positions is not None and self._area > 1:
                parts = (reading.mean, reading.squares, reading.least, value)
                self._positions = moments.merge(self._positions, moments.of_groups(*parts, good=good, size=self._area))

    def _add_classes(self, value: np.ndarray, labels: np.ndarray) -> None:
        order = np.argsort(labels, kind="stable")
        order = order[np.searchsorted(labels[order], 0) :]
        if not len(order):
            return
        present, starts = np.unique(labels[order], return_index=True)
        ours = value[order].astype(np.float64)
        good = ~np.isnan(ours)
        if good.all():
            self._class_sums[present] += np.add.reduceat(ours, starts, axis=0)
            self._class_counts[present] += np.diff(starts, append=len(order))[:, None]
            return
        self._class_sums[present] += np.add.reduceat(np.where(good, ours, 0.0), starts, axis=0)
        self._class_counts[present] += np.add.reduceat(good.astype(np.int64), starts, axis=0)

    def _keep_sample(self, images: _Images, reading: Reading) -> None:
        chosen = images.sampled
        narrow = np.uint16 if self._area <= 1 << 16 else np.int32
        self._sample.append((images.numbers[chosen], reading.value[chosen], reading.place[chosen].astype(narrow)))


def _flush(miners: Mapping[str, _LayerMiner], plan: Derivation, chunk: _Chunk) -> None:
    images = chunk.empty()
    for name, miner in miners.items():
        miner.merge(images, derived=name in plan.sources)


def _finish(
    network: Network, layers: Sequence[str], miners: Mapping[str, _LayerMiner], plan: Derivation
) -> BlockResult:
    """The blocks of all layers, in the requested order; derived layers are computed from the measured ones."""
    done: dict[str, LayerBlock] = {}
    for name in plan.measured:
        done[name] = miners[name].block(None)
    for name, source in plan.sources.items():  # in the order of the graph
        if source.rule == RELU:
            done[name] = miners[name].block(rectified_parts(done[source.layers[0]]))
        else:
            done[name] = joined([done[part] for part in source.layers], gated=_has_off(network, name))
    return BlockResult({name: done[name] for name in layers}, dict(plan.sources))


def _has_off(network: Network, layer: str) -> bool:
    return is_gated(network, layer) or is_rectified(network, layer)
