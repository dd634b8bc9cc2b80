"""The table that turns torch's functions and methods into operators.

A maker repeats the parameters of the torch function that it stands for, after the shape of the result, and
returns the operator with the operands that it reads, or None where no operator says exactly what the function
does: then the caller keeps the function itself, as an Opaque operator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from pipeline.errors import DefinitionError
from pipeline.nets.operators import Affine, Identity, Pointwise, PRelu, Relu, Reshape, Slice, Softmax
from pipeline.nets.sliding import ChannelNorm
from pipeline.nets.torch_modules.arguments import Made, Operand, Shape, Varying, constants
from pipeline.nets.torch_modules.arithmetic import add, cat, maximum, mul, neg, power, rsub, sub, truediv
from pipeline.nets.torch_modules.windows import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    amax,
    avg_pool2d,
    conv2d,
    conv_transpose2d,
    linear,
    max_pool2d,
    mean,
)


def from_function(name: str, positional: Sequence[object], keywords: dict[str, object], result: Shape) -> Made:
    """The operator of a called function or method, or None.

    Operands stand in the arguments as `Operand`, constants as Tensor, numbers that depend on the batch as Varying.
    """
    name = _SAME.get(name, name)
    if name in _RESHAPES:
        operand = positional[0] if positional else keywords.get("input")
        return reshape(operand, result) if isinstance(operand, Operand) else None
    make = _FUNCTIONS.get(name)
    if make is None or any(isinstance(value, Varying) for value in (*positional, *keywords.values())):
        return None
    try:
        bound = inspect.signature(make).bind(result, *positional, **keywords)
    except TypeError:  # called in a way that the table does not know
        return None
    return make(*bound.args, **bound.kwargs)


def is_reshape(name: str) -> bool:
    """Whether a function keeps the values and their order and changes the shape alone."""
    return _SAME.get(name, name) in _RESHAPES


_RESHAPES = frozenset({"flatten", "reshape", "view", "view_as", "reshape_as", "squeeze", "unsqueeze", "unflatten"})
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
    "negative": "neg",
    "max": "maximum",
}


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
    if size % 2 == 0:  # torch and Caffe lay an even neighbourhood to different sides
        return None
    return ChannelNorm(size, alpha, beta, k), (input,)


def softmax(result, input, dim=None, _stacklevel=3, dtype=None) -> Made:
    rank = len(input.shape) + 1
    if dim is None:
        dim = 1 if rank in (2, 4) else 0
    return (Softmax(), (input,)) if rank in (2, 4) and dim % rank == 1 and dtype is None else None


def _relu(result, input, inplace=False) -> Made:  # in place or not: the graph keeps every value
    return Relu(), (input,)


def _leaky_relu(result, input, negative_slope=0.01, inplace=False) -> Made:
    return Relu(negative_slope), (input,)


def _prelu(result, input, weight) -> Made:
    return (PRelu(weight), (input,)) if isinstance(weight, Tensor) else None


def _clone(result, input, *, memory_format=None) -> Made:
    return Identity(), (input,)


def _dropout(result, input, p=0.5, training=True, inplace=False) -> Made:
    if training:
        raise DefinitionError("dropout that is on at rest too draws at random; pass training=self.training to it")
    return Identity(), (input,)


def _getitem(result, input, index) -> Made:
    """Channels a … b-1 of all positions."""
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
    """The maker of an activation function whose module takes the same settings, in this order."""

    def make(result, input, *settings: object, **more: object) -> Made:
        given = dict(zip((*names, "inplace"), settings, strict=False)) | more
        given.pop("inplace", None)
        return Pointwise(kind(**given), kind.__name__.lower()), (input,)

    return make


def reshape(operand: Operand, result: Shape) -> Made:
    return (Identity() if operand.shape == result else Reshape(result)), (operand,)


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
    "batch_norm": batch_norm,
    "local_response_norm": local_response_norm,
    "softmax": softmax,
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
    "hardtanh": _pointwise(nn.Hardtanh, "min_val", "max_val"),
    "elu": _pointwise(nn.ELU, "alpha"),
    "selu": _pointwise(nn.SELU),
    "celu": _pointwise(nn.CELU, "alpha"),
    "softplus": _pointwise(nn.Softplus, "beta", "threshold"),
    "softsign": _pointwise(nn.Softsign),
    "logsigmoid": _pointwise(nn.LogSigmoid),
}
