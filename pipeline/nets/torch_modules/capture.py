"""Two recordings of a module with different images, side by side: what varies with the images, and what is fixed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import DefinitionError
from pipeline.nets.opaque import Order
from pipeline.nets.torch_modules.recording import Call, Recording, Ref, Value, first_line, record, replaced, tensors
from pipeline.nets.torch_modules.replay import Batch, Constant, Device, Precision, Replay, Slot, Step, reference

_DRAWS = frozenset(
    {
        "rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "multinomial",
        "normal", "uniform", "poisson", "exponential", "geometric", "cauchy", "log_normal", "random", "rrelu",
    }
)  # fmt: skip

_CASTS = frozenset({"float", "double", "half", "bfloat16"})
_MADE = frozenset({"zeros", "ones", "empty", "full", "eye", "arange", "linspace", "logspace", "tensor"})


@dataclass(frozen=True)
class Rows:
    """Where the images lie in a tensor: on which axis, and in how many rows each."""

    axis: int
    each: int


class Capture:
    """What a module computes, recorded twice: with 2 and with 3 images, or where it takes one only, with one at a time.

    first, second : the recordings, whose calls correspond one to one.
    fixed : whether the module takes one image at a time.
    """

    def __init__(self, name: str, module: nn.Module, images: Tensor) -> None:
        """Record the module. images : (image, channel, row, column), five or more.

        Raises DefinitionError if it cannot process the images, or does other things for other images.
        """
        self.name, self.leaves = name, frozenset()
        while True:
            self.first, self.second, self.fixed = self._recorded(module, images)
            unseen = self._unseen()
            if unseen is None:
                break
            self.leaves |= {unseen}
        for call in self.first.calls:
            if call.name in _DRAWS and any(self.first.values[at].depends for at in call.reads):
                raise DefinitionError(f"network {name}: {call.layer}: its forward may draw at random")

    def _recorded(self, module: nn.Module, images: Tensor) -> tuple[Recording, Recording, bool]:
        try:
            # The second recording has image 0 at place 1.
            first = record(self.name, module, images[:2], self.leaves)
            second = record(self.name, module, images[[2, 0, 3]], self.leaves)
            self._compare(first, second)
            if not _has_rows(first, second):
                raise DefinitionError(
                    f"network {self.name}: its result does not have one row for each image; keep the batch first"
                )
            return first, second, False
        except DefinitionError as error:
            try:
                first = record(self.name, module, images[:1], self.leaves)
                second = record(self.name, module, images[2:3], self.leaves)
                self._compare(first, second)
                return first, second, True
            except DefinitionError:
                raise error from None

    def _compare(self, first: Recording, second: Recording) -> None:
        """Raise DefinitionError unless the recordings are of the same calls."""
        for one, other in zip(first.calls, second.calls, strict=False):
            if one.name != other.name or one.reads != other.reads or one.results != other.results:
                raise DefinitionError(
                    f"network {self.name}: {one.layer}: its forward does other things for other images or batches; "
                    "keep decisions on values out of it"
                )
        if len(first.calls) != len(second.calls) or first.result != second.result:
            raise DefinitionError(
                f"network {self.name}: its forward does other things for other images or batches; "
                "keep decisions on values out of it"
            )

    def _unseen(self) -> str | None:
        """The path of a module that holds calls which were not seen, such as those of compiled code."""
        for call in self._live_calls():
            for at in call.reads:
                one, other = self.first.values[at], self.second.values[at]
                if one.call is not None or at == self.first.image or one.tensor is other.tensor:
                    continue
                if one.shape == other.shape and _equal(one.tensor, other.tensor):
                    continue
                path = _hiding(one) or call.scope
                if not path or path in self.leaves:
                    raise DefinitionError(
                        f"network {self.name}: {call.layer} reads a value that no torch function made; "
                        "put the code that makes it into a module of its own"
                    )
                return path
        for at in self.first.result.values():
            value = self.first.values[at]
            if value.call is None and at != self.first.image:
                path = _hiding(value)
                if path and path not in self.leaves:
                    return path
                raise DefinitionError(
                    f"network {self.name}: no torch function was seen that makes its result; a scripted or compiled "
                    "module hides them: give the Python module that it was made from"
                )
        return None

    def _live_calls(self) -> list[Call]:
        """The calls that the result needs, in their order; a counter of the module is none."""
        seen, waiting, calls = set(), list(self.first.result.values()), {}
        while waiting:
            number = self.first.values[waiting.pop()].call
            if number is not None and number not in seen:
                seen.add(number)
                calls[number] = self.first.calls[number]
                waiting.extend(calls[number].reads)
        return [calls[number] for number in sorted(calls)]

    # Values -------------------------------------------------------------------------------------------

    def call_of(self, value: int) -> Call:
        number = self.first.values[value].call
        assert number is not None
        return self.first.calls[number]

    def depends(self, value: int) -> bool:
        """Whether the image enters the value."""
        return self.first.values[value].depends

    def tensor(self, value: int) -> Tensor:
        return self.first.values[value].tensor

    def rows(self, value: int) -> Rows | None:
        """Where the images lie in a value; None if no axis, or more than one, grows with their number."""
        a, b = self.first.values[value].shape, self.second.values[value].shape
        if self.fixed:
            return Rows(0, a[0]) if a else None
        differing = [axis for axis, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        if len(differing) != 1 or a[differing[0]] % 2 or b[differing[0]] * 2 != a[differing[0]] * 3:
            return None
        return Rows(differing[0], a[differing[0]] // 2)

    def batch_major(self, value: int) -> bool:
        """Whether the rows of one image follow each other on the first axis."""
        one, other, rows = self.first.values[value], self.second.values[value], self.rows(value)
        if self.fixed or rows is None or rows.each == 1 or not (one.intact and other.intact):
            return True
        a, b = one.tensor[: rows.each].float(), other.tensor[rows.each : 2 * rows.each].float()
        return bool(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max() + 1e-12), equal_nan=True))

    def copies(self, value: int) -> bool:
        """Whether the first axis holds all images, several times over."""
        one, other, rows = self.first.values[value], self.second.values[value], self.rows(value)
        if self.fixed or rows is None or rows.axis != 0 or not (one.intact and other.intact):
            return False
        a, b = one.tensor.unflatten(0, (rows.each, 2))[:, 0], other.tensor.unflatten(0, (rows.each, 3))[:, 1]
        return bool(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max() + 1e-12), equal_nan=True))

    def shape(self, value: int) -> tuple[int, ...]:
        return self.first.values[value].shape

    def constant(self, value: int) -> Tensor | None:
        """The tensor of a value that no pixel decides; None if its shape grows with the number of images."""
        one, other = self.first.values[value], self.second.values[value]
        if one.shape != other.shape:
            return None
        if not _equal(one.tensor, other.tensor):
            raise DefinitionError(
                f"network {self.name}: {self._where(value)}: a constant differs between two runs; "
                "its forward may draw at random"
            )
        return one.tensor

    def image_constant(self, value: int) -> Tensor | None:
        """What a value that no pixel decides holds for one image, with an axis of images of length 1.

        None if that differs between images.
        """
        fixed = self.constant(value)
        if fixed is not None:
            return fixed
        rows, tensor = self.rows(value), self.tensor(value)
        if rows is None or rows.each != 1:
            return None
        one = tensor.narrow(rows.axis, 0, 1)
        return one if bool((tensor == one).all()) else None

    def merged(self, call: Call) -> tuple[tuple, dict[str, object]]:
        """The arguments of a call: constants, `Ref` for tensors, `Batch` for numbers that grow with the batch."""
        number = self.call_number(call)
        other = self.second.calls[number]
        return self._merge(call.args, other.args, call), self._merge(call.kwargs, other.kwargs, call)  # type: ignore

    def call_number(self, call: Call) -> int:
        return self.first.values[call.results[0]].call  # type: ignore[return-value]

    def _merge(self, a: object, b: object, call: Call) -> object:
        if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)) and len(a) == len(b):
            parts = [self._merge(x, y, call) for x, y in zip(a, b, strict=True)]
            return tuple(parts) if isinstance(a, tuple) else parts
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            return {key: self._merge(a[key], b[key], call) for key in a}
        if isinstance(a, slice) and isinstance(b, slice):
            return slice(
                *(self._merge(x, y, call) for x, y in ((a.start, b.start), (a.stop, b.stop), (a.step, b.step)))
            )
        if type(a) is type(b) is int and a != b and not self.fixed:
            return Batch(b - a, a - 2 * (b - a))
        if isinstance(a, float) and isinstance(b, float) and a != a and b != b:
            return a
        if type(a) is not type(b) or (isinstance(a, (int, float, str, bool, Ref)) and a != b):
            raise DefinitionError(
                f"network {self.name}: {call.layer} is given a number that depends on the image; "
                "keep values in tensors, without item()"
            )
        return a

    def _where(self, value: int) -> str:
        number = self.first.values[value].call
        return "a weight" if number is None else self.first.calls[number].layer

    # Functions ----------------------------------------------------------------------------------------

    def replay(self, value: int, inputs: Sequence[int]) -> Replay | Itemwise:
        """The function that computes a value from others.

        inputs : values on which it depends; what no pixel decides is computed again or held as a constant.
        """
        slots = {number: at for at, number in enumerate(inputs)}
        steps: list[Step] = []
        constants: list[Tensor] = []
        held: dict[int, Constant] = {}
        done: set[int] = set()

        def visit(number: int) -> None:
            if number in slots or number in held:
                return
            if not self.depends(number):
                fixed = self.constant(number)
                if fixed is not None and (self.first.values[number].intact or self.first.values[number].call is None):
                    held[number] = Constant(len(constants))
                    constants.append(fixed)
                    return
            call = self.call_of(number)
            at = self.call_number(call)
            if at in done:
                return
            for read in call.reads:
                visit(read)
            done.add(at)
            for old in call.overwrites:  # a constant that is written over is copied first
                if old in held and old not in slots:
                    slots[old] = len(slots)
                    clone = Step(("torch", "torch.clone"), (held[old],), {}, (), (((), slots[old]),))
                    steps.append(clone)
            for made in call.results:
                slots[made] = len(slots)
            args, kwargs = self.merged(call)

            def marked(part: object) -> object:
                if isinstance(part, Ref):
                    return Slot(slots[part.value]) if part.value in slots else held[part.value]
                if isinstance(part, torch.device):
                    return Device()
                return Precision() if isinstance(part, torch.dtype) and part.is_floating_point else part

            args, kwargs = replaced(args, marked), replaced(kwargs, marked)
            overwritten = tuple(slots[old] for old in call.overwrites)
            results = tuple((self.first.values[made].path, slots[made]) for made in call.results)
            function = reference(call.function, f"network {self.name}: {call.layer}")
            if call.name in _CASTS and len(args) == 1:
                function, args = ("torch", "torch.Tensor.to"), (*args, Precision())
            if call.name in _MADE and not call.reads:  # where and as the network runs
                floating = self.first.values[call.results[0]].tensor.is_floating_point()
                kwargs = {"device": Device()} | ({"dtype": Precision()} if floating else {}) | kwargs
            steps.append(Step(function, args, kwargs, overwritten, results))

        visit(value)
        counted = next(
            ((place, rows.axis, rows.each) for place, number in enumerate(inputs) if (rows := self.rows(number))),
            (0, 0, 1),
        )
        function = Replay(steps, slots[value], counted, constants)
        return Itemwise(function) if self.fixed else function

    def boundary(self, value: int, known: set[int] | dict[int, object]) -> list[int]:
        """The nearest known values below a value that decide it, in the order of the recording."""
        found, seen, waiting = set(), set(), [value]
        while waiting:
            at = waiting.pop()
            if at in seen or not self.depends(at):
                continue
            seen.add(at)
            if at in known and at != value:
                found.add(at)
            else:
                waiting.extend(self.call_of(at).reads)
        return sorted(found)

    def between(self, value: int, known: set[int] | dict[int, object]) -> list[Call]:
        """The calls that compute a value from the nearest known values below it."""
        seen, waiting, calls = set(), [value], {}
        while waiting:
            at = waiting.pop()
            if at in seen or not self.depends(at) or (at in known and at != value):
                continue
            seen.add(at)
            call = self.call_of(at)
            calls[self.call_number(call)] = call
            waiting.extend(call.reads)
        return [calls[number] for number in sorted(calls)]


class Itemwise(nn.Module):
    """A function that takes one image at a time, for any number of images."""

    def __init__(self, function: Replay) -> None:
        super().__init__()
        self.function = function

    def forward(self, *operands: Tensor) -> Tensor:
        place, axis, rows = self.function.counted
        images = operands[place].shape[axis] // rows
        pieces = [operand.tensor_split(images) for operand in operands]
        return torch.cat([self.function(*(piece[at] for piece in pieces)) for at in range(images)])

    def description(self) -> str:
        return f"for each image: {self.function.description()}"


def _has_rows(first: Recording, second: Recording) -> bool:
    """Whether some result of recordings of 2 and 3 images has a row for each, or none has numbers at all."""
    values = [(first.values[at], second.values[at]) for at in first.result.values()]
    values = [(one, other) for one, other in values if one.depends and one.tensor.is_floating_point()]
    rows = [(one.shape[0], other.shape[0]) for one, other in values if one.shape]
    return not values or any(a % 2 == 0 and b * 2 == a * 3 for a, b in rows)


def _hiding(value: Value) -> str:
    """The path of the module that returned a value, or "" if none did."""
    return value.names[0].split("#")[0].split("[")[0] if value.names else ""


def output_value(name: str, recording: Recording, output: str | None) -> int:
    """The value that is a network's output.

    output : name of one of several results, such as "logits" or "0"; None for the first that depends on the image.
    Raises DefinitionError that lists what there is.
    """
    values = recording.values
    found = {
        ".".join(map(str, path)): at
        for path, at in recording.result.items()
        if values[at].depends and values[at].tensor.is_floating_point()
    }
    if not found:
        raise DefinitionError(
            f"network {name}: its forward returns {recording.kind}, with no numbers that depend on the image; "
            "return a tensor of them, alone or in a tuple, dict or dataclass"
        )
    if output is None or output in found:
        return next(iter(found.values())) if output is None else found[output]
    listed = ", ".join(
        f"{label or 'one tensor'} {'×'.join(map(str, values[at].shape[1:]))}".rstrip() for label, at in found.items()
    )
    raise DefinitionError(f"network {name}: model.output={output}: its forward returns {listed}; choose one of them")


def prepared(name: str, module: nn.Module, images: Tensor) -> nn.Module:
    """A copy of the module for evaluation on the CPU in float32, without wrappers for parallel or compiled running.

    images : from which lazy modules take their sizes.
    """
    module = _unwrapped(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise DefinitionError(
            f"network {name}: a TorchScript module hides what it computes; give the Python module that it was made from"
        )
    # A copy must share no tensor that is no leaf, such as the weight that torch.nn.utils.weight_norm computes.
    memo: dict[int, object] = {}
    for part in module.modules():
        for _, tensor in tensors({key: value for key, value in vars(part).items() if isinstance(value, Tensor)}):
            if not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    try:
        with torch.no_grad():  # a scripted module's copy computes its weights
            copied = copy.deepcopy(module, memo)
    except Exception as error:  # of the module's own code
        raise DefinitionError(
            f"network {name}: {type(module).__name__} cannot be copied ({str(error).splitlines()[0]}); "
            "give a function that builds it"
        ) from None
    for part in list(copied.modules()):
        for child, module in list(part._modules.items()):
            part._modules[child] = None if module is None else _unwrapped(module)
    copied = copied.cpu().float().eval()
    if any(map(nn.parameter.is_lazy, (*copied.parameters(), *copied.buffers()))):
        _initialized(name, copied, images)
    return copied.requires_grad_(False)


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module in wrappers for parallel or compiled running."""
    while True:
        inner = getattr(module, "_orig_mod", None)  # torch.compile
        if inner is None and isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if inner is None:
            return module
        module = inner


def _initialized(name: str, module: nn.Module, images: Tensor) -> None:
    """Let lazy modules take their sizes from images, with the same random weights in every process."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            module(images[:2].clone())
        except Exception as error:  # of the module's own code
            raise DefinitionError(
                f"network {name}: its lazy modules cannot take their sizes from images of "
                f"{'×'.join(map(str, images.shape[1:]))}: {first_line(error)}; check model.size and model.order"
            ) from None


def order_of(axes: str, shape: Sequence[int], rows: Rows) -> Order:
    """The order of a tensor of that shape, batch included."""
    rest = tuple(size for axis, size in enumerate(shape) if axis != rows.axis)
    return Order(axes, rest, rows.each)


def _equal(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | (a != a) & (b != b)).all())
