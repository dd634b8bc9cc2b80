"""Caffe's layer types, each as the operators that compute what it computes at rest.

Source: Caffe, its layer catalogue; where its versions differ, the one of the published networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import DefinitionError, nearest
from pipeline.nets.caffe.weights import Shape, Weights
from pipeline.nets.operators import (
    Affine,
    Concat,
    GlobalPool,
    Identity,
    InnerProduct,
    Maximum,
    Operator,
    Pointwise,
    Power,
    PRelu,
    Product,
    Relu,
    Reshape,
    Slice,
    Softmax,
    Sum,
)
from pipeline.nets.sliding import (
    AveragePool,
    ChannelNorm,
    Convolution,
    Deconvolution,
    MaxPool,
    Pair,
    WithinChannelNorm,
)

Chain = list[Operator]  # applied one after the other; the last one's value is the layer's


@dataclass(frozen=True)
class CaffeLayer:
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


def operators_of(place: CaffeLayer) -> list[Chain]:
    """One chain of operators for each top of the layer.

    Raises DefinitionError for a type or a setting that has no operator, WeightsError for blobs that do not fit.
    """
    layer = place.layer
    make = _TYPES.get(layer.type)
    if make is None:
        raise DefinitionError(
            f"{place.source}: layer {layer.name} has type {layer.type!r}, which cannot be computed here"
            f"{nearest(layer.type, _TYPES)}; known types: {', '.join(_TYPES)}"
        )
    if not layer.bottom:
        raise place.refuse("reads nothing; give it a bottom")
    if len(layer.bottom) > 1 and layer.type not in _SEVERAL_INPUTS:
        raise place.refuse(f"reads {len(layer.bottom)} blobs, expected 1")
    if layer.type in _SEVERAL_OUTPUTS:
        return _SEVERAL_OUTPUTS[layer.type](place)
    if len(layer.top) != 1:
        raise place.refuse(f"makes {len(layer.top)} blobs, expected 1")
    made = make(place)
    return [made if isinstance(made, list) else [made]]


# Layers that slide a window ------------------------------------------------------------------------------


def _convolution(place: CaffeLayer) -> Operator:
    settings = place.layer.convolution_param
    rows, columns = _kernel(place, settings)
    if settings.group < 1 or place.channels % settings.group or settings.num_output % settings.group:
        raise place.refuse(
            f"has {settings.group} groups, expected a divisor of {place.channels} inputs and "
            f"{settings.num_output} outputs"
        )
    shape = (settings.num_output, place.channels // settings.group, rows, columns)
    weight, bias = _weight_and_bias(place, shape, settings)
    return Convolution(weight, bias, *_steps(settings), _pair(settings, "dilation", 1), settings.group)


def _deconvolution(place: CaffeLayer) -> Operator:
    settings = place.layer.convolution_param
    rows, columns = _kernel(place, settings)
    if settings.group < 1 or place.channels % settings.group or settings.num_output % settings.group:
        raise place.refuse(f"has {settings.group} groups, expected a divisor of inputs and outputs")
    shape = (place.channels, settings.num_output // settings.group, rows, columns)
    weight, bias = _weight_and_bias(place, shape, settings)
    return Deconvolution(weight, bias, *_steps(settings), _pair(settings, "dilation", 1), settings.group)


def _pooling(place: CaffeLayer) -> Operator:
    settings = place.layer.pooling_param
    mode = choice(settings, "pool")
    if mode == "STOCHASTIC":
        raise place.refuse("pools at random, expected pool: MAX or pool: AVE")
    if len(place.shapes[0]) != 3:
        raise place.refuse(f"reads shape {place.shapes[0]}, expected (channels, rows, columns)")
    if settings.global_pooling:
        return GlobalPool("mean" if mode == "AVE" else "max")
    size = _kernel(place, settings)
    stride, padding = _steps(settings)
    if any(padding[axis] >= size[axis] for axis in (0, 1)):
        raise place.refuse(f"has padding {padding}, expected less than its kernel {size}")
    floor = choice(settings, "round_mode") == "FLOOR" or not settings.ceil_mode
    pool = AveragePool if mode == "AVE" else MaxPool
    return pool(size, stride, padding, "floor" if floor else "caffe")


def _lrn(place: CaffeLayer) -> Operator:
    settings = place.layer.lrn_param
    if settings.local_size % 2 == 0:
        raise place.refuse(f"has local_size {settings.local_size}, expected an odd number")
    if choice(settings, "norm_region") == "WITHIN_CHANNEL":
        return WithinChannelNorm(settings.local_size, _decimal(settings.alpha), _decimal(settings.beta))
    numbers = (_decimal(number) for number in (settings.alpha, settings.beta, settings.k))
    return ChannelNorm(settings.local_size, *numbers)


# Layers with one function of all values, or of each ------------------------------------------------------


def _inner_product(place: CaffeLayer) -> Operator:
    settings = place.layer.inner_product_param
    place.expect_channels(settings.axis)
    inputs = math.prod(place.shapes[0])
    shape = (inputs, settings.num_output) if settings.transpose else (settings.num_output, inputs)
    weight, bias = _weight_and_bias(place, shape, settings)
    return InnerProduct(weight.T.contiguous() if settings.transpose else weight, bias)


def _relu(place: CaffeLayer) -> Operator:
    return Relu(_decimal(place.layer.relu_param.negative_slope))


def _prelu(place: CaffeLayer) -> Operator:
    shared = place.layer.prelu_param.channel_shared
    (slope,) = place.blobs((1,) if shared else (place.channels,))
    return PRelu(slope)


def _power(place: CaffeLayer) -> Operator:
    settings = place.layer.power_param
    return Power(*(_decimal(number) for number in (settings.power, settings.scale, settings.shift)))


def _exponential(place: CaffeLayer) -> Chain:
    settings = place.layer.exp_param
    factor = _log_of_base(place, settings.base)
    inner = Power(1.0, _decimal(settings.scale) * factor, _decimal(settings.shift) * factor)
    return [inner, Pointwise(_Function(torch.exp), "exp")]


def _logarithm(place: CaffeLayer) -> Chain:
    settings = place.layer.log_param
    factor = _log_of_base(place, settings.base)
    inner = Power(1.0, _decimal(settings.scale), _decimal(settings.shift))
    return [inner, Pointwise(_Function(torch.log), "log"), Power(1.0, 1 / factor, 0.0)]


def _log_of_base(place: CaffeLayer, base: float) -> float:
    if base == -1:  # Caffe's way of saying e
        return 1.0
    if base <= 0 or base == 1:
        raise place.refuse(f"has base {base}, expected a positive one other than 1")
    return math.log(_decimal(base))


class _Function(nn.Module):
    """A function of torch as a module whose repr is the function's name."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def extra_repr(self) -> str:
        return self.function.__name__

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _softmax(place: CaffeLayer) -> Operator:
    place.expect_channels(place.layer.softmax_param.axis)
    return Softmax()


# Layers with a scale and a shift -------------------------------------------------------------------------


def _batch_norm(place: CaffeLayer) -> Operator:
    settings = place.layer.batch_norm_param
    if settings.HasField("use_global_stats") and not settings.use_global_stats:
        raise place.refuse("takes its statistics from the batch, expected use_global_stats: true")
    mean, variance, factor = (blob.double() for blob in place.blobs((place.channels,), (place.channels,), (1,)))
    share = 0.0 if factor.item() == 0 else 1 / factor.item()
    scale = (variance * share + _decimal(settings.eps)).rsqrt()
    return Affine(scale.float(), (-mean * share * scale).float())


def _scale(place: CaffeLayer) -> Operator:
    settings = place.layer.scale_param
    if len(place.shapes) == 1:
        shape = _channel_shape(place, settings)
        scale, shift = _weight_and_bias(place, shape, settings, bias_shape=shape)
        return Affine(*_per_channel(place, scale, shift))
    given = place.shapes[1]
    if len(place.shapes) > 2 or place.axis(settings.axis) != 0 or settings.bias_term:
        raise place.refuse("scales one blob by another, expected two blobs, axis: 0 and no bias_term")
    if given != place.shapes[0] and (given[0] != place.channels or math.prod(given[1:]) != 1):
        raise place.refuse(f"scales by shape {given}, expected one factor for each of {place.channels} channels")
    return Product()


def _bias(place: CaffeLayer) -> Operator:
    if len(place.shapes) > 1:
        axis = place.axis(place.layer.bias_param.axis)
        if place.shapes[1] != place.shapes[0] or len(place.shapes) > 2 or axis != 0:
            raise place.refuse(f"adds shapes {place.shapes} along axis {axis}, expected two equal ones and axis: 0")
        return Sum()
    (shift,) = place.blobs(_channel_shape(place, place.layer.bias_param))
    return Affine(*_per_channel(place, torch.ones_like(shift), shift))


def _channel_shape(place: CaffeLayer, settings: Any) -> Shape:
    """Shape of the blob of a Scale or Bias layer: one number a channel, or one for all."""
    if settings.num_axes == 0:
        return ()
    place.expect_channels(settings.axis)
    covered = len(place.shapes[0]) if settings.num_axes == -1 else settings.num_axes
    if covered != 1 and math.prod(place.shapes[0][1:covered]) != 1:
        raise place.refuse(f"has a number for each of {covered} axes, expected num_axes: 1")
    return place.shapes[0][:covered]


def _per_channel(place: CaffeLayer, scale: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scale and shift with one number for every channel."""
    return tuple(  # type: ignore[return-value]
        None if numbers is None else numbers.reshape(-1).expand(place.channels).clone() for numbers in (scale, shift)
    )


# Layers that join blobs, cut them up, or give them another shape -----------------------------------------


def _eltwise(place: CaffeLayer) -> Operator:
    settings = place.layer.eltwise_param
    operation = choice(settings, "operation")
    if len(set(place.shapes)) > 1:
        raise place.refuse(f"reads shapes {', '.join(map(str, place.shapes))}, expected equal ones")
    if settings.coeff and (operation != "SUM" or len(settings.coeff) != len(place.shapes)):
        raise place.refuse(f"has {len(settings.coeff)} coefficients for {operation} of {len(place.shapes)} blobs")
    if operation == "SUM":
        return Sum([_decimal(number) for number in settings.coeff] or None)
    return Product() if operation == "PROD" else Maximum()


def _concat(place: CaffeLayer) -> Operator:
    settings = place.layer.concat_param
    place.expect_channels(settings.concat_dim if settings.HasField("concat_dim") else settings.axis)
    return Concat()


def _slices(place: CaffeLayer) -> list[Chain]:
    settings = place.layer.slice_param
    place.expect_channels(settings.slice_dim if settings.HasField("slice_dim") else settings.axis)
    count, channels = len(place.layer.top), place.channels
    inner = list(settings.slice_point) or [channels * i // count for i in range(1, count)]
    edges = [0, *inner, channels]
    rising = all(start < stop for start, stop in zip(edges, edges[1:], strict=False))
    if len(edges) != count + 1 or not rising or (not settings.slice_point and channels % count):
        raise place.refuse(f"cuts {channels} channels at {inner} into {count} blobs, which cannot be done")
    return [[Slice(start, stop)] for start, stop in zip(edges, edges[1:], strict=False)]


def _split(place: CaffeLayer) -> list[Chain]:
    return [[Identity()] for _ in place.layer.top]


def _flatten(place: CaffeLayer) -> Operator:
    settings = place.layer.flatten_param
    first, last = place.axis(settings.axis), place.axis(settings.end_axis)
    shape = (0, *place.shapes[0])
    if not 1 <= first <= last < len(shape):
        raise place.refuse(f"flattens axes {settings.axis} to {settings.end_axis} of {len(shape)}")
    return _reshaped(place, (*shape[1:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _reshape(place: CaffeLayer) -> Operator:
    settings = place.layer.reshape_param
    old = (0, *place.shapes[0])  # the batch stands as 0, "as before"
    first = settings.axis if settings.axis >= 0 else settings.axis + len(old) + 1
    stop = len(old) if settings.num_axes == -1 else first + settings.num_axes
    if not 0 <= first <= stop <= len(old):
        raise place.refuse(f"replaces axes {first} to {stop} of {len(old)}")
    named = list(settings.shape.dim)
    if any(dim == 0 and first + i >= len(old) for i, dim in enumerate(named)):
        raise place.refuse(f"copies more axes than the {len(old)} it reads")
    named = [old[first + i] if dim == 0 else dim for i, dim in enumerate(named)]
    new = [*old[:first], *named, *old[stop:]]
    shape = new[1:]  # the batch, if stated, is how many images Caffe was to take at once; ours may be any
    if shape.count(-1) == 1:
        rest = math.prod(dim for dim in shape if dim != -1)
        shape[shape.index(-1)] = math.prod(old[1:]) // max(1, rest)
    if math.prod(shape) != math.prod(old[1:]):
        raise place.refuse(f"makes {tuple(shape)} of {old[1:]}, which has another count")
    return _reshaped(place, tuple(shape))


def _reshaped(place: CaffeLayer, shape: Shape) -> Operator:
    if len(shape) not in (1, 3):
        raise place.refuse(f"makes shape {shape}, expected (channels, rows, columns) or (units,)")
    return Identity() if shape == place.shapes[0] else Reshape(shape)


# Settings of a layer -------------------------------------------------------------------------------------


def _weight_and_bias(
    place: CaffeLayer, shape: Shape, settings: Any, bias_shape: Shape | None = None
) -> tuple[Tensor, Tensor | None]:
    if not settings.bias_term:
        return place.blobs(shape)[0], None
    bias = (settings.num_output,) if bias_shape is None else bias_shape
    weight, shift = place.blobs(shape, bias)
    return weight, shift


def _kernel(place: CaffeLayer, settings: Any) -> Pair:
    if len(place.shapes[0]) != 3:
        raise place.refuse(f"reads shape {place.shapes[0]}, expected (channels, rows, columns)")
    kernel = _pair(settings, "kernel_size", 0)
    if min(kernel) < 1:
        raise place.refuse(f"has kernel {kernel}, expected 1 or more; set kernel_size, or kernel_h and kernel_w")
    return kernel


def _steps(settings: Any) -> tuple[Pair, Pair]:
    """Stride and padding."""
    return _pair(settings, "stride", 1), _pair(settings, "pad", 0)


def _pair(settings: Any, name: str, default: int) -> Pair:
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


def _decimal(number: float) -> float:
    """The number as it was written: 0.75 and 1e-4, where float32 would add digits of its own."""
    return float(f"{number:.7g}")


_TYPES: dict[str, Callable[[CaffeLayer], Any]] = {
    "AbsVal": lambda place: Pointwise(_Function(torch.abs), "abs"),
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "BNLL": lambda place: Pointwise(nn.Softplus(), "softplus"),
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Dropout": lambda place: Identity(),
    "ELU": lambda place: Pointwise(nn.ELU(_decimal(place.layer.elu_param.alpha)), "elu"),
    "Eltwise": _eltwise,
    "Exp": _exponential,
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "Log": _logarithm,
    "LRN": _lrn,
    "Pooling": _pooling,
    "Power": _power,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Reshape": _reshape,
    "Scale": _scale,
    "Sigmoid": lambda place: Pointwise(nn.Sigmoid(), "sigmoid"),
    "Slice": _slices,
    "Softmax": _softmax,
    "Split": _split,
    "TanH": lambda place: Pointwise(nn.Tanh(), "tanh"),
}
_SEVERAL_INPUTS = frozenset({"Bias", "Concat", "Eltwise", "Scale"})
_SEVERAL_OUTPUTS: dict[str, Callable[[CaffeLayer], Sequence[Chain]]] = {
    "Slice": _slices,
    "Split": _split,
}
