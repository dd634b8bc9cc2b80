"""The weights between two layers as one matrix, and the strongest connections of each unit in it.

Two layers are joined where the upper one is computed from the lower one by a single convolution or inner product, with
nothing before and after it but operators that keep channels apart: nonlinearities, fixed normalizations, pooling,
concatenation and choice of channels, flattening; and local response normalization, which couples channels weakly.
Sums of several branches, attention and everything else end the search, so a residual block's sum has no incoming
connections, and its readers are joined with the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.methods.connections.task import LINKS, OF_CLASS, PRODUCT, WEIGHT, Activity, Links
from pipeline.nets.network import Network
from pipeline.nets.operators import (
    Affine,
    ChannelOrder,
    Concat,
    GlobalPool,
    Identity,
    InnerProduct,
    Pointwise,
    PRelu,
    Relu,
    Reshape,
    Slice,
)
from pipeline.nets.rearranging import Detach
from pipeline.nets.sliding import AveragePool, ChannelNorm, Convolution, MaxPool, WithinChannelNorm

_ROWS = 256  # units whose weights are summed at once: 50 MB for an inner product that reads 25,088 values
_APART = (
    AveragePool, ChannelNorm, Detach, GlobalPool, Identity, MaxPool, Pointwise, PRelu, Relu, WithinChannelNorm,
)  # fmt: skip


@dataclass(frozen=True)
class _Origin:
    """Where the channels of a value come from, arrays (channel,).

    node : the node, "" where the search ended without one.
    channel : its channel.
    gain : the product of the fixed scales in between.
    """

    node: np.ndarray
    channel: np.ndarray
    gain: np.ndarray

    def __getitem__(self, index: object) -> _Origin:
        return _Origin(self.node[index], self.channel[index], self.gain[index])

    def channels_of(self, node: str) -> np.ndarray:
        return np.flatnonzero(self.node == node)


def strongest_links(
    network: Network, layers: Sequence[str], activity: Mapping[str, Activity]
) -> dict[str, tuple[Links, ...]]:
    """Layer → its strongest connections with each layer among `layers` that it is joined with.

    activity : of the layers that images were evaluated for.
    The weight of a connection is the sum of a kernel over its positions, times the fixed scales of normalizations: what
    the unit above gains where the unit below has the value 1 everywhere. The strength is this weight times the mean
    positive activation of the unit below: what it adds to the unit above on average. For the class layer it is times
    the mean activation over the images of the class, where there are such. Ordered by magnitude; zeros are left out.
    """
    nodes = {network.layer(name).node: name for name in layers}
    found: dict[str, list[Links]] = {name: [] for name in layers}
    for name in layers:
        for below, weight in joined_layers(network, name, nodes):
            strength, meaning = _strength(weight, activity.get(below), name == network.class_layer)
            found[name].append(_links(below, "incoming", meaning, weight, strength))
            found[below].append(_links(name, "outgoing", meaning, weight.T, strength.T))
    return {name: tuple(links) for name, links in found.items() if links}


def joined_layers(network: Network, layer: str, nodes: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the layers that a layer is joined with, each with the weights, float32 (unit of the layer, unit of it).

    nodes : node → layer, of the layers that the search ends at.
    """
    top = _origin(network, network.layer(layer).node, lambda node: _is_linear(network, node))
    matrices: dict[str, np.ndarray] = {}
    for linear in dict.fromkeys(filter(None, top.node.tolist())):
        inputs = _origin(network, network.parents(linear)[0], lambda node: node in nodes)
        below = {node: inputs.channels_of(node) for node in dict.fromkeys(filter(None, inputs.node.tolist()))}
        every = top.channels_of(linear)
        for start in range(0, len(every), _ROWS):
            rows = every[start : start + _ROWS]
            weight = _summed_weight(network, linear, top.channel[rows])
            weight *= torch.from_numpy(np.outer(top.gain[rows], inputs.gain))
            for node, columns in below.items():
                matrix = matrices.setdefault(node, np.zeros((len(top.node), network.shape(node)[0]), np.float32))
                part, channels = torch.zeros(len(rows), matrix.shape[1]).double(), inputs.channel[columns]
                matrix[rows] = part.index_add_(1, torch.from_numpy(channels), weight[:, columns]).numpy()
    for node, matrix in matrices.items():
        yield nodes[node], matrix


def _is_linear(network: Network, node: str) -> bool:
    return node != network.input and isinstance(network.operator(node), Convolution | InnerProduct)


def _summed_weight(network: Network, node: str, rows: np.ndarray) -> Tensor:
    """float64 (row, input channel): the weights of some output channels, summed over the positions of the kernel."""
    operator, channels = network.operator(node), network.shape(network.parents(node)[0])[0]
    chosen = operator.weight.detach()[rows]
    if isinstance(operator, InnerProduct):
        return chosen.view(len(rows), channels, -1).sum(dim=2, dtype=torch.float64)
    total = chosen.sum(dim=(2, 3), dtype=torch.float64)
    groups, inputs = operator.groups, total.shape[1]
    whole = torch.zeros(len(rows), channels).double()
    first = torch.from_numpy(rows) // (len(operator.weight) // groups) * inputs
    return whole.scatter_(1, first[:, None] + torch.arange(inputs), total)


def _origin(network: Network, node: str, ends: Callable[[str], bool]) -> _Origin:
    """Where the channels of a node's value come from. ends : whether the search ends at a node."""
    count = network.shape(node)[0]
    if ends(node):
        return _Origin(np.full(count, node, object), np.arange(count), np.ones(count))
    if node == network.input:
        return _unknown(count)
    operator, parents = network.operator(node), network.parents(node)
    if isinstance(operator, Concat):
        parts = [_origin(network, parent, ends) for parent in parents]
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("node", "channel", "gain"))
        return _Origin(*joined)
    if not isinstance(operator, (*_APART, Affine, ChannelOrder, Reshape, Slice)):
        return _unknown(count)
    below = _origin(network, parents[0], ends)
    if isinstance(operator, Affine):
        return _Origin(below.node, below.channel, below.gain * operator.weight.detach().double().numpy())
    if isinstance(operator, Slice):
        return below[operator.start : operator.stop]
    if isinstance(operator, ChannelOrder):
        return below[operator.order.numpy()]
    if isinstance(operator, Reshape):
        return _reshaped(below, network.shape(parents[0]), network.shape(node))
    return below if len(below.node) == count else _unknown(count)


def _reshaped(below: _Origin, before: Sequence[int], after: Sequence[int]) -> _Origin:
    """The origin of a map that is flattened, each channel row by row, or that keeps its channels."""
    if before[0] == after[0]:
        return below
    area = int(np.prod(before[1:]))
    return below[np.repeat(np.arange(before[0]), area)] if len(after) == 1 else _unknown(after[0])


def _unknown(count: int) -> _Origin:
    return _Origin(np.full(count, "", object), np.zeros(count, int), np.zeros(count))


def _strength(weight: np.ndarray, activity: Activity | None, of_class: bool) -> tuple[np.ndarray, str]:
    """The strengths of connections, as `weight`, and what they are in words."""
    if activity is None:
        return weight, WEIGHT
    by_class = activity.by_class
    if of_class and by_class is not None and by_class.shape[1] == len(weight):
        mean = np.where(np.isfinite(by_class), by_class, 0).T
        return (weight * mean).astype(np.float32), OF_CLASS
    return (weight * activity.mean).astype(np.float32), PRODUCT.format(activity.words)


def _links(other: str, direction: str, meaning: str, weight: np.ndarray, strength: np.ndarray) -> Links:
    """The strongest connections of each row; of equal ones, that with the lower number."""
    order = np.argsort(-np.abs(strength), axis=1, kind="stable")[:, :LINKS]
    chosen = np.take_along_axis(strength, order, 1)
    there = chosen != 0
    return Links(
        other=other,
        direction=direction,
        meaning=meaning,
        linked=np.where(there, order, -1).astype(np.int32),
        weight=np.where(there, np.take_along_axis(weight, order, 1), np.nan).astype(np.float32),
        strength=np.where(there, chosen, np.nan).astype(np.float32),
    )
