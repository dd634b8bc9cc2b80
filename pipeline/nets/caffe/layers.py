"""Caffe's layer types, each translated into the operators that compute it in the test phase.

Source: Caffe's layer catalogue; where versions of Caffe differ, the version of the published networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import nearest
from pipeline.nets.caffe.extensions import EXTENSIONS, SEVERAL_INPUTS
from pipeline.nets.caffe.layer import (
    CaffeLayer,
    Chain,
    Rearranged,
    Switched,
    Top,
    Uncomputable,
    choice,
    decimal,
    dilation,
    kernel,
    steps,
    weight_and_bias,
)
from pipeline.nets.caffe.weights import Shape
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
    Switches,
    WithinChannelNorm,
)


def operators_of(layer: CaffeLayer) -> list[Top]:
    """How each top (output) of the layer is computed.

    Raises Uncomputable for a type or setting without an operator, DefinitionError for a layer that Caffe would refuse
    too, WeightsError for blobs of other shapes.
    """
    message = layer.message
    make = TYPES.get(message.type)
    if message.type in INDICES:
        raise layer.uncomputable("gives values that no pixel changes gradually, so they are no activations")
    if make is None:
        meant = get_close_matches(message.type, TYPES, n=1, cutoff=0.85)  # a typing error
        raise Uncomputable(
            f"{layer.source}: layer {message.name} has type {message.type!r}, which cannot be computed here"
            f"{nearest(message.type, TYPES)}; known types: {', '.join(TYPES)}",
            "has a type that cannot be computed here" + "".join(f" (nearest: {kind})" for kind in meant),
        )
    for setting in message.unknown_setting:
        raise layer.uncomputable(f"has an unknown setting: {setting}")
    if not message.bottom:
        raise layer.refuse("reads nothing; give it a bottom")
    if len(message.bottom) > 1 and message.type not in _SEVERAL_INPUTS:
        raise layer.uncomputable(f"reads {len(message.bottom)} blobs, expected 1")
    made = make(layer)
    tops = made if isinstance(made, list) and isinstance(made[0], Top) else [Top(_chain(made))]
    if len(message.top) > len(tops) or not message.top:
        raise layer.uncomputable(f"makes {len(message.top)} blobs, expected {len(tops)}")
    return tops[: len(message.top)]


def _chain(made: Any) -> Chain | Rearranged:
    return made if isinstance(made, list | Rearranged) else [made]


# Layers that slide a window ------------------------------------------------------------------------------


def _convolution(layer: CaffeLayer) -> Operator:
    settings = layer.message.convolution_param
    rows, columns = kernel(layer, settings)
    if settings.group < 1 or layer.channels % settings.group or settings.num_output % settings.group:
        raise layer.refuse(
            f"has {settings.group} groups, expected a divisor of {layer.channels} inputs and "
            f"{settings.num_output} outputs"
        )
    shape = (settings.num_output, layer.channels // settings.group, rows, columns)
    weight, bias = weight_and_bias(layer, shape, settings)
    return Convolution(weight, bias, *steps(settings), dilation(settings), settings.group)


def _deconvolution(layer: CaffeLayer) -> Operator:
    settings = layer.message.convolution_param
    rows, columns = kernel(layer, settings)
    if settings.group < 1 or layer.channels % settings.group or settings.num_output % settings.group:
        raise layer.refuse(f"has {settings.group} groups, expected a divisor of inputs and outputs")
    shape = (layer.channels, settings.num_output // settings.group, rows, columns)
    weight, bias = weight_and_bias(layer, shape, settings)
    return Deconvolution(weight, bias, *steps(settings), dilation(settings), settings.group)


def _pooling(layer: CaffeLayer) -> Operator | list[Top]:
    settings = layer.message.pooling_param
    mode = choice(settings, "pool")
    if mode == "STOCHASTIC":
        raise layer.uncomputable("pools at random, expected pool: MAX or pool: AVE")
    layer.expect_map()
    if settings.global_pooling:
        return [
            Top([GlobalPool("mean" if mode == "AVE" else "max")]),
            Top([], why="reads the mask of a global pooling"),
        ]
    size = kernel(layer, settings)
    stride, padding = steps(settings)
    if any(padding[axis] >= size[axis] for axis in (0, 1)):
        raise layer.refuse(f"has padding {padding}, expected less than its kernel {size}")
    floor = choice(settings, "round_mode") == "FLOOR" or not settings.ceil_mode
    rounding = "floor" if floor else "caffe"
    if mode == "AVE":
        return AveragePool(size, stride, padding, rounding)
    pool = MaxPool(size, stride, padding, rounding)
    pooled = Top([pool])
    if any(size[axis] > stride[axis] for axis in (0, 1)):
        return [pooled, Top([], why="reads the mask of a pooling whose windows overlap")]
    below = layer.shapes[0][1:]
    shape = (layer.channels, *(pool.reach[axis].outputs(below[axis], rounding) for axis in (0, 1)))
    switched = Switched(shape, below, size, stride, padding)
    return [pooled, Top([Switches(size, stride, padding, rounding)], switched)]


def _lrn(layer: CaffeLayer) -> Operator:
    settings = layer.message.lrn_param
    if settings.local_size % 2 == 0:
        raise layer.refuse(f"has local_size {settings.local_size}, expected an odd number")
    if choice(settings, "norm_region") == "WITHIN_CHANNEL":
        return WithinChannelNorm(settings.local_size, decimal(settings.alpha), decimal(settings.beta))
    numbers = (decimal(number) for number in (settings.alpha, settings.beta, settings.k))
    return ChannelNorm(settings.local_size, *numbers)


# Inner product and elementwise functions -----------------------------------------------------------------


def _inner_product(layer: CaffeLayer) -> Operator:
    settings = layer.message.inner_product_param
    layer.expect_channels(settings.axis)
    inputs = math.prod(layer.shapes[0])
    shape = (inputs, settings.num_output) if settings.transpose else (settings.num_output, inputs)
    weight, bias = weight_and_bias(layer, shape, settings)
    return InnerProduct(weight.T.contiguous() if settings.transpose else weight, bias)


def _dropout(layer: CaffeLayer) -> Operator:
    """In the Caffe of Fast R-CNN, dropout may scale in the test phase instead of the training phase."""
    settings = layer.message.dropout_param
    return Identity() if settings.scale_train else Power(1.0, 1 - decimal(settings.dropout_ratio), 0.0)


def _relu(layer: CaffeLayer) -> Operator:
    return Relu(decimal(layer.message.relu_param.negative_slope))


def _prelu(layer: CaffeLayer) -> Operator:
    shared = layer.message.prelu_param.channel_shared
    (slope,) = layer.blobs((1,) if shared else (layer.channels,))
    return PRelu(slope)


def _power(layer: CaffeLayer) -> Operator:
    settings = layer.message.power_param
    return Power(*(decimal(number) for number in (settings.power, settings.scale, settings.shift)))


def _exponential(layer: CaffeLayer) -> Chain:
    settings = layer.message.exp_param
    factor = _log_of_base(layer, settings.base)
    inner = Power(1.0, decimal(settings.scale) * factor, decimal(settings.shift) * factor)
    return [inner, Pointwise(_Function(torch.exp), "exp")]


def _logarithm(layer: CaffeLayer) -> Chain:
    settings = layer.message.log_param
    factor = _log_of_base(layer, settings.base)
    inner = Power(1.0, decimal(settings.scale), decimal(settings.shift))
    return [inner, Pointwise(_Function(torch.log), "log"), Power(1.0, 1 / factor, 0.0)]


def _log_of_base(layer: CaffeLayer, base: float) -> float:
    if base == -1:  # stands for e in Caffe
        return 1.0
    if base <= 0 or base == 1:
        raise layer.refuse(f"has base {base}, expected a positive one other than 1")
    return math.log(decimal(base))


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
        raise layer.uncomputable("takes its statistics from the batch, expected use_global_stats: true")
    each, eps = (layer.channels,), decimal(settings.eps)
    if settings.scale_bias or settings.HasField("scale_filler") or settings.HasField("bias_filler"):
        # NVIDIA's form, with a scale and a shift of its own; its third blob is not used.
        mean, variance, _, scale, shift = (blob.double() for blob in layer.blobs(each, each, (1,), each, each))
        scale = scale * (variance + max(eps, 1e-5)).rsqrt()
        return Affine(scale.float(), (shift - mean * scale).float())
    mean, variance, factor = (blob.double() for blob in layer.blobs(each, each, (1,)))
    share = 0.0 if factor.item() == 0 else 1 / factor.item()
    scale = (variance * share + eps).rsqrt()
    return Affine(scale.float(), (-mean * share * scale).float())


def _scale(layer: CaffeLayer) -> Operator:
    settings = layer.message.scale_param
    if len(layer.shapes) == 1:
        shape = _channel_shape(layer, settings)
        scale, shift = weight_and_bias(layer, shape, settings, bias_shape=shape)
        return Affine(*_per_channel(layer, scale, shift))
    given = layer.shapes[1]
    if len(layer.shapes) > 2 or layer.axis(settings.axis) != 0 or settings.bias_term:
        raise layer.uncomputable("scales one blob by another, expected two blobs, axis: 0 and no bias_term")
    if given != layer.shapes[0] and (given[0] != layer.channels or math.prod(given[1:]) != 1):
        raise layer.uncomputable(f"scales by shape {given}, expected one factor for each of {layer.channels} channels")
    return Product()


def _bias(layer: CaffeLayer) -> Operator:
    if len(layer.shapes) > 1:
        axis = layer.axis(layer.message.bias_param.axis)
        if layer.shapes[1] != layer.shapes[0] or len(layer.shapes) > 2 or axis != 0:
            raise layer.uncomputable(
                f"adds shapes {layer.shapes} along axis {axis}, expected two equal ones and axis: 0"
            )
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
        raise layer.uncomputable(f"has a number for each of {covered} axes, expected num_axes: 1")
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
        raise layer.uncomputable(f"reads shapes {', '.join(map(str, layer.shapes))}, expected equal ones")
    if settings.coeff and (operation != "SUM" or len(settings.coeff) != len(layer.shapes)):
        raise layer.refuse(f"has {len(settings.coeff)} coefficients for {operation} of {len(layer.shapes)} blobs")
    if operation == "SUM":
        return Sum([decimal(number) for number in settings.coeff] or None)
    return Product() if operation == "PROD" else Maximum()


def _concat(layer: CaffeLayer) -> Operator:
    settings = layer.message.concat_param
    layer.expect_channels(settings.concat_dim if settings.HasField("concat_dim") else settings.axis)
    return Concat()


def _slices(layer: CaffeLayer) -> list[Top]:
    settings = layer.message.slice_param
    layer.expect_channels(settings.slice_dim if settings.HasField("slice_dim") else settings.axis)
    count, channels = len(layer.message.top), layer.channels
    inner = list(settings.slice_point) or [channels * i // count for i in range(1, count)]
    edges = [0, *inner, channels]
    rising = all(start < stop for start, stop in zip(edges, edges[1:], strict=False))
    if len(edges) != count + 1 or not rising or (not settings.slice_point and channels % count):
        raise layer.refuse(f"cuts {channels} channels at {inner} into {count} blobs, which cannot be done")
    return [Top([Slice(start, stop)]) for start, stop in zip(edges, edges[1:], strict=False)]


def _split(layer: CaffeLayer) -> list[Top]:
    return [Top([Identity()]) for _ in layer.message.top]


def _flatten(layer: CaffeLayer) -> Rearranged:
    settings = layer.message.flatten_param
    first, last = layer.axis(settings.axis), layer.axis(settings.end_axis)
    shape = (0, *layer.shapes[0])
    if not 1 <= first <= last < len(shape):
        raise layer.refuse(f"flattens axes {settings.axis} to {settings.end_axis} of {len(shape)}")
    return Rearranged(shape=(*shape[1:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def _reshape(layer: CaffeLayer) -> Rearranged:
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
    if math.prod(shape) != math.prod(old[1:]) or not shape:
        # Caffe could also make the batch larger or smaller.
        raise layer.uncomputable(f"makes {tuple(shape)} of {old[1:]}, which has another count")
    return Rearranged(shape=tuple(shape))


TYPES: dict[str, Callable[[CaffeLayer], Any]] = {
    "AbsVal": lambda layer: Pointwise(_Function(torch.abs), "abs"),
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "BNLL": lambda layer: Pointwise(nn.Softplus(), "softplus"),
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Dropout": _dropout,
    "ELU": lambda layer: Pointwise(nn.ELU(decimal(layer.message.elu_param.alpha)), "elu"),
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
} | EXTENSIONS
_SEVERAL_INPUTS = frozenset({"Bias", "Concat", "Eltwise", "Scale"}) | SEVERAL_INPUTS
INDICES = frozenset({"ArgMax", "Threshold"})  # their values are whole numbers
READ_MASKS = frozenset({"Unpooling", "Upsample"})
