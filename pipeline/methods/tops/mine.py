"""Mining: in one pass over a block of images, the images that excite each unit most, and statistics of each unit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.methods.tops.blocks import RELU, BlockResult, LayerBlock, joined, rectified_parts
from pipeline.methods.tops.derivation import Derivation, derive
from pipeline.methods.tops.positions import Memory, Positions
from pipeline.methods.tops.reading import Readings
from pipeline.methods.tops.tally import Images, Tally
from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Layer, Network, Stream, is_gated, is_rectified

_HELD = 1 << 22  # maximum number of readings held before they are merged: 34 MB
_FEWEST, _MOST = 256, 2048  # minimum and maximum number of images held
_TILE = 1 << 19  # readings merged at a time: 2 MB, about a core's cache


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
    position_sample: Collection[int],
    labels: Mapping[int, int],
    classes: int,
    device: torch.device,
) -> BlockResult:
    """Hits and statistics of every unit of the named layers over the images of one block.

    network : on the device.
    batches : (numbers, pixels, count) of one shape; images beyond `count` are padding. No image comes twice.
    sample : numbers of the images whose maxima are kept for quantiles and correlations.
    position_sample : numbers of the images whose positions are counted; all images are, in layers of one position.
    labels : image number → class; an image may have none.
    classes : number of classes.

    In batches of one shape, an image's value does not depend on its place in the batch or on the other images. If a
    unit is NaN anywhere in an image, the image is left out for that unit.
    Source: Yosinski et al. 2015, section 2, and their program: one candidate per image, the maximum's first position.
    Departure: ties are ordered by image and position, and small values are kept too.
    """
    plan, images = derive(network, layers), None
    measured = Stream(network, plan.measured, overwrite=True)
    with torch.inference_mode():
        mined = _Mined(network, plan, settings, classes, device, (sample, position_sample, labels))
        for numbers, pixels, count in batches:
            chosen = mined.take(numbers[:count])
            images = centred(network.preprocessing, pixels, device, into=images)
            for name, maps in measured.run(images):
                value = mined.readings.read(name, maps if count == len(maps) else maps[:count])
                if chosen and name in mined.positions:
                    mined.positions[name].add(maps, value, chosen)
        mined.merge()
        return _finish(network, layers, mined, plan)


class _Mined:
    """What was mined so far, and the readings of the images that wait to be merged.

    Their number depends on the units only: it decides the last bits.

    readings : of the measured layers.
    positions : measured layer → the values at its positions, unless they are the maxima or not requested.
    """

    def __init__(
        self,
        network: Network,
        plan: Derivation,
        settings: MineSettings,
        classes: int,
        device: torch.device,
        about: tuple[Collection[int], Collection[int], Mapping[int, int]],
    ) -> None:
        """about : sample, position_sample and labels, as for `mine_block`."""
        self._sample, self._position_sample, self._labels = about
        self._numbers: list[int] = []
        self._settings, self._relu_of = settings, plan.relu_of
        measured = {name: network.layer(name) for name in plan.measured}
        rectified = {relu: network.layer(relu) for relu in plan.relu_of.values()}
        units = sum(layer.channels for layer in (*measured.values(), *rectified.values()))
        self._size = min(max(_HELD // units, _FEWEST), _MOST)
        self.readings = Readings(measured)
        memory, maps = Memory(device), {name: layer for name, layer in measured.items() if layer.spatial}
        self.positions = {
            name: Positions(layer.channels, layer.width, memory, rectified=name in plan.relu_of)
            for name, layer in (maps.items() if settings.positions else ())
        }
        self.tallies = {
            name: _tally(layer, name not in rectified, network, settings, classes)
            for name, layer in {**measured, **rectified}.items()
        }

    def take(self, numbers: np.ndarray) -> list[int]:
        """Add the images of a batch, after merging those that wait if there is no room.

        Returns the places in the batch of those whose positions are counted.
        """
        if len(self._numbers) + len(numbers) > self._size:
            self.merge()
        if len(numbers) > self._size:
            raise ValueError(f"mining: batch of {len(numbers)} images, expected at most {self._size}")
        images = [int(number) for number in numbers]
        self._numbers += images
        return [place for place, image in enumerate(images) if image in self._position_sample]

    def merge(self) -> None:
        """Merge the waiting readings, and remove them."""
        numbers, self._numbers = self._numbers, []
        images = Images.of(
            np.array(numbers, np.int64),
            np.array([self._labels.get(number, -1) for number in numbers], np.int64),
            np.array([number in self._sample for number in numbers], bool),
        )
        for name, values, places in self.readings.taken():
            relu = self._relu_of.get(name)
            for units in _tiles(values.shape[1], len(numbers)):
                value, place = values[:, units], places[:, units]
                self.tallies[name].add(images, value, place, units)
                if relu is not None:
                    self.tallies[relu].add(images, np.maximum(value, 0), place * (value > 0), units)  # passes NaN on

    def block(self, network: Network, name: str, below: LayerBlock | None = None) -> LayerBlock:
        """The block of a layer. below : of a ReLU's layer, the block of the layer below it."""
        tally, source = self.tallies[name], name
        if below is None:
            derived = tally.distribution()
        else:
            derived = rectified_parts(below)
            (source,) = (measured for measured, relu in self._relu_of.items() if relu == name)
        positions, everywhere = None, self.positions.get(source)
        if self._settings.positions:
            positions = tally.maxima if everywhere is None else everywhere.moments(rectified=below is not None)
        if below is None:
            counts = derived["maxima_counts"] if everywhere is None else everywhere.counts()
            derived["position_counts"] = counts if self._settings.positions else None
        return LayerBlock(
            width=network.layer(name).width,
            gated=_has_off(network, name),
            positions=positions,
            **tally.fields(),
            **derived,
        )


def _tiles(units: int, images: int) -> Iterator[slice]:
    """Cut units, so that the readings of a part fit the cache."""
    step = max(64, _TILE // images)
    for start in range(0, units, step):
        yield slice(start, min(start + step, units))


def _tally(layer: Layer, measured: bool, network: Network, settings: MineSettings, classes: int) -> Tally:
    own = settings.own_class and layer.name == network.class_layer and layer.channels == classes
    return Tally(
        layer.channels, layer.height, layer.width, settings.k, classes,
        smallest=settings.smallest, own_class=own, distribution=measured,
    )  # fmt: skip


def _finish(network: Network, layers: Sequence[str], mined: _Mined, plan: Derivation) -> BlockResult:
    """The blocks of all layers, in the requested order; derived layers are computed from the measured ones."""
    done: dict[str, LayerBlock] = {}
    for name in plan.measured:
        done[name] = mined.block(network, name)
    for name, source in plan.sources.items():  # in the order of the graph
        if source.rule == RELU:
            done[name] = mined.block(network, name, done[source.layers[0]])
        else:
            done[name] = joined([done[part] for part in source.layers], gated=_has_off(network, name))
    return BlockResult({name: done[name] for name in layers}, dict(plan.sources))


def _has_off(network: Network, layer: str) -> bool:
    return is_gated(network, layer) or is_rectified(network, layer)
