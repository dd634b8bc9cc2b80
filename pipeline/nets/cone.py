"""The part of a network that one position of a layer depends on, run on its window alone.

The activation of a conv unit at one position needs a fraction of every map. Each node runs on the interval that the
position needs. The interval is cut at the border of the map; the part outside is padded explicitly, and the operator
runs without padding. The value therefore equals that of the full image, also at borders and through branches.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.nets.interval import Interval, Part
from pipeline.nets.network import Layer, Network, is_gated, is_rectified
from pipeline.nets.operators import InnerProduct, Softmax
from pipeline.nets.portion import MULTIPLYING, Step, part_bytes, part_macs, part_steps
from pipeline.nets.sliding import Convolution, padded
from pipeline.nets.window import Intervals, Window, extent, needed_intervals, read_interval


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
        return part_steps(self.network, self._nodes, self._needs)

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
                if not isinstance(steps[node].operator, MULTIPLYING):
                    waiting.extend(steps[node].parents)
        lowered, after = [], set()  # after : nodes that depend on a product
        for step in self.steps:
            if isinstance(step.operator, MULTIPLYING) or not after.isdisjoint(step.parents):
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
        below = sum(part_macs(self.network, node, self._needs) for node in self._nodes[:-1])
        layer = self.layer
        return below + self.network.macs(layer.node) // (layer.channels * layer.height * layer.width)

    def map_bytes(self) -> int:
        """Bytes of all float32 maps of one item, which a micro-batch keeps for its backward pass."""
        return sum(part_bytes(self.network, node, self._needs) for node in (self.network.input, *self._nodes[:-1]))

    def _intervals(self, axis: int) -> Intervals:
        """The rows (axis 0) or columns (axis 1) to compute of every node."""
        return needed_intervals(self.network, self.layer.name, self.position[axis], axis)

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
