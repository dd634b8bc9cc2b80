"""One layer of a Caffe definition: the shapes it reads, its settings, its weights, and why it cannot be computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.errors import DefinitionError
from pipeline.nets.caffe.weights import Shape, Weights
from pipeline.nets.operators import Operator
from pipeline.nets.sliding import Pair


class Uncomputable(DefinitionError):
    """A layer that Caffe, or one of its forks, can compute, and this project cannot."""

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why  # the reason alone, as a predicate of the layer


@dataclass(frozen=True)
class Applied:
    """An operator that reads some of the layer's bottoms.

    bottoms : their numbers. The first operator of a chain reads these alone, a later one also the value before it.
    """

    operator: Operator
    bottoms: tuple[int, ...]


@dataclass(frozen=True)
class Switched:
    """What the mask of a pooling points at.

    shape : of the mask, which is that of the pooled map.
    size : rows and columns of the map before the pooling.
    kernel, stride, padding : of the pooling.
    """

    shape: Shape
    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair


# A chain is applied in sequence; the value of the last operator is that of the layer. Without an `Applied`, the first
# operator reads all bottoms, and every other one the value before it.
Chain = list[Operator | Applied]


@dataclass(frozen=True)
class Rearranged:
    """The values of the one bottom in another shape or order, instead of a chain.

    axes : the order of the axes that are read, without the batch; None to keep it.
    shape : new shape without the batch; None for that of the axes.
    """

    axes: tuple[int, ...] | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class Top:
    """One output of a layer.

    switched : for the mask of a pooling; its chain computes 1 at the positions that the mask names, and 0 elsewhere.
    why : the reason why a reader of the output cannot be computed; the chain is then empty.
    """

    made: Chain | Rearranged
    switched: Switched | None = None
    why: str = ""


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of a definition, with what is needed to translate it.

    source : the definition, for messages.
    message : LayerParameter, in the current form.
    shapes : of the blobs that the layer reads, without the batch.
    weights : of the whole network.
    switched : for each blob, what it points at if it is the mask of a pooling.
    aligned : (rows, columns) to leave out of the first blob so that it lies on the second; None if that is undefined.
    """

    source: str
    message: Any
    shapes: tuple[Shape, ...]
    weights: Weights
    switched: tuple[Switched | None, ...] = ()
    aligned: Pair | None = None

    @property
    def channels(self) -> int:
        return self.shapes[0][0]

    def blobs(self, *shapes: Shape) -> list[Tensor]:
        """The layer's blobs; raises WeightsError unless they have these shapes.

        Caffe copies weights by name into the first layer of that name. A second one with weights stays untrained,
        unless it shares those of the first by the names of its parameters.
        """
        shared = tuple(param.name for param in self.message.param)
        first = self.weights.owners.setdefault(self.message.name, (id(self.message), shared))
        if first[0] != id(self.message) and (first[1] != shared or not all(shared) or not shared):
            raise self.uncomputable(
                "has the name of an earlier layer with weights, and weights are found by name; give it its own name"
            )
        return self.weights.take(self.message.name, shapes)

    def axis(self, axis: int) -> int:
        """The axis counted from the front, where the batch is axis 0."""
        return axis if axis >= 0 else axis + len(self.shapes[0]) + 1

    def expect_channels(self, axis: int) -> None:
        """Raise Uncomputable unless the axis is that of the channels."""
        if self.axis(axis) != 1:
            raise self.uncomputable(f"works along axis {axis}, expected axis 1, the channels")

    def expect_map(self) -> None:
        """Raise Uncomputable unless the layer reads (channels, rows, columns)."""
        if len(self.shapes[0]) != 3:
            raise self.uncomputable(f"reads shape {self.shapes[0]}, expected (channels, rows, columns)")

    def refuse(self, why: str) -> DefinitionError:
        """The error for a layer that Caffe would refuse too."""
        return DefinitionError(self._sentence(why))

    def uncomputable(self, why: str) -> Uncomputable:
        """The error for a layer that cannot be computed here; the layers that do not depend on it can be."""
        return Uncomputable(self._sentence(why), why)

    def _sentence(self, why: str) -> str:
        return f"{self.source}: layer {self.message.name} ({self.message.type}) {why}; correct the layer"


# Settings of a layer -------------------------------------------------------------------------------------


def weight_and_bias(
    layer: CaffeLayer, shape: Shape, settings: Any, bias_shape: Shape | None = None
) -> tuple[Tensor, Tensor | None]:
    """The blobs of a layer with an optional bias; bias_shape : None for one number an output."""
    if not settings.bias_term:
        return layer.blobs(shape)[0], None
    bias = (settings.num_output,) if bias_shape is None else bias_shape
    weight, shift = layer.blobs(shape, bias)
    return weight, shift


def kernel(layer: CaffeLayer, settings: Any) -> Pair:
    """The kernel of a sliding layer; raises DefinitionError if it is not stated."""
    layer.expect_map()
    size = pair(settings, "kernel_size", 0)
    if min(size) < 1:
        raise layer.refuse(f"has kernel {size}, expected 1 or more; set kernel_size, or kernel_h and kernel_w")
    return size


def steps(settings: Any) -> tuple[Pair, Pair]:
    """Stride and padding of a sliding layer."""
    return pair(settings, "stride", 1), pair(settings, "pad", 0)


def dilation(settings: Any) -> Pair:
    """The dilation of a convolution, which DeepLab's Caffe calls `hole`."""
    return pair(settings, "dilation", 1) if settings.dilation else pair(settings, "hole", 1)


def pair(settings: Any, name: str, default: int) -> Pair:
    """(rows, columns) of a setting that is given once, once for each axis, or as _h and _w."""
    stem = name.removesuffix("_size")
    if f"{stem}_h" in settings.DESCRIPTOR.fields_by_name and (
        settings.HasField(f"{stem}_h") or settings.HasField(f"{stem}_w")
    ):
        axes = (f"{stem}_h", f"{stem}_w")
        return tuple(getattr(settings, axis) if settings.HasField(axis) else default for axis in axes)
    values: Sequence[int] = list(getattr(settings, name))
    return (values[0], values[-1]) if values else (default, default)


def choice(settings: Any, field: str) -> str:
    """The name of the constant to which an enumeration is set."""
    return settings.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(settings, field)].name


def decimal(number: float) -> float:
    """The decimal number that the definition states, such as 0.75 or 1e-4, without the digits that float32 adds."""
    return float(f"{number:.7g}")
