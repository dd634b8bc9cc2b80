"""Which part of the input a position of a layer depends on (its receptive field), exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.nets.interval import Interval
from pipeline.nets.network import Network


@dataclass(frozen=True)
class Window:
    """Rows top … bottom-1 and columns left … right-1 of the input image; may stick out of it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def clip(self, height: int, width: int) -> Window:
        """The part inside an image of that size."""
        rows = Interval(self.top, self.bottom).clip(height)
        columns = Interval(self.left, self.right).clip(width)
        return Window(rows.start, columns.start, rows.stop, columns.stop)


@dataclass(frozen=True)
class ReceptiveFields:
    """Receptive fields of a whole layer along one axis: position i sees first + i·stride … + size − 1."""

    size: int
    stride: int
    first: int


Intervals = dict[str, Interval]  # name of a node → the rows (or columns) of it


def needed_intervals(network: Network, layer: str, at: int | Interval, axis: int, *, clip: bool = True) -> Intervals:
    """For every node that position `at` of a layer depends on, the rows (axis 0) or columns that it needs.

    at : one position, or an interval of them.
    clip : cut every interval at its map's border, as running the part demands. Unclipped intervals say where
    the field would lie if no map ended.
    """
    target = network.layer(layer).node
    needed: Intervals = {target: at if isinstance(at, Interval) else Interval(at, at + 1)}
    for node in reversed(network.ancestors([target])):
        for parent in network.parents(node):
            interval = read_interval(network, node, parent, needed[node], axis, clip=clip)
            needed[parent] = needed[parent].hull(interval) if parent in needed else interval
    return needed


def read_interval(
    network: Network, node: str, parent: str, wanted: Interval, axis: int, *, clip: bool = True
) -> Interval:
    """The rows (axis 0) or columns of `parent` that the wanted ones of `node` read."""
    operator, size = network.operator(node), extent(network, parent, axis)
    if not len(wanted):  # a position that reads nothing but padding needs nothing below
        return Interval(0, 0)
    if operator.combines and size == 1:  # one value acts on every position
        return Interval(0, 1)
    return operator.touched(wanted, axis, size) if clip else operator.needed(wanted, axis, size)


def extent(network: Network, node: str, axis: int) -> int:
    """Rows (axis 0) or columns of a node's map; 1 for a vector."""
    shape = network.shape(node)
    return shape[1 + axis] if len(shape) == 3 else 1


def window(network: Network, layer: str, row: int, column: int) -> Window:
    """The smallest box of input pixels, all inside the image, that can change the activation at a position."""
    rows = needed_intervals(network, layer, row, 0)[network.input]
    columns = needed_intervals(network, layer, column, 1)[network.input]
    return Window(rows.start, columns.start, rows.stop, columns.stop)


def open_window(network: Network, layer: str, row: int, column: int) -> Window:
    """The window as if no map ended: sticks out of the image where the position reads padding.

    Layers that depend on every position of a map (fully connected, global pooling) have the image's window.
    """
    if not is_local(network, layer):
        size = network.preprocessing
        return Window(0, 0, size.height, size.width)
    rows = needed_intervals(network, layer, row, 0, clip=False)[network.input]
    columns = needed_intervals(network, layer, column, 1, clip=False)[network.input]
    return Window(rows.start, columns.start, rows.stop, columns.stop)


@dataclass(frozen=True)
class Frames:
    """The windows of all places of a layer along one axis, and a frame of one size that holds each.

    start, stop : int64 (place,), the pixels that the place depends on. first : int64 (place,), the image's row
    (column) where its frame begins: the open window's, negative at near borders, or 0 where that is larger than the
    image. size : of a frame, in pixels.
    """

    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    size: int


def frames(network: Network, layer: str, axis: int) -> Frames:
    """Windows and frames along an axis (0 rows, 1 columns) for every place of the layer's map."""
    image = network.preprocessing
    whole = (image.height, image.width)[axis]
    places = range(extent(network, network.layer(layer).node, axis))
    inside = [needed_intervals(network, layer, at, axis)[network.input] for at in places]
    opened = [needed_intervals(network, layer, at, axis, clip=False)[network.input] for at in places]
    size = min(whole, max(map(len, opened)))
    return Frames(
        start=np.array([at.start for at in inside]),
        stop=np.array([at.stop for at in inside]),
        first=np.array([at.start for at in opened]) if size < whole else np.zeros(len(opened), np.int64),
        size=size,
    )


def is_local(network: Network, layer: str) -> bool:
    """Whether positions of the layer have windows of one size that move with them."""
    return all(network.operator(node).local for node in network.ancestors([network.layer(layer).node]))


def receptive_fields(network: Network, layer: str) -> tuple[ReceptiveFields, ReceptiveFields]:
    """Size, stride and first pixel of a layer's receptive fields, along rows and columns.

    Source: Araujo et al. 2019; through branches, the hull of the paths. A layer that is not local sees the
    whole image from every position: stride 0.
    """
    size = network.preprocessing
    if not is_local(network, layer):
        return ReceptiveFields(size.height, 0, 0), ReceptiveFields(size.width, 0, 0)
    found = []
    for axis in (0, 1):
        first, second = (needed_intervals(network, layer, at, axis, clip=False)[network.input] for at in (0, 1))
        found.append(ReceptiveFields(len(first), second.start - first.start, first.start))
    return found[0], found[1]
