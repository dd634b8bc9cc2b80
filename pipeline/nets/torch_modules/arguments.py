"""What a traced call is made of, and what its arguments mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.nets.operators import Operator

Shape = tuple[int, ...]  # of one image's value, without the batch


@dataclass(frozen=True)
class Operand:
    """A value of the traced graph that depends on the image."""

    name: str
    shape: Shape


Made = tuple[Operator, tuple[Operand, ...]] | None  # an operator and what it reads; None where none says it exactly


class Varying:
    """Stands for a number that depends on the size of the batch."""


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
