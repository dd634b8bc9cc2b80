"""Makers of the operators that combine values with each other and with constants."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.nets.operators import Affine, Concat, Maximum, Power, Product, Sum
from pipeline.nets.torch_modules.arguments import Made, Operand, Shape, number_of


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
    """weights[0] · first + weights[1] · second."""
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
    """A constant with one number a channel, as (channel,), when it does not change the operand's shape."""
    if not isinstance(constant, Tensor) or operand.shape != result:
        return None
    shape = (result[0],) + (1,) * (len(result) - 1)
    if tuple(constant.shape) not in (shape, (1, *shape)):
        return None
    return constant.detach().float().reshape(-1)


def _widest_first(result: Shape, operands: tuple[Operand, Operand]) -> tuple[Operand, Operand] | None:
    """The operands, one of the result's shape first; None unless the other has it too or is one value a channel."""
    first, second = operands if operands[0].shape == result else operands[::-1]
    if first.shape != result:
        return None
    one_position = len(result) == 3 and len(second.shape) == 3 and second.shape[1:] == (1, 1)
    one_channel = len(result) == 3 and second.shape == (1, *result[1:])
    return (first, second) if second.shape == result or one_position or one_channel else None
