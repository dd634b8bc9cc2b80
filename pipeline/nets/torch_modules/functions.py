"""Translation of torch's functions and methods into operators.

A maker takes the shape of the result and then the parameters of the torch function that it translates. It returns the
operator with the operands that it reads, or None if no operator computes exactly what the function does. The caller
then keeps the function itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import DefinitionError
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
)  # fmt: skip
from pipeline.nets.rearranging import Resize, UnevenMaxPool
from pipeline.nets.sliding import AveragePool, ChannelNorm, Convolution, Deconvolution, MaxPool

Shape = tuple[int, ...]  # of the value of one image, without the batch


@dataclass(frozen=True)
class Operand:
    """A value of the traced graph that depends on the image."""

    name: str
    shape: Shape


Made = tuple[Operator, tuple[Operand, ...]] | None  # an operator and what it reads; None if no operator is exact


class Varying:
    """Stands for a number that depends on the batch size."""


def from_function(name: str, positional: Sequence[object], keywords: dict[str, object], result: Shape) -> Made:
    """The operator of a function or method that is called, with the operands that it reads, or None.

    name : of the function, without the trailing "_" of in-place forms.
    positional, keywords : its arguments: operands as `Operand`, constants as Tensor, numbers that depend on the batch
        size as `Varying`.
    result : shape of the result.
    """
    name = _SAME.get(name, name)
    if name in RESHAPES:
        operand = positional[0] if positional else keywords.get("input")
        return reshape(operand, result) if isinstance(operand, Operand) else None
    make = _FUNCTIONS.get(name)
    if make is None or any(isinstance(value, Varying) for value in (*positional, *keywords.values())):
        return None
    try:
        bound = inspect.signature(make).bind(result, *positional, **keywords)
    except TypeError:  # a signature that the maker does not have
        return None
    return make(*bound.args, **bound.kwargs)


RESHAPES = frozenset({"flatten", "reshape", "view", "view_as", "reshape_as", "squeeze", "unsqueeze", "unflatten"})
_SAME = {
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "itruediv": "truediv",
    "div": "truediv",
    "divide": "truediv",
    "multiply": "mul",
    "subtract": "sub",
    "concat": "cat",
    "concatenate": "cat",
    "alpha_dropout": "dropout",
    "feature_dropout": "dropout",
    "feature_alpha_dropout": "dropout",
    "dropout1d": "dropout",
    "dropout2d": "dropout",
    "dropout3d": "dropout",
    "detach": "clone",
    "contiguous": "clone",
    "identity": "clone",
    "negative": "neg",
    "max": "maximum",
    "clip": "clamp",
    "rdiv": "rtruediv",
    "log_sigmoid": "logsigmoid",
    "radd": "add",
    "rmul": "mul",
}


# Convolutions, matrices and pooling ----------------------------------------------------------------------


def conv2d(result, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Made:
    if not isinstance(input, Operand) or not constants(weight, bias):
        return None
    if isinstance(padding, str):
        spans = [step * (size - 1) for step, size in zip(pair(dilation), weight.shape[2:], strict=True)]
        if padding == "same" and any(span % 2 for span in spans):  # unequal padding on the two sides
            return None
        padding = [span // 2 if padding == "same" else 0 for span in spans]
    made = Convolution(weight, bias, pair(stride), pair(padding), pair(dilation), groups)
    return made, (input,)


def conv_transpose2d(
    result, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Made:
    if not isinstance(input, Operand) or not constants(weight, bias):
        return None
    pairs = (pair(stride), pair(padding), pair(dilation))
    return Deconvolution(weight, bias, *pairs, groups, pair(output_padding)), (input,)


def linear(result, input, weight, bias=None) -> Made:
    if not isinstance(input, Operand) or not constants(weight, bias) or len(input.shape) != 1:
        return None
    return InnerProduct(weight, bias), (input,)


def max_pool2d(
    result, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> Made:
    if len(input.shape) != 3 or return_indices:
        return None
    kernel, rounding = pair(kernel_size), "torch" if ceil_mode else "floor"
    return MaxPool(kernel, _stride(stride, kernel), pair(padding), rounding, pair(dilation)), (input,)


def avg_pool2d(
    result, input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
) -> Made:
    if len(input.shape) != 3 or divisor_override is not None:
        return None
    kernel, rounding = pair(kernel_size), "torch" if ceil_mode else "floor"
    made = AveragePool(kernel, _stride(stride, kernel), pair(padding), rounding, bool(count_include_pad))
    return made, (input,)


def adaptive(mode: str, operand: Operand, result: Shape) -> Made:
    if len(operand.shape) != 3:
        return None
    sizes, wanted = operand.shape[1:], result[1:]
    if wanted == (1, 1):
        return GlobalPool(mode), (operand,)
    if any(size % count for size, count in zip(sizes, wanted, strict=True)):  # windows of unequal sizes
        if mode == "max":
            return UnevenMaxPool((wanted[0], wanted[1])), (operand,)
        return _resampled(operand, lambda x: functional.adaptive_avg_pool2d(x, wanted), "pool"), (operand,)
    kernel = (sizes[0] // wanted[0], sizes[1] // wanted[1])
    if kernel == (1, 1):
        return Identity(), (operand,)
    kind = AveragePool if mode == "mean" else MaxPool
    return kind(kernel, kernel, (0, 0), "floor"), (operand,)


def adaptive_avg_pool2d(result, input, output_size) -> Made:
    return adaptive("mean", input, result)


def adaptive_max_pool2d(result, input, output_size, return_indices=False) -> Made:
    return None if return_indices else adaptive("max", input, result)


def interpolate(result, input, *given, **named) -> Made:
    if len(input.shape) != 3:
        return None
    return _resampled(input, lambda x: functional.interpolate(x, *given, **named), "function"), (input,)


def _resampled(operand: Operand, function: Callable[[Tensor], Tensor], kind: str) -> Resize:
    """A linear function of rows and of columns as two matrices: its values for maps of a single row or column."""
    matrices = []
    for axis, size in enumerate(operand.shape[1:]):
        single = torch.eye(size, dtype=torch.float64)[:, None]
        shape = (size, 1, *operand.shape[1:])
        maps = single[..., None].expand(shape) if axis == 0 else single[:, :, None].expand(shape)
        values = function(maps.contiguous())[:, 0]
        matrices.append((values[:, :, 0] if axis == 0 else values[:, 0]).T.float().contiguous())
    return Resize(*matrices, kind=kind)


def _over_positions(mode: str, operand: Operand, dim: object, keepdim: bool) -> Made:
    axes = {axis % 4 for axis in dim} if isinstance(dim, (list, tuple)) else set()
    if len(operand.shape) != 3 or axes != {2, 3}:
        return None
    return GlobalPool(mode, flat=not keepdim), (operand,)


def mean(result, input, dim=None, keepdim=False) -> Made:
    return _over_positions("mean", input, dim, keepdim)


def amax(result, input, dim=(), keepdim=False) -> Made:
    return _over_positions("max", input, dim, keepdim)


def _stride(stride: object, kernel: tuple[int, int]) -> tuple[int, int]:
    return kernel if stride is None or stride == [] else pair(stride)


# Sums, products and concatenations -----------------------------------------------------------------------


def cat(result, tensors, dim=0) -> Made:
    if not all(isinstance(tensor, Operand) for tensor in tensors) or dim % (len(result) + 1) != 1:
        return None
    return Concat(), tuple(tensors)


def add(result, input, other, *, alpha=1) -> Made:
    return _weighted(result, input, other, 1, alpha)


def sub(result, input, other, *, alpha=1) -> Made:
    return _weighted(result, input, other, 1, -alpha)


def rsub(result, input, other, *, alpha=1) -> Made:
    return _weighted(result, input, other, -alpha, 1)


def _weighted(result: Shape, first: object, second: object, *weights: float) -> Made:
    """The operator weights[0] · first + weights[1] · second."""
    if isinstance(first, Operand) and isinstance(second, Operand):
        operands = _widest_first(result, (first, second))
        if operands is None:
            return None
        weights = weights if operands[0] is first else weights[::-1]
        return Sum(None if weights == (1, 1) else weights), operands
    operand, constant = (first, second) if isinstance(first, Operand) else (second, first)
    scale, factor = weights if operand is first else weights[::-1]
    number = number_of(constant)
    if number is not None:
        return Power(1, scale, factor * number), (operand,)
    channels = _per_channel(constant, operand, result)
    if channels is None:
        return None
    return Affine(torch.full_like(channels, scale), factor * channels), (operand,)


def mul(result, input, other) -> Made:
    if isinstance(input, Operand) and isinstance(other, Operand):
        operands = _widest_first(result, (input, other))
        return None if operands is None else (Product(), operands)
    operand, constant = (input, other) if isinstance(input, Operand) else (other, input)
    number = number_of(constant)
    if number is not None:
        return Power(1, number, 0), (operand,)
    channels = _per_channel(constant, operand, result)
    return None if channels is None else (Affine(channels), (operand,))


def truediv(result, input, other, *, rounding_mode=None) -> Made:
    if not isinstance(input, Operand) or isinstance(other, Operand) or rounding_mode is not None:
        return None
    return mul(result, input, 1 / other)


def neg(result, input) -> Made:
    return Power(1, -1, 0), (input,)


def power(result, input, exponent) -> Made:
    number = number_of(exponent)
    return None if number is None or not isinstance(input, Operand) else (Power(number, 1, 0), (input,))


def maximum(result, input, other) -> Made:
    if not isinstance(input, Operand) or not isinstance(other, Operand):
        return None
    operands = _widest_first(result, (input, other))
    return None if operands is None else (Maximum(), operands)


def _per_channel(constant: object, operand: Operand, result: Shape) -> Tensor | None:
    """A constant with one number a channel, as (channel,); None for another constant or if it changes the shape."""
    if not isinstance(constant, Tensor) or operand.shape != result:
        return None
    shape = (result[0],) + (1,) * (len(result) - 1)
    if tuple(constant.shape) not in (shape, (1, *shape)):
        return None
    return constant.detach().float().reshape(-1)


def _widest_first(result: Shape, operands: tuple[Operand, Operand]) -> tuple[Operand, Operand] | None:
    """The two operands, one with the shape of the result first.

    None unless the other has this shape too, or holds one value a channel or one value a position.
    """
    first, second = operands if operands[0].shape == result else operands[::-1]
    if first.shape != result:
        return None
    one_position = len(result) == 3 and len(second.shape) == 3 and second.shape[1:] == (1, 1)
    one_channel = len(result) == 3 and second.shape == (1, *result[1:])
    return (first, second) if second.shape == result or one_position or one_channel else None


# Functions of one value ----------------------------------------------------------------------------------


def batch_norm(
    result, input, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Made:
    if training or running_mean is None or running_var is None:
        raise DefinitionError(
            "batch normalisation without running statistics mixes the images of a batch; "
            "train it with track_running_stats=True"
        )
    if not isinstance(input, Operand) or not constants(running_mean, running_var, weight, bias):
        return None
    scale = (running_var.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.double()
    shift = -running_mean.double() * scale
    if bias is not None:
        shift = shift + bias.double()
    return Affine(scale.float(), shift.float()), (input,)


def local_response_norm(result, input, size, alpha=1e-4, beta=0.75, k=1.0) -> Made:
    if size % 2 == 0:  # torch and Caffe place an even window on different sides
        return None
    return ChannelNorm(size, alpha, beta, k), (input,)


def softmax(result, input, dim=None, _stacklevel=3, dtype=None) -> Made:
    rank = len(input.shape) + 1
    if dim is None:
        dim = 1 if rank in (2, 4) else 0
    return (Softmax(), (input,)) if rank in (2, 4) and dim % rank == 1 and dtype is None else None


def _log_softmax(result, input, dim=None, _stacklevel=3, dtype=None) -> Made:
    if softmax(result, input, dim, _stacklevel, dtype) is None:
        return None
    return Pointwise(nn.LogSoftmax(dim=1), "logsoftmax"), (input,)


def _relu(result, input, inplace=False) -> Made:  # in place or not, because the graph keeps every value
    return Relu(), (input,)


def _leaky_relu(result, input, negative_slope=0.01, inplace=False) -> Made:
    return Relu(negative_slope), (input,)


def _prelu(result, input, weight) -> Made:
    return (PRelu(weight), (input,)) if isinstance(weight, Tensor) else None


def _clone(result, input, *, memory_format=None) -> Made:
    return Identity(), (input,)


def _dropout(result, input, p=0.5, training=True, inplace=False) -> Made:
    if training:
        raise DefinitionError("dropout that is active in evaluation mode is random; pass training=self.training to it")
    return Identity(), (input,)


def _getitem(result, input, index) -> Made:
    """The slice of channels a … b−1 at all positions."""
    index = index if isinstance(index, tuple) else (index,)
    whole = slice(None)
    if len(index) < 2 or index[0] != whole or any(part is not ... and part != whole for part in index[2:]):
        return None
    channels = index[1]
    if not isinstance(channels, slice) or channels.step not in (None, 1) or not isinstance(input, Operand):
        return None
    if not all(isinstance(end, (int, type(None))) for end in (channels.start, channels.stop)):
        return None
    start, stop, _ = channels.indices(input.shape[0])
    return Slice(start, stop), (input,)


def _narrow(result, input, dim, start, length) -> Made:
    return (Slice(start, start + length), (input,)) if dim == 1 and isinstance(start, int) and start >= 0 else None


def _pointwise(kind: type[nn.Module], *names: str) -> Callable[..., Made]:
    """The maker of an activation function whose module takes the same parameters, in the order of `names`."""

    def make(result, input, *settings: object, **more: object) -> Made:
        given = dict(zip((*names, "inplace"), settings, strict=False)) | more
        given.pop("inplace", None)
        return Pointwise(kind(**given), kind.__name__.lower()), (input,)

    return make


def _hardtanh(result, input, min_val=-1.0, max_val=1.0, inplace=False) -> Made:
    if (min_val, max_val) == (0.0, 6.0):  # torch's ReLU6 calls it
        return Pointwise(nn.ReLU6(), "relu6"), (input,)
    return Pointwise(nn.Hardtanh(min_val, max_val), "hardtanh"), (input,)


def _clamp(result, input, min=None, max=None) -> Made:
    """A clamp at zero as the ReLU that it is, and one at two numbers as hardtanh."""
    low, high = number_of(min), number_of(max)
    if not isinstance(input, Operand) or low is None:
        return None
    if max is None:
        return (Relu(), (input,)) if low == 0 else None
    return None if high is None or high <= low else _hardtanh(result, input, low, high)


def reshape(operand: Operand, result: Shape) -> Made:
    return (Identity() if operand.shape == result else Reshape(result)), (operand,)


# Arguments -----------------------------------------------------------------------------------------------


def free(weight: Tensor | None) -> Tensor | None:
    return None if weight is None else weight.detach()


def constants(*values: object) -> bool:
    return all(value is None or isinstance(value, Tensor) for value in values)


def pair(value: object) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def number_of(value: object) -> float | None:
    """A plain number, also as a tensor of one element; None for anything else."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 and value.dtype != torch.bool else None
    return value if isinstance(value, (int, float)) else None


_FUNCTIONS: dict[str, Callable[..., Made]] = {
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "linear": linear,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "mean": mean,
    "amax": amax,
    "interpolate": interpolate,
    "upsample": interpolate,
    "batch_norm": batch_norm,
    "local_response_norm": local_response_norm,
    "softmax": softmax,
    "log_softmax": _log_softmax,
    "cat": cat,
    "add": add,
    "sub": sub,
    "rsub": rsub,
    "mul": mul,
    "truediv": truediv,
    "neg": neg,
    "pow": power,
    "maximum": maximum,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "clone": _clone,
    "dropout": _dropout,
    "getitem": _getitem,
    "narrow": _narrow,
    "relu6": _pointwise(nn.ReLU6),
    "sigmoid": _pointwise(nn.Sigmoid),
    "tanh": _pointwise(nn.Tanh),
    "gelu": _pointwise(nn.GELU),
    "silu": _pointwise(nn.SiLU),
    "mish": _pointwise(nn.Mish),
    "hardswish": _pointwise(nn.Hardswish),
    "hardsigmoid": _pointwise(nn.Hardsigmoid),
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "elu": _pointwise(nn.ELU, "alpha"),
    "selu": _pointwise(nn.SELU),
    "celu": _pointwise(nn.CELU, "alpha"),
    "softplus": _pointwise(nn.Softplus, "beta", "threshold"),
    "softsign": _pointwise(nn.Softsign),
    "logsigmoid": _pointwise(nn.LogSigmoid),
}

# Functions of each entry by itself, of one tensor or of several of one shape.
ELEMENTWISE = frozenset(
    {
        "add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "truediv", "true_divide", "rdiv", "neg",
        "negative", "pow", "rpow", "float_power", "maximum", "minimum", "fmax", "fmin", "max", "min", "relu", "relu6",
        "leaky_relu", "rrelu", "sigmoid", "tanh", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh",
        "elu", "selu", "celu", "softplus", "softsign", "logsigmoid", "log_sigmoid", "hardshrink", "softshrink",
        "tanhshrink",
        "threshold", "dropout", "alpha_dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d", "clone",
        "identity", "contiguous", "clamp", "clip", "clamp_min", "clamp_max", "where", "masked_fill", "abs",
        "absolute", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square", "reciprocal",
        "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "asinh", "acosh", "atanh", "erf",
        "erfc", "erfinv", "sign", "sgn", "floor", "ceil", "round", "trunc", "frac", "remainder", "fmod", "lerp",
        "addcmul", "addcdiv", "gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "logical_and", "logical_or",
        "logical_not", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "and", "or", "invert", "nan_to_num",
        "sinc", "logit", "lgamma", "digamma", "heaviside", "hypot", "float", "double", "half", "to", "type",
        "type_as", "isnan", "isinf", "isfinite", "logaddexp", "xlogy", "special_expit", "expit", "floor_divide", "copy",
    }
)  # fmt: skip

# Functions that only move values to other places, or repeat them.
MOVING = frozenset(
    {
        "pad", "getitem", "narrow", "roll", "flip", "fliplr", "flipud", "expand", "expand_as", "broadcast_to",
        "repeat", "tile", "repeat_interleave", "index_select", "select", "chunk", "split", "split_with_sizes",
        "tensor_split", "unbind", "take_along_dim", "constant_pad_nd", "clone", "contiguous", "pixel_unshuffle",
        "channel_shuffle", "native_channel_shuffle", "rot90", "take",
    }
)  # fmt: skip
