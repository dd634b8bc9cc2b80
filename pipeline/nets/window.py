"""The exact part of the input that a position of a layer depends on (its receptive field)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.nets.graph import Graph
from pipeline.nets.interval import Interval
from pipeline.nets.network import Network


@dataclass(frozen=True)
class Window:
    """Rows top … bottom−1 and columns left … right−1 of the input image; may stick out of the image."""

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
    """The receptive fields of a layer along one axis, in input pixels.

    Position i reads the pixels first + i·stride … first + i·stride + size − 1.
    """

    size: int
    stride: int
    first: int


Intervals = dict[str, Interval]  # name of a node → its rows (or columns)


def needed_intervals(network: Network, layer: str, at: int | Interval, axis: int, *, clip: bool = True) -> Intervals:
    """The rows or columns that a position of a layer depends on, for every node below it.

    at : one position, or an interval of positions.
    axis : 0 for rows, 1 for columns.
    clip : cut every interval at the border of its map, as running that part requires. Unclipped intervals give the
        receptive field on an unbounded map.
    """
    interval = at if isinstance(at, Interval) else Interval(at, at + 1)
    return intervals_below(network, network.layer(layer).node, interval, axis, clip=clip)


def intervals_below(graph: Graph, target: str, wanted: Interval, axis: int, *, clip: bool = True) -> Intervals:
    """The rows (axis 0) or columns (axis 1) that the wanted ones of a node depend on, for every node below it."""
    needed: Intervals = {target: wanted}
    for node in reversed(graph.ancestors([target])):
        for place, parent in enumerate(graph.parents(node)):
            interval = read_interval(graph, node, place, needed[node], axis, clip=clip)
            needed[parent] = needed[parent].hull(interval) if parent in needed else interval
    return needed


def read_interval(graph: Graph, node: str, place: int, wanted: Interval, axis: int, *, clip: bool = True) -> Interval:
    """The rows (axis 0) or columns (axis 1) of the parent at `place` that the wanted ones of `node` read."""
    key = (node, place, wanted, axis, clip)
    if key not in graph.reads:
        graph.reads[key] = _read_interval(graph, node, place, wanted, axis, clip)
    return graph.reads[key]


def _read_interval(graph: Graph, node: str, place: int, wanted: Interval, axis: int, clip: bool) -> Interval:
    operator = graph.operator(node).operand(place)
    size = extent(graph, graph.parents(node)[place], axis)
    if not len(wanted):  # a position that reads only padding needs nothing below
        return Interval(0, 0)
    if operator.combines and size == 1:  # one value for all positions
        return Interval(0, 1)
    return operator.touched(wanted, axis, size) if clip else operator.needed(wanted, axis, size)


def extent(graph: Graph, node: str, axis: int) -> int:
    """Rows (axis 0) or columns of a node's map; 1 for a vector."""
    shape = graph.shape(node)
    return shape[1 + axis] if len(shape) == 3 else 1


def window(network: Network, layer: str, row: int, column: int) -> Window:
    """The smallest box, inside the image, of the pixels that can change the activation at a position."""
    rows = needed_intervals(network, layer, row, 0)[network.input]
    columns = needed_intervals(network, layer, column, 1)[network.input]
    return Window(rows.start, columns.start, rows.stop, columns.stop)


def open_window(network: Network, layer: str, row: int, column: int) -> Window:
    """The window on an unbounded map: sticks out of the image where the position reads padding.

    For a layer that depends on every position of a map (fully connected, global pooling) it is the whole image.
    """
    if not is_local(network, layer):
        size = network.preprocessing
        return Window(0, 0, size.height, size.width)
    rows = needed_intervals(network, layer, row, 0, clip=False)[network.input]
    columns = needed_intervals(network, layer, column, 1, clip=False)[network.input]
    return Window(rows.start, columns.start, rows.stop, columns.stop)


@dataclass(frozen=True)
class Frames:
    """The windows of all positions of a layer along one axis, each inside a frame of one common size.

    start, stop : int64 (position,), the pixels start … stop−1 that a position depends on.
    first : int64 (position,), the row (column) of the image where the frame begins. It is where the open window
        begins, which is negative near the first border; 0 if a frame would be larger than the image.
    size : length of a frame, in pixels.
    """

    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    size: int


def frames(network: Network, layer: str, axis: int) -> Frames:
    """Windows and frames along an axis (0 rows, 1 columns) for every position of the layer's map."""
    image = network.preprocessing
    whole = (image.height, image.width)[axis]
    positions = range(extent(network, network.layer(layer).node, axis))
    inside = [needed_intervals(network, layer, at, axis)[network.input] for at in positions]
    opened = [needed_intervals(network, layer, at, axis, clip=False)[network.input] for at in positions]
    size = min(whole, max(map(len, opened)))
    return Frames(
        start=np.array([at.start for at in inside]),
        stop=np.array([at.stop for at in inside]),
        first=np.array([at.start for at in opened]) if size < whole else np.zeros(len(opened), np.int64),
        size=size,
    )


def is_local(network: Network, layer: str) -> bool:
    """Whether no position of the layer depends on all positions of a map by the rules of the operators."""
    return all(network.operator(node).local for node in network.ancestors([network.layer(layer).node]))


def is_regular(network: Network, layer: str) -> bool:
    """Whether all positions of the layer have windows of one size that move with the position."""
    nodes = network.ancestors([network.layer(layer).node])
    return all(network.operator(node).local and network.operator(node).regular for node in nodes)


def receptive_fields(network: Network, layer: str) -> tuple[ReceptiveFields, ReceptiveFields]:
    """Size, stride and first pixel of a layer's receptive fields, along rows and along columns.

    With branches, the receptive field is the hull over all paths. Every position of a layer that is not local reads
    the whole image: its stride is 0. Where windows differ from position to position, as above an interpolation, they
    are those of the centre and of its neighbour.
    Source: Araujo et al. 2019.
    """
    size = network.preprocessing
    if not is_local(network, layer):
        return ReceptiveFields(size.height, 0, 0), ReceptiveFields(size.width, 0, 0)
    axes = []
    regular, centre = is_regular(network, layer), network.layer(layer).centre
    for axis in (0, 1):
        at = 0 if regular else max(0, centre[axis] - 1)
        first, second = (needed_intervals(network, layer, at + i, axis, clip=False)[network.input] for i in (0, 1))
        if not len(second):  # a map of one row
            second = first
        stride = second.start - first.start
        axes.append(ReceptiveFields(max(len(first), len(second)), stride, first.start - at * stride))
    return axes[0], axes[1]
