"""Makers of the operators that weigh and slide: convolutions, matrices and pooling, from torch's own arguments."""

from __future__ import annotations

from pipeline.nets.operators import GlobalPool, Identity, InnerProduct
from pipeline.nets.sliding import AveragePool, Convolution, Deconvolution, MaxPool
from pipeline.nets.torch_modules.arguments import Made, Operand, Shape, constants, pair


def conv2d(result, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Made:
    if not isinstance(input, Operand) or not constants(weight, bias):
        return None
    if isinstance(padding, str):
        spans = [step * (size - 1) for step, size in zip(pair(dilation), weight.shape[2:], strict=True)]
        if padding == "same" and any(span % 2 for span in spans):  # one side gets more than the other
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
    if any(size % count for size, count in zip(sizes, wanted, strict=True)):
        return None  # windows of unequal sizes
    kernel = (sizes[0] // wanted[0], sizes[1] // wanted[1])
    if kernel == (1, 1):
        return Identity(), (operand,)
    kind = AveragePool if mode == "mean" else MaxPool
    return kind(kernel, kernel, (0, 0), "floor"), (operand,)


def adaptive_avg_pool2d(result, input, output_size) -> Made:
    return adaptive("mean", input, result)


def adaptive_max_pool2d(result, input, output_size, return_indices=False) -> Made:
    return None if return_indices else adaptive("max", input, result)


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
