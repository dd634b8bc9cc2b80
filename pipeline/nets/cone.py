"""The part of a network that one position of a layer depends on, run on its window alone.

The activation of a conv unit at one position needs a fraction of every map. Each node runs on the interval that the
position needs. The interval is cut at the border of the map; the part outside is padded explicitly, and the operator
runs without padding. The value therefore equals that of the full image, also at borders and through branches.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.nets.interval import Interval, Part
from pipeline.nets.network import Layer, Network, is_gated, is_rectified
from pipeline.nets.operators import (
    Affine,
    Concat,
    Identity,
    InnerProduct,
    OpenRelu,
    Operator,
    Relu,
    Reshape,
    Softmax,
    Sum,
)
from pipeline.nets.sliding import Convolution, MaxPool, padded
from pipeline.nets.window import Intervals, Window, extent, needed_intervals, read_interval

_MULTIPLYING = (Convolution, InnerProduct)  # operators that lower precision makes faster
_LOWERED = (*_MULTIPLYING, Affine, Sum)  # operators that compute in bfloat16 in a lowered cone
_EITHER = (Relu, OpenRelu, MaxPool, Concat, Identity, Reshape)  # operators that only choose among their values


@dataclass(frozen=True)
class Step:
    """The part of one node in a cone: what it reads of its parents' parts, and what it computes.

    cuts : (rows, columns) to read, for each parent, within the part that was computed of it.
    rows, columns : what to compute, in terms of the first parent; only sliding operators use them, and these have one
        parent.
    channels : of the value.
    dtype : type to which what it reads is converted; None for as it is.
    """

    node: str
    operator: Operator
    parents: tuple[str, ...]
    cuts: tuple[tuple[slice, slice], ...]
    rows: Part
    columns: Part
    channels: int
    dtype: torch.dtype | None = None

    def inputs(self, values: dict[str, Tensor]) -> list[Tensor]:
        """What the node reads: cuts out of the parts that were computed for all readers of its parents."""
        read = []
        for parent, (rows, columns) in zip(self.parents, self.cuts, strict=True):
            value = values[parent]
            read.append(value[:, :, rows, columns] if value.dim() == 4 else value)
        return read

    def run(self, inputs: list[Tensor]) -> Tensor:
        inputs = self.converted(inputs)
        shape = len(self.rows.wanted), len(self.columns.wanted)
        if 0 in shape:  # the readers of this node read only padding
            return inputs[0].new_zeros(len(inputs[0]), self.channels, *shape)
        return self.operator.on_part(inputs, self.rows, self.columns)

    def converted(self, inputs: list[Tensor]) -> list[Tensor]:
        return inputs if self.dtype is None else [x.to(self.dtype) for x in inputs]

    def lowered(self) -> Step:
        """The step in bfloat16 if it gains by it; one that only passes values on takes them as they come."""
        if isinstance(self.operator, _LOWERED):
            return replace(self, operator=copy.deepcopy(self.operator).bfloat16(), dtype=torch.bfloat16)
        return self if isinstance(self.operator, _EITHER) else self.raised()

    def raised(self) -> Step:
        """The step in float32, whatever the steps below it compute in."""
        return replace(self, dtype=torch.float32)


class Cone:
    """One position of a layer, as a function of the pixels in its window.

    All units of the layer share the cone, so a batch of items with different units goes through it together. If the
    layer is a convolution or an inner product, it is computed as the dot product of each item's filter with its patch.
    """

    def __init__(self, network: Network, layer: str, position: tuple[int, int] | None = None) -> None:
        """The cone of a layer's position (row, column); None for the centre of the map."""
        self.network = network
        self.layer: Layer = network.layer(layer)
        self.position = self.layer.centre if position is None else position
        self._needs = (self._intervals(0), self._intervals(1))
        rows, columns = (needs[network.input] for needs in self._needs)
        self.window = Window(rows.start, columns.start, rows.stop, columns.stop)
        self._nodes = network.ancestors([self.layer.node])

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What is computed, parents first; a table of windows does without."""
        return tuple(self._step(node) for node in self._nodes)

    @property
    def mean(self) -> np.ndarray:
        """The mean image under the window, float64 (channel, row, column)."""
        at = self.window
        return self.network.preprocessing.full_mean[:, at.top : at.bottom, at.left : at.right]

    @property
    def rectified(self) -> bool:
        """Whether the layer's values come out of ReLUs that can switch units off, so that zero means off."""
        return is_rectified(self.network, self.layer.name)

    @property
    def gates(self) -> bool:
        """Whether everything above reads the layer through ReLUs that can switch units off: zero or less means off."""
        return is_gated(self.network, self.layer.name)

    @property
    def normalized(self) -> bool:
        """Whether the layer is a softmax, so that its values are probabilities."""
        return isinstance(self.network.operator(self.layer.node), Softmax)

    def lowered(self) -> Cone:
        """The same cone with its products and sums in bfloat16, except for the last ones below the layer.

        The last convolution or inner product on each way down from the layer, and what is above it, compute in float32,
        so that activations and probabilities have all their digits. So do the scaling of the image, normalizations and
        functions other than ReLUs. Images, gradients and activations are float32.
        """
        steps = {step.node: step for step in self.steps}
        last, waiting = set(), [self.layer.node]
        while waiting:
            node = waiting.pop()
            if node in steps and node not in last:
                last.add(node)
                if not isinstance(steps[node].operator, _MULTIPLYING):
                    waiting.extend(steps[node].parents)
        lowered, after = [], set()  # after : nodes that depend on a product
        for step in self.steps:
            if isinstance(step.operator, _MULTIPLYING) or not after.isdisjoint(step.parents):
                after.add(step.node)
            lowered.append(step.lowered() if step.node in after - last else step.raised())
        other = copy.copy(self)
        other.__dict__["steps"] = tuple(lowered)  # in place of the cached ones
        return other

    def activations(self, image: Tensor, units: Tensor) -> Tensor:
        """The activation of each item's unit at the position, (batch,).

        image : centred, (batch, channel, row, column), the pixels of the window.
        units : (batch,), channel numbers.
        """
        top, inputs = self.steps[-1], self.steps[-1].converted(self._below(image))
        operator = top.operator
        if isinstance(operator, Convolution):
            return self._filters_times_patch(operator, inputs[0], units)
        if isinstance(operator, InnerProduct):
            patch = inputs[0].flatten(1)
            value = (operator.weight[units] * patch).sum(dim=1)
            return value if operator.bias is None else value + operator.bias[units]
        return top.run(inputs).flatten(1).gather(1, units[:, None])[:, 0]

    def values(self, image: Tensor) -> Tensor:
        """The activations of all units of the layer at the position, (batch, unit)."""
        return self.steps[-1].run(self._below(image)).flatten(1)

    def log_values(self, image: Tensor) -> Tensor:
        """The log-probabilities of all units of a softmax layer, (batch, unit), accurate also near probability 0."""
        (below,) = self.steps[-1].converted(self._below(image))
        return torch.log_softmax(below, dim=1).flatten(1)

    def macs(self) -> int:
        """Multiply-accumulates of the forward pass of one item; of the layer itself a single unit is counted."""
        total, network = 0, self.network
        for node in self._nodes:
            macs = network.macs(node)
            if macs == 0:
                continue
            if node == self.layer.node:
                total += macs // (self.layer.channels * self.layer.height * self.layer.width)
            else:
                area = len(self._needs[0][node]) * len(self._needs[1][node])
                total += macs * area // (extent(network, node, 0) * extent(network, node, 1))
        return total

    def map_bytes(self) -> int:
        """Bytes of all float32 maps of one item, which a micro-batch keeps for its backward pass."""
        total = 0
        for node in (self.network.input, *self._nodes[:-1]):
            area = len(self._needs[0][node]) * len(self._needs[1][node])
            shape = self.network.shape(node)
            total += 4 * shape[0] * (area if len(shape) == 3 else 1)
        return total

    def _intervals(self, axis: int) -> Intervals:
        """The rows (axis 0) or columns (axis 1) to compute of every node."""
        return needed_intervals(self.network, self.layer.name, self.position[axis], axis)

    def _step(self, node: str) -> Step:
        network, parents = self.network, self.network.parents(node)
        cuts, parts = [], []
        for axis, needs in enumerate(self._needs):
            read = [read_interval(network, node, place, needs[node], axis) for place in range(len(parents))]
            cuts.append([part.within(needs[parent]) for part, parent in zip(read, parents, strict=True)])
            parts.append(Part(needs[node], read[0], extent(network, parents[0], axis)))
        channels = network.shape(node)[0]
        return Step(node, network.operator(node), parents, tuple(zip(*cuts, strict=True)), *parts, channels)

    def _below(self, image: Tensor) -> list[Tensor]:
        """The parts of its inputs that the operator of the layer needs."""
        values = {self.network.input: image}
        for step in self.steps[:-1]:
            values[step.node] = step.run(step.inputs(values))
        return self.steps[-1].inputs(values)

    def _filters_times_patch(self, operator: Convolution, patch: Tensor, units: Tensor) -> Tensor:
        """Each item's filter times its patch: a single position needs no convolution."""
        margins = operator.margins(self.steps[-1].rows, self.steps[-1].columns)
        patch = padded(patch, margins)[:, :, :: operator.dilation[0], :: operator.dilation[1]]
        filters = operator.weight[units]  # (batch, in / groups, row, column)
        if operator.groups > 1:
            group = units // (operator.weight.shape[0] // operator.groups)
            split = patch.unflatten(1, (operator.groups, filters.shape[1]))
            patch = split[torch.arange(len(units), device=units.device), group]
        value = (filters * patch).flatten(1).sum(dim=1)
        return value if operator.bias is None else value + operator.bias[units]


class FullPass(Cone):
    """One position of a layer, as a function of the whole input image, as in the paper; for comparison.

    Its steps compute all positions of the layer.
    """

    def activations(self, image: Tensor, units: Tensor) -> Tensor:
        return self.values(image).gather(1, units[:, None])[:, 0]

    def values(self, image: Tensor) -> Tensor:
        value = self.steps[-1].run(self._below(image))
        return value if value.dim() == 2 else value[:, :, self.position[0], self.position[1]]

    def macs(self) -> int:
        nodes = set(self.network.ancestors([self.layer.node]))
        return sum(self.network.macs(node) for node in nodes)

    def map_bytes(self) -> int:
        nodes = (self.network.input, *self.network.ancestors([self.layer.node]))
        return sum(4 * int(np.prod(self.network.shape(node))) for node in nodes)

    def _intervals(self, axis: int) -> Intervals:
        network, size = self.network, self.network.preprocessing
        everywhere = Interval(0, extent(network, self.layer.node, axis))
        needs = needed_intervals(network, self.layer.name, everywhere, axis)
        return needs | {network.input: Interval(0, (size.height, size.width)[axis])}


def cone_pattern(network: Network, layer: str, at: int, axis: int) -> Hashable:
    """A key for how the cone of position `at` runs along one axis (0 rows, 1 columns).

    If two positions have equal patterns along both axes, the cone of either computes the other's window too, so their
    items can share a batch.
    """
    needs = needed_intervals(network, layer, at, axis)
    pattern: list[Hashable] = []
    for node in network.ancestors([network.layer(layer).node]):
        parents = network.parents(node)
        read = [read_interval(network, node, place, needs[node], axis) for place in range(len(parents))]
        cuts = [(span.start - needs[parent].start, len(span)) for span, parent in zip(read, parents, strict=True)]
        part = Part(needs[node], read[0], extent(network, parents[0], axis))
        pattern.append((*cuts, len(needs[node]), network.operator(node).alignment(part, axis)))
    return len(needs[network.input]), tuple(pattern)


def layer_cone(network: Network, layer: str, canvas: str) -> Cone:
    """The function that activation maximization climbs, for the centre position of a layer.

    Units that are off have a gradient: the layer's last ReLUs pass it unchanged.

    canvas : "window" for the cone, "image" for the full pass.
    """
    opened = network.opened(layer)
    return Cone(opened, layer) if canvas == "window" else FullPass(opened, layer)
