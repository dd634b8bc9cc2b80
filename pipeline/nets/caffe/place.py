"""One layer of a Caffe definition, with what it needs to become operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.errors import DefinitionError
from pipeline.nets.caffe.weights import Shape, Weights
from pipeline.nets.operators import Operator
from pipeline.nets.sliding import Pair

Chain = list[Operator]  # applied one after the other; the last one's value is the layer's


@dataclass(frozen=True)
class Place:
    """A layer with what surrounds it: the shapes (without the batch) of what it reads, and the weights."""

    source: str
    layer: Any  # LayerParameter
    shapes: tuple[Shape, ...]
    weights: Weights

    @property
    def channels(self) -> int:
        return self.shapes[0][0]

    def blobs(self, *shapes: Shape) -> list[Tensor]:
        """The layer's blobs, which must have these shapes."""
        return self.weights.take(self.layer.name, shapes)

    def axis(self, axis: int) -> int:
        """An axis counted from the front, the batch being 0."""
        return axis if axis >= 0 else axis + len(self.shapes[0]) + 1

    def expect_channels(self, axis: int) -> None:
        """Raise unless the axis is that of the channels."""
        if self.axis(axis) != 1:
            raise self.refuse(f"works along axis {axis}, expected axis 1, the channels")

    def refuse(self, why: str) -> DefinitionError:
        return DefinitionError(f"{self.source}: layer {self.layer.name} ({self.layer.type}) {why}; mend the layer")


def weight_and_bias(
    place: Place, shape: Shape, settings: Any, bias_shape: Shape | None = None
) -> tuple[Tensor, Tensor | None]:
    if not settings.bias_term:
        return place.blobs(shape)[0], None
    bias = (settings.num_output,) if bias_shape is None else bias_shape
    weight, shift = place.blobs(shape, bias)
    return weight, shift


def kernel(place: Place, settings: Any) -> Pair:
    if len(place.shapes[0]) != 3:
        raise place.refuse(f"reads shape {place.shapes[0]}, expected (channels, rows, columns)")
    kernel = pair(settings, "kernel_size", 0)
    if min(kernel) < 1:
        raise place.refuse(f"has kernel {kernel}, expected 1 or more; set kernel_size, or kernel_h and kernel_w")
    return kernel


def steps(settings: Any) -> tuple[Pair, Pair]:
    """Stride and padding."""
    return pair(settings, "stride", 1), pair(settings, "pad", 0)


def pair(settings: Any, name: str, default: int) -> Pair:
    """(rows, columns) of a setting given once, once an axis, or as _h and _w."""
    stem = name.removesuffix("_size")
    if f"{stem}_h" in settings.DESCRIPTOR.fields_by_name and (
        settings.HasField(f"{stem}_h") or settings.HasField(f"{stem}_w")
    ):
        axes = (f"{stem}_h", f"{stem}_w")
        return tuple(getattr(settings, axis) if settings.HasField(axis) else default for axis in axes)
    values = list(getattr(settings, name))
    return (values[0], values[-1]) if values else (default, default)


def choice(settings: Any, field: str) -> str:
    """The name of the constant that an enumeration is set to."""
    return settings.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(settings, field)].name


def decimal(number: float) -> float:
    """The number as it was written: 0.75 and 1e-4, where float32 would add digits of its own."""
    return float(f"{number:.7g}")
