"""Caffe's layer types, each translated into the operators that compute it in the test phase.

Source: Caffe's layer catalogue; where versions of Caffe differ, the version of the published networks.
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

Chain = list[Operator]  # applied in sequence; the value of the last one is that of the layer


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of a definition, with what is needed to translate it.

    source : the definition, for messages.
    message : LayerParameter, in the current form.
    shapes : of the blobs that the layer reads, without the batch.
    weights : of the whole network.
    """

    source: str
    message: Any
    shapes: tuple[Shape, ...]
    weights: Weights

    @property
    def channels(self) -> int:
        return self.shapes[0][0]

    def blobs(self, *shapes: Shape) -> list[Tensor]:
        """The layer's blobs; raises WeightsError unless they have these shapes."""
        return self.weights.take(self.message.name, shapes)

    def axis(self, axis: int) -> int:
        """The axis counted from the front, where the batch is axis 0."""
        return axis if axis >= 0 else axis + len(self.shapes[0]) + 1

    def expect_channels(self, axis: int) -> None:
        """Raise DefinitionError unless the axis is that of the channels."""
        if self.axis(axis) != 1:
            raise self.refuse(f"works along axis {axis}, expected axis 1, the channels")

    def refuse(self, why: str) -> DefinitionError:
        return DefinitionError(
            f"{self.source}: layer {self.message.name} ({self.message.type}) {why}; correct the layer"
        )


def operators_of(layer: CaffeLayer) -> list[Chain]:
    """One chain of operators for each top (output) of the layer.

    Raises DefinitionError for a type or setting without an operator, WeightsError for blobs of other shapes.
    """
    message = layer.message
    make = _TYPES.get(message.type)
    if make is None:
        raise DefinitionError(
            f"{layer.source}: layer {message.name} has type {message.type!r}, which cannot be computed here"
            f"{nearest(message.type, _TYPES)}; known types: {', '.join(_TYPES)}"
        )
    if not message.bottom:
        raise layer.refuse("reads nothing; give it a bottom")
    if len(message.bottom) > 1 and message.type not in _SEVERAL_INPUTS:
        raise layer.refuse(f"reads {len(message.bottom)} blobs, expected 1")
    if message.type in _SEVERAL_OUTPUTS:
        return _SEVERAL_OUTPUTS[message.type](layer)
    if len(message.top) != 1:
        raise layer.refuse(f"makes {len(message.top)} blobs, expected 1")
    made = make(layer)
    return [made if isinstance(made, list) else [made]]


# Layers that slide a window ------------------------------------------------------------------------------


def _convolution(layer: CaffeLayer) -> Operator:
    settings = layer.message.convolution_param
    rows, columns = _kernel(layer, settings)
    if settings.group < 1 or layer.channels % settings.group or settings.num_output % settings.group:
        raise layer.refuse(
            f"has {settings.group} groups, expected a divisor of {layer.channels} inputs and "
            f"{settings.num_output} outputs"
        )
    shape = (settings.num_output, layer.channels // settings.group, rows, columns)
    weight, bias = _weight_and_bias(layer, shape, settings)
    return Convolution(weight, bias, *_steps(settings), _pair(settings, "dilation", 1), settings.group)


def _deconvolution(layer: CaffeLayer) -> Operator:
    settings = layer.message.convolution_param
    rows, columns = _kernel(layer, settings)
    if settings.group < 1 or layer.channels % settings.group or settings.num_output % settings.group:
        raise layer.refuse(f"has {settings.group} groups, expected a divisor of inputs and outputs")
    shape = (layer.channels, settings.num_output // settings.group, rows, columns)
    weight, bias = _weight_and_bias(layer, shape, settings)
    return Deconvolution(weight, bias, *_steps(settings), _pair(settings, "dilation", 1), settings.group)


def _pooling(layer: CaffeLayer) -> Operator:
    settings = layer.message.pooling_param
    mode = choice(settings, "pool")
    if mode == "STOCHASTIC":
        raise layer.refuse("pools at random, expected pool: MAX or pool: AVE")
    if len(layer.shapes[0]) != 3:
        raise layer.refuse(f"reads shape {layer.shapes[0]}, expected (channels, rows, columns)")
    if settings.global_pooling:
        return GlobalPool("mean" if mode == "AVE" else "max")
    size = _kernel(layer, settings)
    stride, padding = _steps(settings)
    if any(padding[axis] >= size[axis] for axis in (0, 1)):
        raise layer.refuse(f"has padding {padding}, expected less than its kernel {size}")
    floor = choice(settings, "round_mode") == "FLOOR" or not settings.ceil_mode
    pool = AveragePool if mode == "AVE" else MaxPool
    return pool(size, stride, padding, "floor" if floor else "caffe")


def _lrn(layer: CaffeLayer) -> Operator:
    settings = layer.message.lrn_param
    if settings.local_size % 2 == 0:
        raise layer.refuse(f"has local_size {settings.local_size}, expected an odd number")
    if choice(settings, "norm_region") == "WITHIN_CHANNEL":
        return WithinChannelNorm(settings.local_size, _decimal(settings.alpha), _decimal(settings.beta))
    numbers = (_decimal(number) for number in (settings.alpha, settings.beta, settings.k))
    return ChannelNorm(settings.local_size, *numbers)


# Inner product and elementwise functions -----------------------------------------------------------------


def _inner_product(layer: CaffeLayer) -> Operator:
    settings = layer.message.inner_product_param
    layer.expect_channels(settings.axis)
    inputs = math.prod(layer.shapes[0])
    shape = (inputs, settings.num_output) if settings.transpose else (settings.num_output, inputs)
    weight, bias = _weight_and_bias(layer, shape, settings)
    return InnerProduct(weight.T.contiguous() if settings.transpose else weight, bias)


def _relu(layer: CaffeLayer) -> Operator:
    return Relu(_decimal(layer.message.relu_param.negative_slope))


def _prelu(layer: CaffeLayer) -> Operator:
    shared = layer.message.prelu_param.channel_shared
    (slope,) = layer.blobs((1,) if shared else (layer.channels,))
    return PRelu(slope)


def _power(layer: CaffeLayer) -> Operator:
    settings = layer.message.power_param
    return Power(*(_decimal(number) for number in (settings.power, settings.scale, settings.shift)))


def _exponential(layer: CaffeLayer) -> Chain:
    settings = layer.message.exp_param
    factor = _log_of_base(layer, settings.base)
    inner = Power(1.0, _decimal(settings.scale) * factor, _decimal(settings.shift) * factor)
    return [inner, Pointwise(_Function(torch.exp), "exp")]


def _logarithm(layer: CaffeLayer) -> Chain:
    settings = layer.message.log_param
    factor = _log_of_base(layer, settings.base)
    inner = Power(1.0, _decimal(settings.scale), _decimal(settings.shift))
    return [inner, Pointwise(_Function(torch.log), "log"), Power(1.0, 1 / factor, 0.0)]


def _log_of_base(layer: CaffeLayer, base: float) -> float:
    if base == -1:  # stands for e in Caffe
        return 1.0
    if base <= 0 or base == 1:
        raise layer.refuse(f"has base {base}, expected a positive one other than 1")
    return math.log(_decimal(base))


class _Function(nn.Module):
    """A torch function as a module whose repr contains the function's name."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def extra_repr(self) -> str:
        return self.function.__name__

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _softmax(layer: CaffeLayer) -> Operator:
    layer.expect_channels(layer.message.softmax_param.axis)
    return Softmax()


# Layers with a scale and a shift -------------------------------------------------------------------------


def _batch_norm(layer: CaffeLayer) -> Operator:
    settings = layer.message.batch_norm_param
    if settings.HasField("use_global_stats") and not settings.use_global_stats:
        raise layer.refuse("takes its statistics from the batch, expected use_global_stats: true")
    mean, variance, factor = (blob.double() for blob in layer.blobs((layer.channels,), (layer.channels,), (1,)))
    share = 0.0 if factor.item() == 0 else 1 / factor.item()
    scale = (variance * share + _decimal(settings.eps)).rsqrt()
    return Affine(scale.float(), (-mean * share * scale).float())


def _scale(layer: CaffeLayer) -> Operator:
    settings = layer.message.scale_param
    if len(layer.shapes) == 1:
        shape = _channel_shape(layer, settings)
        scale, shift = _weight_and_bias(layer, shape, settings, bias_shape=shape)
        return Affine(*_per_channel(layer, scale, shift))
    given = layer.shapes[1]
    if len(layer.shapes) > 2 or layer.axis(settings.axis) != 0 or settings.bias_term:
        raise layer.refuse("scales one blob by another, expected two blobs, axis: 0 and no bias_term")
    if given != layer.shapes[0] and (given[0] != layer.channels or math.prod(given[1:]) != 1):
        raise layer.refuse(f"scales by shape {given}, expected one factor for each of {layer.channels} channels")
    return Product()


def _bias(layer: CaffeLayer) -> Operator:
    if len(layer.shapes) > 1:
        axis = layer.axis(layer.message.bias_param.axis)
        if layer.shapes[1] != layer.shapes[0] or len(layer.shapes) > 2 or axis != 0:
            raise layer.refuse(f"adds shapes {layer.shapes} along axis {axis}, expected two equal ones and axis: 0")
        return Sum()
    (shift,) = layer.blobs(_channel_shape(layer, layer.message.bias_param))
    return Affine(*_per_channel(layer, torch.ones_like(shift), shift))


def _channel_shape(layer: CaffeLayer, settings: Any) -> Shape:
    """The shape of the blob of a Scale or Bias layer: one number a channel, or one number for all channels."""
    if settings.num_axes == 0:
        return ()
    layer.expect_channels(settings.axis)
    covered = len(layer.shapes[0]) if settings.num_axes == -1 else settings.num_axes
    if covered != 1 and math.prod(layer.shapes[0][1:covered]) != 1:
        raise layer.refuse(f"has a number for each of {covered} axes, expected num_axes: 1")
    return layer.shapes[0][:covered]


def _per_channel(layer: CaffeLayer, scale: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scale and shift, expanded to one number a channel."""
    return tuple(  # type: ignore[return-value]
        None if numbers is None else numbers.reshape(-1).expand(layer.channels).clone() for numbers in (scale, shift)
    )


# Layers that join, slice or reshape blobs ----------------------------------------------------------------


def _eltwise(layer: CaffeLayer) -> Operator:
    settings = layer.message.eltwise_param
    operation = choice(settings, "operation")
    if len(set(layer.shapes)) > 1:
        raise layer.refuse(f"reads shapes {', '.join(map(str, layer.shapes))}, expected equal ones")
    if settings.coeff and (operation != "SUM" or len(settings.coeff) != len(layer.shapes)):
        raise layer.refuse(f"has {len(settings.coeff)} coefficients for {operation} of {len(layer.shapes)} blobs")
    if operation == "SUM":
        return Sum([_decimal(number) for number in settings.coeff] or None)
    return Product() if operation == "PROD" else Maximum()


def _concat(layer: CaffeLayer) -> Operator:
    settings = layer.message.concat_param
    layer.expect_channels(settings.concat_dim if settings.HasField("concat_dim") else settings.axis)
    return Concat()


def _slices(layer: CaffeLayer) -> list[Chain]:
    settings = layer.message.slice_param
    layer.expect_channels(settings.slice_dim if settings.HasField("slice_dim") else settings.axis)
    count, channels = len(layer.message.top), layer.channels
    inner = list(settings.slice_point) or [channels * i // count for i in range(1, count)]
    edges = [0, *inner, channels]
    rising = all(start < stop for start, stop in zip(edges, edges[1:], strict=False))
    if len(edges) != count + 1 or not rising or (not settings.slice_point and channels % count):
        raise layer.refuse(f"cuts {channels} channels at {inner} into {count} blobs, which cannot be done")
    return [[Slice(start, stop)] for start, stop in zip(edges, edges[1:], strict=False)]


def _split(layer: CaffeLayer) -> list[Chain]:
    return [[Identity()] for _ in layer.message.top]


def _flatten(layer: CaffeLayer) -> Operator:
    settings = layer.message.flatten_param
    first, last = layer.axis(settings.axis), layer.axis(settings.end_axis)
    shape = (0, *layer.shapes[0])
    if not 1 <= first <= last < len(shape):
        raise layer.refuse(f"flattens axes {settings.axis} to {settings.end_axis} of {len(shape)}")
    return _reshaped(layer, (*shape[1:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _reshape(layer: CaffeLayer) -> Operator:
    settings = layer.message.reshape_param
    old = (0, *layer.shapes[0])  # the batch is written as 0, "unchanged"
    first = settings.axis if settings.axis >= 0 else settings.axis + len(old) + 1
    stop = len(old) if settings.num_axes == -1 else first + settings.num_axes
    if not 0 <= first <= stop <= len(old):
        raise layer.refuse(f"replaces axes {first} to {stop} of {len(old)}")
    named = list(settings.shape.dim)
    if any(dim == 0 and first + i >= len(old) for i, dim in enumerate(named)):
        raise layer.refuse(f"copies more axes than the {len(old)} it reads")
    named = [old[first + i] if dim == 0 else dim for i, dim in enumerate(named)]
    new = [*old[:first], *named, *old[stop:]]
    shape = new[1:]  # without the batch: its stated size is ignored, because any batch size is accepted
    if shape.count(-1) == 1:
        rest = math.prod(dim for dim in shape if dim != -1)
        shape[shape.index(-1)] = math.prod(old[1:]) // max(1, rest)
    if math.prod(shape) != math.prod(old[1:]):
        raise layer.refuse(f"makes {tuple(shape)} of {old[1:]}, which has another count")
    return _reshaped(layer, tuple(shape))


def _reshaped(layer: CaffeLayer, shape: Shape) -> Operator:
    if len(shape) not in (1, 3):
        raise layer.refuse(f"makes shape {shape}, expected (channels, rows, columns) or (units,)")
    return Identity() if shape == layer.shapes[0] else Reshape(shape)


# Settings of a layer -------------------------------------------------------------------------------------


def _weight_and_bias(
    layer: CaffeLayer, shape: Shape, settings: Any, bias_shape: Shape | None = None
) -> tuple[Tensor, Tensor | None]:
    if not settings.bias_term:
        return layer.blobs(shape)[0], None
    bias = (settings.num_output,) if bias_shape is None else bias_shape
    weight, shift = layer.blobs(shape, bias)
    return weight, shift


def _kernel(layer: CaffeLayer, settings: Any) -> Pair:
    if len(layer.shapes[0]) != 3:
        raise layer.refuse(f"reads shape {layer.shapes[0]}, expected (channels, rows, columns)")
    kernel = _pair(settings, "kernel_size", 0)
    if min(kernel) < 1:
        raise layer.refuse(f"has kernel {kernel}, expected 1 or more; set kernel_size, or kernel_h and kernel_w")
    return kernel


def _steps(settings: Any) -> tuple[Pair, Pair]:
    """Stride and padding of a sliding layer."""
    return _pair(settings, "stride", 1), _pair(settings, "pad", 0)


def _pair(settings: Any, name: str, default: int) -> Pair:
    """(rows, columns) of a setting that is given once, once for each axis, or as _h and _w."""
    stem = name.removesuffix("_size")
    if f"{stem}_h" in settings.DESCRIPTOR.fields_by_name and (
        settings.HasField(f"{stem}_h") or settings.HasField(f"{stem}_w")
    ):
        axes = (f"{stem}_h", f"{stem}_w")
        return tuple(getattr(settings, axis) if settings.HasField(axis) else default for axis in axes)
    values = list(getattr(settings, name))
    return (values[0], values[-1]) if values else (default, default)


def choice(settings: Any, field: str) -> str:
    """The name of the constant to which an enumeration is set."""
    return settings.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(settings, field)].name


def _decimal(number: float) -> float:
    """The decimal number that the definition states, such as 0.75 or 1e-4, without the digits that float32 adds."""
    return float(f"{number:.7g}")


_TYPES: dict[str, Callable[[CaffeLayer], Any]] = {
    "AbsVal": lambda layer: Pointwise(_Function(torch.abs), "abs"),
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "BNLL": lambda layer: Pointwise(nn.Softplus(), "softplus"),
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Dropout": lambda layer: Identity(),
    "ELU": lambda layer: Pointwise(nn.ELU(_decimal(layer.message.elu_param.alpha)), "elu"),
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
    "Sigmoid": lambda layer: Pointwise(nn.Sigmoid(), "sigmoid"),
    "Slice": _slices,
    "Softmax": _softmax,
    "Split": _split,
    "TanH": lambda layer: Pointwise(nn.Tanh(), "tanh"),
}
_SEVERAL_INPUTS = frozenset({"Bias", "Concat", "Eltwise", "Scale"})
_SEVERAL_OUTPUTS: dict[str, Callable[[CaffeLayer], Sequence[Chain]]] = {
    "Slice": _slices,
    "Split": _split,
}
