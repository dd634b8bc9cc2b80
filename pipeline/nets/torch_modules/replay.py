"""Recorded calls as a function that can be called again, on any device, in any precision and in another process."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import resolve_name

from pipeline.errors import DefinitionError
from pipeline.nets.torch_modules.recording import Path, part_at, replaced


@dataclass(frozen=True)
class Slot:
    """Stands for a value that the function reads or computes."""

    number: int


@dataclass(frozen=True)
class Constant:
    """Stands for a tensor that does not depend on the image."""

    number: int


@dataclass(frozen=True)
class Batch:
    """Stands for a number that grows with the batch: slope · images + offset."""

    slope: int
    offset: int


@dataclass(frozen=True)
class Device:
    """Stands for the device on which the function runs."""


@dataclass(frozen=True)
class Precision:
    """Stands for the precision in which the function runs, whatever floating type the module asked for."""


@dataclass(frozen=True)
class Step:
    """A call of the function.

    function : reference, see `reference`.
    overwritten : slots that the call changes in place; copies are changed instead.
    results : (where the value lies in the result, its slot).
    """

    function: tuple[str, object]
    args: tuple
    kwargs: dict[str, object]
    overwritten: tuple[int, ...]
    results: tuple[tuple[Path, int], ...]

    def __str__(self) -> str:
        made = ", ".join(f"%{slot}{list(path) if path else ''}" for path, slot in self.results)
        what = self.function[1]
        name = what if isinstance(what, str) else getattr(what, "__qualname__", type(what).__name__)
        return f"{made} = {name}{_text(self.args)}{_text(self.kwargs) if self.kwargs else ''}"


class Replay(nn.Module):
    """Runs recorded steps.

    steps : in their order.
    result : slot that is returned; the operands are the slots 0, 1, ….
    counted : (operand, axis, rows an image) from which the number of images is read.
    constants : by number.
    """

    def __init__(
        self, steps: Sequence[Step], result: int, counted: tuple[int, int, int], constants: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.steps, self.result, self.counted, self.count = tuple(steps), result, counted, len(constants)
        for number, constant in enumerate(constants):
            self.register_buffer(f"constant_{number}", constant.detach().clone())
        self.register_buffer("_precision", torch.zeros(()), persistent=False)  # tells precision and device
        for number, step in enumerate(steps):  # so that a module's weights are part of the state
            if isinstance(step.function[1], nn.Module):
                self.add_module(f"module_{number}", step.function[1])
        self._functions: list[Callable] | None = None

    def forward(self, *operands: Tensor) -> Tensor:
        operand, axis, rows = self.counted
        images = operands[operand].shape[axis] // rows
        slots: dict[int, Tensor] = dict(enumerate(operands))
        constants = [getattr(self, f"constant_{number}") for number in range(self.count)]

        def given(value: object) -> object:
            match value:
                case Slot(number):
                    return slots[number]
                case Constant(number):
                    return constants[number]
                case Batch(slope, offset):
                    return slope * images + offset
                case Device():
                    return self._precision.device
                case Precision():
                    return self._precision.dtype
            return value

        if self._functions is None:
            self._functions = [self._resolved(number) for number in range(len(self.steps))]
        for step, function in zip(self.steps, self._functions, strict=True):
            for slot in step.overwritten:
                slots[slot] = slots[slot].clone()
            result = function(*replaced(step.args, given), **replaced(step.kwargs, given))
            for path, slot in step.results:
                if path[:1] == ("overwritten",):
                    slots[slot] = slots[step.overwritten[path[1]]]
                else:
                    slots[slot] = part_at(result, path)
        return slots[self.result]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_functions": None}

    def __deepcopy__(self, memo: dict) -> Replay:
        other = pickle.loads(pickle.dumps(self))
        memo[id(self)] = other
        return other

    def description(self) -> str:
        """A text of the steps that is the same in every process; it enters the digest."""
        return "; ".join(map(str, self.steps))

    def _resolved(self, number: int) -> Callable:
        kind, what = self.steps[number].function
        if kind == "module":
            return getattr(self, f"module_{number}")
        return resolved((kind, what))


def reference(function: Callable, where: str) -> tuple[str, object]:
    """How a function is found again in another process: ("torch", dotted name), ("property", name), ("module", …).

    where : the layer, for messages.
    Raises DefinitionError if another process could not find it.
    """
    if isinstance(function, nn.Module):
        return "module", _pickled(function, where)
    try:
        name = resolve_name(function) or ""
    except Exception:  # of a function that torch does not know
        name = ""
    if name.endswith(".__get__"):
        return "property", name.removesuffix(".__get__").rpartition(".")[2]
    if isinstance(function, torch._ops.OpOverload):
        return "operator", str(function)
    try:
        if name and resolved(("torch", name)) is function:
            return "torch", name
    except (ImportError, AttributeError):
        pass
    return "other", _pickled(function, where)


def resolved(found: tuple[str, object]) -> Callable:
    """The function that a reference stands for."""
    kind, name = found
    if kind == "property":
        return lambda tensor: getattr(tensor, name)
    if kind == "operator":
        library, _, rest = name.partition(".")
        return _attribute(getattr(torch.ops, library), rest)
    if kind == "torch":
        parts = name.split(".")
        if parts[0] != "torch":
            raise ImportError(name)
        value: object = torch
        for at, part in enumerate(parts[1:], start=1):
            if not hasattr(value, part):
                importlib.import_module(".".join(parts[: at + 1]))
            value = getattr(value, part)
        return value
    return name


def _attribute(value: object, path: str) -> object:
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _pickled(function: Callable, where: str) -> Callable:
    try:
        pickle.dumps(function)
    except Exception as error:  # raised by the object's own code
        kind = getattr(function, "original_name", None) or type(function).__name__
        raise DefinitionError(
            f"{where or 'the module'}: {kind} cannot be sent to other processes ({str(error).splitlines()[0]}); "
            "give the Python module that it was made from"
        ) from None
    return function


def _text(value: object) -> str:
    return repr(replaced(value, _short))


class _Bare(str):
    __repr__ = str.__str__


def _short(value: object) -> object:
    match value:
        case Slot(number):
            return _Bare(f"%{number}")
        case Constant(number):
            return _Bare(f"constant {number}")
        case nn.Module():
            return _Bare(type(value).__name__)
    return value
