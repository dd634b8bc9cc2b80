"""Caffe's layer types, each as the operators that compute what it computes at rest.

Source: Caffe, its layer catalogue; where its versions differ, the one of the published networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import DefinitionError, nearest
from pipeline.nets.caffe import joints
from pipeline.nets.caffe.place import Chain, Place, choice, decimal, kernel, pair, steps, weight_and_bias
from pipeline.nets.caffe.weights import Shape
from pipeline.nets.operators import (
    Affine,
    GlobalPool,
    Identity,
    InnerProduct,
    Operator,
    Pointwise,
    Power,
    PRelu,
    Product,
    Relu,
    Softmax,
    Sum,
)
from pipeline.nets.sliding import (
    AveragePool,
    ChannelNorm,
    Convolution,
    Deconvolution,
    MaxPool,
    WithinChannelNorm,
)


def operators_of(place: Place) -> list[Chain]:
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


def _convolution(place: Place) -> Operator:
    settings = place.layer.convolution_param
    rows, columns = kernel(place, settings)
    if settings.group < 1 or place.channels % settings.group or settings.num_output % settings.group:
        raise place.refuse(
            f"has {settings.group} groups, expected a divisor of {place.channels} inputs and "
            f"{settings.num_output} outputs"
        )
    shape = (settings.num_output, place.channels // settings.group, rows, columns)
    weight, bias = weight_and_bias(place, shape, settings)
    return Convolution(weight, bias, *steps(settings), pair(settings, "dilation", 1), settings.group)


def _deconvolution(place: Place) -> Operator:
    settings = place.layer.convolution_param
    rows, columns = kernel(place, settings)
    if settings.group < 1 or place.channels % settings.group or settings.num_output % settings.group:
        raise place.refuse(f"has {settings.group} groups, expected a divisor of inputs and outputs")
    shape = (place.channels, settings.num_output // settings.group, rows, columns)
    weight, bias = weight_and_bias(place, shape, settings)
    return Deconvolution(weight, bias, *steps(settings), pair(settings, "dilation", 1), settings.group)


def _pooling(place: Place) -> Operator:
    settings = place.layer.pooling_param
    mode = choice(settings, "pool")
    if mode == "STOCHASTIC":
        raise place.refuse("pools at random, expected pool: MAX or pool: AVE")
    if len(place.shapes[0]) != 3:
        raise place.refuse(f"reads shape {place.shapes[0]}, expected (channels, rows, columns)")
    if settings.global_pooling:
        return GlobalPool("mean" if mode == "AVE" else "max")
    size = kernel(place, settings)
    stride, padding = steps(settings)
    if any(padding[axis] >= size[axis] for axis in (0, 1)):
        raise place.refuse(f"has padding {padding}, expected less than its kernel {size}")
    floor = choice(settings, "round_mode") == "FLOOR" or not settings.ceil_mode
    pool = AveragePool if mode == "AVE" else MaxPool
    return pool(size, stride, padding, "floor" if floor else "caffe")


def _lrn(place: Place) -> Operator:
    settings = place.layer.lrn_param
    if settings.local_size % 2 == 0:
        raise place.refuse(f"has local_size {settings.local_size}, expected an odd number")
    if choice(settings, "norm_region") == "WITHIN_CHANNEL":
        return WithinChannelNorm(settings.local_size, decimal(settings.alpha), decimal(settings.beta))
    numbers = (decimal(number) for number in (settings.alpha, settings.beta, settings.k))
    return ChannelNorm(settings.local_size, *numbers)


# Layers with one function of all values, or of each ------------------------------------------------------


def _inner_product(place: Place) -> Operator:
    settings = place.layer.inner_product_param
    place.expect_channels(settings.axis)
    inputs = math.prod(place.shapes[0])
    shape = (inputs, settings.num_output) if settings.transpose else (settings.num_output, inputs)
    weight, bias = weight_and_bias(place, shape, settings)
    return InnerProduct(weight.T.contiguous() if settings.transpose else weight, bias)


def _relu(place: Place) -> Operator:
    return Relu(decimal(place.layer.relu_param.negative_slope))


def _prelu(place: Place) -> Operator:
    shared = place.layer.prelu_param.channel_shared
    (slope,) = place.blobs((1,) if shared else (place.channels,))
    return PRelu(slope)


def _power(place: Place) -> Operator:
    settings = place.layer.power_param
    return Power(*(decimal(number) for number in (settings.power, settings.scale, settings.shift)))


def _exponential(place: Place) -> Chain:
    settings = place.layer.exp_param
    factor = _log_of_base(place, settings.base)
    inner = Power(1.0, decimal(settings.scale) * factor, decimal(settings.shift) * factor)
    return [inner, Pointwise(_Function(torch.exp), "exp")]


def _logarithm(place: Place) -> Chain:
    settings = place.layer.log_param
    factor = _log_of_base(place, settings.base)
    inner = Power(1.0, decimal(settings.scale), decimal(settings.shift))
    return [inner, Pointwise(_Function(torch.log), "log"), Power(1.0, 1 / factor, 0.0)]


def _log_of_base(place: Place, base: float) -> float:
    if base == -1:  # Caffe's way of saying e
        return 1.0
    if base <= 0 or base == 1:
        raise place.refuse(f"has base {base}, expected a positive one other than 1")
    return math.log(decimal(base))


class _Function(nn.Module):
    """A function of torch as a module whose repr is the function's name."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def extra_repr(self) -> str:
        return self.function.__name__

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _softmax(place: Place) -> Operator:
    place.expect_channels(place.layer.softmax_param.axis)
    return Softmax()


# Layers with a scale and a shift -------------------------------------------------------------------------


def _batch_norm(place: Place) -> Operator:
    settings = place.layer.batch_norm_param
    if settings.HasField("use_global_stats") and not settings.use_global_stats:
        raise place.refuse("takes its statistics from the batch, expected use_global_stats: true")
    mean, variance, factor = (blob.double() for blob in place.blobs((place.channels,), (place.channels,), (1,)))
    share = 0.0 if factor.item() == 0 else 1 / factor.item()
    scale = (variance * share + decimal(settings.eps)).rsqrt()
    return Affine(scale.float(), (-mean * share * scale).float())


def _scale(place: Place) -> Operator:
    settings = place.layer.scale_param
    if len(place.shapes) == 1:
        shape = _channel_shape(place, settings)
        scale, shift = weight_and_bias(place, shape, settings, bias_shape=shape)
        return Affine(*_per_channel(place, scale, shift))
    given = place.shapes[1]
    if len(place.shapes) > 2 or place.axis(settings.axis) != 0 or settings.bias_term:
        raise place.refuse("scales one blob by another, expected two blobs, axis: 0 and no bias_term")
    if given != place.shapes[0] and (given[0] != place.channels or math.prod(given[1:]) != 1):
        raise place.refuse(f"scales by shape {given}, expected one factor for each of {place.channels} channels")
    return Product()


def _bias(place: Place) -> Operator:
    if len(place.shapes) > 1:
        axis = place.axis(place.layer.bias_param.axis)
        if place.shapes[1] != place.shapes[0] or len(place.shapes) > 2 or axis != 0:
            raise place.refuse(f"adds shapes {place.shapes} along axis {axis}, expected two equal ones and axis: 0")
        return Sum()
    (shift,) = place.blobs(_channel_shape(place, place.layer.bias_param))
    return Affine(*_per_channel(place, torch.ones_like(shift), shift))


def _channel_shape(place: Place, settings: Any) -> Shape:
    """Shape of the blob of a Scale or Bias layer: one number a channel, or one for all."""
    if settings.num_axes == 0:
        return ()
    place.expect_channels(settings.axis)
    covered = len(place.shapes[0]) if settings.num_axes == -1 else settings.num_axes
    if covered != 1 and math.prod(place.shapes[0][1:covered]) != 1:
        raise place.refuse(f"has a number for each of {covered} axes, expected num_axes: 1")
    return place.shapes[0][:covered]


def _per_channel(place: Place, scale: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scale and shift with one number for every channel."""
    return tuple(  # type: ignore[return-value]
        None if numbers is None else numbers.reshape(-1).expand(place.channels).clone() for numbers in (scale, shift)
    )


_TYPES: dict[str, Callable[[Place], Any]] = {
    "AbsVal": lambda place: Pointwise(_Function(torch.abs), "abs"),
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "BNLL": lambda place: Pointwise(nn.Softplus(), "softplus"),
    "Concat": joints.concat,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Dropout": lambda place: Identity(),
    "ELU": lambda place: Pointwise(nn.ELU(decimal(place.layer.elu_param.alpha)), "elu"),
    "Eltwise": joints.eltwise,
    "Exp": _exponential,
    "Flatten": joints.flatten,
    "InnerProduct": _inner_product,
    "Log": _logarithm,
    "LRN": _lrn,
    "Pooling": _pooling,
    "Power": _power,
    "PReLU": _prelu,
    "ReLU": _relu,
    "Reshape": joints.reshape,
    "Scale": _scale,
    "Sigmoid": lambda place: Pointwise(nn.Sigmoid(), "sigmoid"),
    "Slice": joints.slices,
    "Softmax": _softmax,
    "Split": joints.split,
    "TanH": lambda place: Pointwise(nn.Tanh(), "tanh"),
}
_SEVERAL_INPUTS = frozenset({"Bias", "Concat", "Eltwise", "Scale"})
_SEVERAL_OUTPUTS: dict[str, Callable[[Place], Sequence[Chain]]] = {
    "Slice": joints.slices,
    "Split": joints.split,
}
