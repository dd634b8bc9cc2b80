"""The layers of a Caffe definition, added to a graph one by one; what cannot be computed is left out and named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import DefinitionError, nearest
from pipeline.nets.caffe.alignment import aligned_offset
from pipeline.nets.caffe.layer import Applied, CaffeLayer, Rearranged, Switched, Top, Uncomputable
from pipeline.nets.caffe.layers import READ_MASKS, TYPES, operators_of
from pipeline.nets.caffe.weights import Shape, Weights
from pipeline.nets.network import GraphBuilder
from pipeline.nets.operators import ChannelOrder, Identity, Operator, Rearrangement, Reshape
from pipeline.nets.sliding import Pair

MOST_VALUES = 2**28  # of a blob for one image, a gibibyte; VGG's largest, of an image of 1500 pixels, has half of it
_NAMED = 8  # names in a note; the rest is counted


@dataclass(frozen=True)
class _Blob:
    """A blob that is computed.

    node : of the graph.
    maps : the node's value for an empty batch, which takes no time to compute.
    shape : of the blob, without the batch.
    order : int64, of that shape: for each value, its place in the node's flattened value; None for the value itself.
    switched : for the mask of a pooling, whose node computes switches instead.
    """

    node: str
    maps: Tensor
    shape: Shape
    order: Tensor | None = None
    switched: Switched | None = None


@dataclass
class _Reason:
    """Why layers cannot be computed.

    kind : the type of these layers.
    why : a predicate of each of them.
    error : the same as an error, for a definition of which nothing can be computed.
    layers : that cannot be computed themselves.
    above : that depend on them.
    """

    kind: str
    why: str
    error: str
    layers: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{_listed(self.layers)} ({self.kind}): {self.why}"


class Translation:
    """A definition's layers as operators of a graph.

    output : node of the last layer that is computed.
    left_out : name of a layer that cannot be computed → why.
    notes : what is left out, one line a reason.
    """

    def __init__(self, source: str, weights: Weights, builder: GraphBuilder) -> None:
        """An empty translation.

        source : the definition, for messages.
        builder : of the graph, whose input the first layers read.
        """
        self._source, self._weights, self._builder = source, weights, builder
        self._blobs: dict[str, _Blob] = {}
        self._lost: dict[str, _Reason] = {}  # blobs whose layer cannot be computed
        self._unreadable: dict[str, str] = {}  # blob that is no activation → what is wrong with a layer that reads it
        self._reasons: dict[tuple[str, str], _Reason] = {}
        self._reordered: list[str] = []
        self._aligned: list[str] = []
        self._stated: frozenset[str] = frozenset()
        self.output = builder.input
        self.left_out: dict[str, _Reason] = {}

    def add_all(self, layers: Sequence[Any], blob: str, shape: Shape, others: Sequence[str]) -> None:
        """Add the layers, in their order.

        layers : LayerParameters.
        blob, shape : the input that the graph reads.
        others : the inputs that it does not read.
        Raises DefinitionError for a definition that Caffe would refuse too, and if no layer can be computed.
        """
        if math.prod(shape) > MOST_VALUES:
            raise DefinitionError(
                f"{self._source}: input {blob} has shape {shape}, more than {MOST_VALUES} values; set model.size"
            )
        self._blobs[blob] = _Blob(self._builder.input, torch.zeros(0, *shape), shape)
        self._unreadable = {name: f"reads input {name}, expected the image, {blob}" for name in others}
        self._stated = frozenset(layer.name for layer in layers)
        for number, layer in enumerate(layers):
            self._add(layer, layers[:number])
        if not self._builder.layer_names:
            errors = [reason.error for reason in self._reasons.values()]
            nothing = f"{self._source}: only reorders its input; give the definition of a network"
            raise DefinitionError(errors[0] if errors else nothing)

    @property
    def notes(self) -> tuple[str, ...]:
        lines = []
        for reason in self._reasons.values():
            above = f"; and above: {_listed(reason.above)}" if reason.above else ""
            lines.append(f"left out: {reason}{above}")
        if self._reordered:
            lines.append(f"not listed: {_listed(self._reordered)}: the values of the layer below in another order")
        if self._aligned:
            lines.append(
                f"cropped where the two blobs lie on each other: {_listed(self._aligned)}; no offset is stated, and "
                "the Caffe of FCN and HED does so; state crop_param { offset: 0 } to crop at 0"
            )
        return tuple(lines)

    # One layer -------------------------------------------------------------------------------------------

    def _add(self, layer: Any, before: Sequence[Any]) -> None:
        for bottom in layer.bottom:
            if bottom not in self._blobs and bottom not in self._lost and bottom not in self._unreadable:
                raise DefinitionError(
                    f"{self._source}: layer {layer.name} reads {bottom}, which no layer before it makes"
                    f"{nearest(bottom, self._blobs)}; mend its bottom"
                )
        below = next((self._lost[bottom] for bottom in layer.bottom if bottom in self._lost), None)
        if below is not None:
            below.above.append(layer.name)
            self._lose(layer, below)
            return
        try:
            tops = self._tops(layer, before)
            made = [self._made(layer, top, place, tops) for place, top in enumerate(tops)]
        except Uncomputable as error:
            reason = self._reasons.setdefault((layer.type, error.why), _Reason(layer.type, error.why, str(error)))
            reason.layers.append(layer.name)
            self._lose(layer, reason)
            return
        for name, top, blob in zip(layer.top, tops, made, strict=True):
            self._forget(name)
            if blob is None:
                self._unreadable[name] = top.why
            else:
                self._blobs[name] = blob

    def _lose(self, layer: Any, reason: _Reason) -> None:
        self.left_out.setdefault(layer.name, reason)
        for name in layer.top:
            self._forget(name)
            self._lost[name] = reason

    def _forget(self, blob: str) -> None:
        """Forget a blob that a later layer makes again, as layers that work in place do."""
        for blobs in (self._blobs, self._lost, self._unreadable):
            blobs.pop(blob, None)

    def _tops(self, layer: Any, before: Sequence[Any]) -> list[Top]:
        """How each output of a layer is computed; raises Uncomputable for a layer of a known type by its inputs."""
        reads_masks = layer.type in READ_MASKS
        for bottom in layer.bottom:
            why = self._unreadable.get(bottom, "")
            if not why and self._blobs[bottom].switched is not None and not reads_masks:
                why = f"reads {bottom}, the mask of a pooling, whose values are positions"
            if why and layer.type in TYPES:
                raise Uncomputable(f"{self._source}: layer {layer.name} ({layer.type}) {why}", why)
        blobs = [self._blobs[bottom] for bottom in layer.bottom if bottom in self._blobs]
        current = CaffeLayer(
            self._source,
            layer,
            tuple(blob.shape for blob in blobs),
            self._weights,
            tuple(blob.switched for blob in blobs),
            self._offset(layer, before),
        )
        return operators_of(current)

    def _offset(self, layer: Any, before: Sequence[Any]) -> Pair | None:
        """The offset of a Crop layer that states none; None for Caffe's default."""
        if layer.type != "Crop" or len(layer.bottom) != 2 or layer.HasField("crop_param"):
            return None
        offset = aligned_offset(before, *layer.bottom)
        if offset is not None and any(offset):
            self._aligned.append(f"{self._title(layer, 0, several=False)} at {offset[0]}, {offset[1]}")
        return offset

    def _made(self, layer: Any, top: Top, place: int, tops: Sequence[Top]) -> _Blob | None:
        """The blob of one output, with its operators added to the graph; None if it is no activation."""
        if top.why:
            return None
        title = self._title(layer, place, sum(other.switched is None and not other.why for other in tops) > 1)
        if isinstance(top.made, Rearranged):
            return self._rearranged(layer, top.made, title)
        name = title if top.switched is None else f"{layer.name}_mask"
        value: _Blob | None = None
        for step, made in enumerate(top.made, 1):
            applied = made if isinstance(made, Applied) else Applied(made, ())
            numbers = applied.bottoms if applied.bottoms or value is not None else range(len(layer.bottom))
            inputs = [] if value is None else [value]
            inputs += [self._plain(layer.bottom[number], layer) for number in numbers]
            last = step == len(top.made)
            shown = title if last and top.switched is None else None
            value = self._applied(layer, applied.operator, inputs, name if last else f"{name}_{step}", shown)
        assert value is not None
        if top.switched is not None:
            return replace(value, shape=top.switched.shape, switched=top.switched)
        return value

    def _title(self, layer: Any, place: int, several: bool) -> str:
        """The name of an output as a layer: a name that was used before gets a number, as in relu#2."""
        top, title = layer.top[place], layer.name
        if several:
            title = top if top not in self._stated else f"{layer.name}/{top}"
        title = title if title else top
        if title not in self._builder.layer_names:
            return title
        taken = self._stated | self._builder.layer_names.keys()
        return next(other for number in count(2) if (other := f"{title}#{number}") not in taken)

    def _rearranged(self, layer: Any, change: Rearranged, title: str) -> _Blob:
        """The values of a blob in another shape or order; without a layer of its own where the result is no map."""
        blob = self._blobs[layer.bottom[0]]
        size = math.prod(blob.shape)
        order = torch.arange(size).view(blob.shape) if blob.order is None else blob.order
        order = order if change.axes is None else order.permute(change.axes)
        order = order if change.shape is None else order.reshape(change.shape)
        shape, old = tuple(order.shape), tuple(blob.maps.shape[1:])
        operator: Operator | None = None
        if len(shape) in (1, 3):
            channels = _channels(order, old)
            if torch.equal(order.flatten(), torch.arange(size)):
                operator = Identity() if shape == old else Reshape(shape)
            elif channels is not None:
                operator = ChannelOrder(channels)
            elif change.axes is None:
                operator = Rearrangement(order.contiguous())
        if operator is None:
            self._reordered.append(layer.name)
            return replace(blob, shape=shape, order=order)
        return self._applied(layer, operator, [replace(blob, shape=old, order=None)], title, title)

    def _plain(self, name: str, layer: Any) -> _Blob:
        """A blob whose values are those of a node, in their order."""
        blob = self._blobs[name]
        if blob.order is not None:
            if len(blob.shape) not in (1, 3):
                why = f"reads shape {blob.shape}, expected (channels, rows, columns) or (units,)"
                raise Uncomputable(f"{self._source}: layer {layer.name} ({layer.type}) {why}", why)
            operator = Rearrangement(blob.order.contiguous())
            blob = self._applied(layer, operator, [replace(blob, order=None)], f"{name}_ordered", None)
            self._blobs[name] = blob
        return blob

    def _applied(self, layer: Any, operator: Operator, inputs: list[_Blob], name: str, title: str | None) -> _Blob:
        try:
            maps = operator(*(blob.maps for blob in inputs))
        except (RuntimeError, ValueError, IndexError) as error:
            shapes = tuple(blob.shape for blob in inputs)
            reason = str(error).splitlines()[0]
            raise DefinitionError(
                f"{self._source}: layer {layer.name} ({layer.type}) cannot take {shapes}: {reason}; correct the layer"
            ) from None
        if math.prod(maps.shape[1:]) > MOST_VALUES:
            raise DefinitionError(
                f"{self._source}: layer {layer.name} ({layer.type}) makes {tuple(maps.shape[1:])}, more than "
                f"{MOST_VALUES} values; correct the layer, or set model.size"
            )
        node = self._builder.add(name, operator, [blob.node for blob in inputs], title)
        if title is not None:
            self.output = node
        return _Blob(node, maps, tuple(maps.shape[1:]))


def _channels(order: Tensor, old: Shape) -> list[int] | None:
    """The order of the channels of a map, if every position stays where it is."""
    if len(old) != 3 or order.shape[1:] != torch.Size(old[1:]):
        return None
    area = math.prod(old[1:])
    channels = order[:, 0, 0] // area
    expected = channels[:, None] * area + torch.arange(area)
    return channels.tolist() if torch.equal(order.reshape(len(channels), area), expected) else None


def _listed(names: Sequence[str]) -> str:
    beyond = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {beyond} more" if beyond > 0 else "")
