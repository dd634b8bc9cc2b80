"""A recording of what a torch module computes: every call of a torch function in one run, with the sizes known.

The module runs as it always does; a torch function mode writes down each call. Decisions on sizes, loops, subclasses
and hooks are therefore no obstacle: what the module did for images of this size is what is recorded.
"""

from __future__ import annotations

import dataclasses
import dis
import hashlib
import io
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode, resolve_name

from pipeline.errors import DefinitionError

_TORCH = str(pathlib.Path(torch.__file__).parent)
Path = tuple[object, ...]  # where a tensor lies in nested results: indices, keys and names of fields


@dataclass(frozen=True)
class Ref:
    """Stands for a recorded value in the arguments of a call."""

    value: int


@dataclass(eq=False)
class Value:
    """A tensor at one moment of the run; overwriting it in place makes another value.

    number : of the value; its address in `Recording.values`.
    tensor : the tensor itself, which a later call may have overwritten.
    shape : of the tensor.
    call : number of the call that made it, or None for the image, a weight or a constant.
    path : where it lies in the result of the call; ("overwritten", i) for the i-th tensor that the call overwrote.
    depends : whether the image enters it.
    names : of the modules that returned it, from the innermost outwards.
    """

    number: int
    tensor: Tensor
    shape: tuple[int, ...]
    call: int | None
    path: Path
    depends: bool
    names: list[str] = field(default_factory=list)
    version: int = 0
    overwritten: bool = False  # through an alias that counts its own versions, as x.data does

    @property
    def intact(self) -> bool:
        """Whether the tensor still holds what it held when the value was made."""
        return self.tensor._version == self.version and not self.overwritten


@dataclass(eq=False)
class Call:
    """A call of a torch function, or of a module that is not looked into.

    function : what was called.
    name : of the function in plain form: "add" for torch.add, Tensor.add_, + and +=.
    args, kwargs : its arguments, each tensor replaced by a `Ref`.
    reads : the values that it read, in the order of the arguments.
    overwrites : those of them that it changed in place.
    results : the values that it made.
    scope : path of the module that called it; "" for the outermost.
    layer : name of its result, unless a module returned it: the scope with the function's name.
    """

    function: Callable
    name: str
    args: tuple
    kwargs: dict[str, object]
    reads: tuple[int, ...]
    overwrites: tuple[int, ...]
    results: tuple[int, ...]
    scope: str
    layer: str


@dataclass(eq=False)
class Recording:
    """One run of a module. image : number of the value that is the image. result : path → value of what it returned."""

    calls: list[Call]
    values: list[Value]
    image: int
    result: dict[Path, int]
    kind: str  # of the returned object


def record(name: str, module: nn.Module, image: Tensor, leaves: frozenset[str] = frozenset()) -> Recording:
    """Run the module on images and record it.

    name : of the network, for messages.
    image : (batch, channel, row, column), as the module reads them.
    leaves : paths of modules that are recorded as one call each.
    Raises DefinitionError if the module cannot process the images.
    """
    recorder = _Recorder(module, leaves)
    image = image.clone()
    try:
        with torch.no_grad(), recorder.watching(), recorder:
            source = recorder.add(image, None, (), depends=True)
            result = module(image)
    except DefinitionError as error:
        raise DefinitionError(f"network {name}: {error}") from None
    except Exception as error:  # raised by the module's own code
        where = f" at {recorder.scope}" if recorder.scope else ""
        size = "×".join(str(number) for number in image.shape[1:])
        raise DefinitionError(
            f"network {name}: cannot take a batch of {len(image)} images of {size}{where}: {first_line(error)}; "
            "check model.size and model.order, and that the module fixes no batch size"
        ) from None
    returned = {path: recorder.number(tensor) for path, tensor in tensors(result)}
    return Recording(recorder.calls, recorder.values, source.number, returned, type(result).__name__)


def tensors(value: object, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """The tensors in nested lists, tuples, dicts and dataclasses, with where they lie."""
    if isinstance(value, Tensor):
        yield path, value
    elif _is_record(value):  # also of transformers, whose results are dicts as well
        for part in dataclasses.fields(value):
            yield from tensors(getattr(value, part.name), (*path, part.name))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors(part, (*path, key))
    elif isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", range(len(value)))  # of a named tuple
        for name, part in zip(names, value, strict=True):
            yield from tensors(part, (*path, name))
    elif isinstance(value, slice):
        yield from tensors((value.start, value.stop, value.step), (*path, "slice"))


def part_at(value: object, path: Path) -> object:
    """The part of a nested value at a path that `tensors` gave."""
    for step in path:
        named = isinstance(step, str) and (_is_record(value) or not isinstance(value, Mapping))
        value = getattr(value, step) if named else value[step]
    return value


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def replaced(value: object, change: Callable[[object], object]) -> object:
    """Nested lists, tuples, dicts and slices with every other part changed."""
    if isinstance(value, torch.Size):
        return tuple(change(part) for part in value)
    if isinstance(value, tuple):
        parts = [replaced(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [replaced(part, change) for part in value]
    if isinstance(value, dict):
        return {key: replaced(part, change) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(replaced(part, change) for part in (value.start, value.stop, value.step)))
    return change(value)


class Scripted(nn.Module):
    """A scripted module that can be pickled; `__qualname__` tells its code, which enters the digest."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.module = module
        code = "".join(part.code for part in module.modules() if hasattr(part, "forward"))
        code = re.sub(r"_*torch_mangle_\d+\.?", "", code)  # how many were scripted before is nobody's concern
        self.__qualname__ = f"{module.original_name} {hashlib.sha256(code.encode()).hexdigest()}"

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.module(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable, tuple[bytes]]:
        file = io.BytesIO()
        torch.jit.save(self.module, file)
        return _loaded, (file.getvalue(),)


def _loaded(data: bytes) -> Scripted:
    return Scripted(torch.jit.load(io.BytesIO(data)))


def overlaid(
    held: Tensor,
    written: Tensor,
    strides: tuple[int, ...],
    offset: int,
    written_strides: tuple[int, ...],
    written_offset: int,
) -> Tensor:
    """What a tensor holds after another one, which shares some of its memory, was overwritten.

    held : its values before. written : those of the other one.
    strides, offset : how it lies in the memory, in entries; the others those of the other one.
    """
    places = _places(held.shape, strides, offset).to(held.device)
    others = _places(written.shape, written_strides, written_offset).to(held.device).flatten()
    index = torch.full((int(max(places.max(), others.max())) + 1,), -1, device=held.device)
    index[others] = torch.arange(len(others), device=held.device)
    index = index[places]
    return torch.where(index >= 0, written.flatten()[index.clamp(min=0)], held)


def _places(shape: Sequence[int], strides: Sequence[int], offset: int) -> Tensor:
    """The place in memory of each entry of a tensor."""
    places = torch.tensor(offset)
    for size, stride in zip(shape, strides, strict=True):
        places = places[..., None] + torch.arange(size) * stride
    return places


def _memory(tensor: Tensor) -> int:
    """The address of what a tensor lies in; a number of its own for one without memory, such as a sparse one."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return -id(tensor)


def _geometry(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors in one memory share an entry."""
    if a.dtype != b.dtype:
        return True
    return bool(torch.isin(*(_places(x.shape, x.stride(), x.storage_offset()) for x in (a, b))).any())


def function_name(function: Callable) -> str:
    """The plain name of a torch function: "add" for torch.add, Tensor.__add__, Tensor.add_ and aten.add.Tensor."""
    name = getattr(function, "__name__", type(function).__name__)
    if isinstance(function, torch._ops.OpOverload):
        name = name.split(".")[0]
    if name == "__get__":  # the property of a tensor, such as x.T
        name = (resolve_name(function) or "").removesuffix(".__get__").rpartition(".")[2]
    return name.strip("_") or name


def first_line(error: Exception) -> str:
    """The first line of an exception's text, or its type."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


PASSED_ON = frozenset(
    {
        "identity", "dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d",
        "dropout3d",
    }
)  # fmt: skip  # return their input in evaluation mode, and are layers all the same


# What was not written yet holds zeros, so that two runs agree.
_WRITTEN = {torch.empty: torch.zeros, torch.empty_like: torch.zeros_like, Tensor.new_empty: Tensor.new_zeros}
_DECIDING = frozenset({Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.item})
_RAISED = {"LOAD_ASSERTION_ERROR": "AssertionError"}  # what `assert` compiles to
_FINITE = frozenset({"isnan", "isinf", "isfinite"})


class _Recorder(TorchFunctionMode):
    """Writes down the calls of torch functions and the modules around them."""

    def __init__(self, module: nn.Module, leaves: frozenset[str]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.values: list[Value] = []
        self._module = module
        self._paths = {id(part): path for path, part in module.named_modules()}
        self._leaves = leaves
        self._current: dict[int, int] = {}  # id of a tensor → its present value; tensors are kept alive by values
        self._sharing: dict[int, dict[int, Tensor]] = {}  # memory → the tensors in it, by id
        self._stale: dict[int, str] = {}  # id of a tensor that was changed through another view → by what
        self._scopes: list[str] = []
        self._entered: list[tuple[nn.Module, int]] = []  # the modules being run, with the number of calls before them
        self._uses: dict[str, int] = {}
        self._paused = 0  # depth of modules that are not looked into

    @property
    def scope(self) -> str:
        return self._scopes[-1] if self._scopes else ""

    def watching(self):
        """A context in which the beginning and end of each part of the module is noticed."""
        return _Hooks(self._module, self._enter, self._leave)

    def add(self, tensor: Tensor, call: int | None, path: Path, *, depends: bool) -> Value:
        """A new value, which the tensor now holds."""
        value = Value(len(self.values), tensor, tuple(tensor.shape), call, path, depends, version=tensor._version)
        self.values.append(value)
        self._current[id(tensor)] = value.number
        self._sharing.setdefault(_memory(tensor), {})[id(tensor)] = tensor
        self._stale.pop(id(tensor), None)
        return value

    def number(self, tensor: Tensor) -> int:
        """The value that a tensor holds; an unknown tensor is a constant, or came from a call that was not seen."""
        if id(tensor) in self._stale:
            raise DefinitionError(
                f"{self._stale[id(tensor)]} changes in place what {self.scope or 'the module'} reads again through "
                "another view; use the form that is not in place"
            )
        known = self._current.get(id(tensor))
        if known is None:
            return self.add(tensor, None, (), depends=False).number
        return known

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = {} if kwargs is None else kwargs
        if self._paused:
            return func(*args, **kwargs)
        func = _WRITTEN.get(func, func)
        out = kwargs.get("out")
        if isinstance(out, Tensor) and out.numel():  # written by a call of its own, which has a derivative
            rest = {key: value for key, value in kwargs.items() if key != "out"}
            return self.__torch_function__(Tensor.copy_, types, (out, self.__torch_function__(func, types, args, rest)))
        read = [tensor for _, tensor in tensors((args, kwargs))]
        if any(map(torch._C._functorch.is_functorch_wrapped_tensor, read)):  # inside vmap: not the tensor itself
            return func(*args, **kwargs)
        before = [tensor._version for tensor in read]
        result = func(*args, **kwargs)
        changed: dict[int, Tensor] = {}  # by memory: views count their versions together, and the first was written
        for tensor, version in zip(read, before, strict=True):
            if tensor._version != version:
                changed.setdefault(_memory(tensor), tensor)
        made = list(tensors(result))
        if made or changed:
            self._record(func, args, kwargs, read, list(changed.values()), made)
        elif func in _DECIDING:
            self._decided(read[0])
        return result

    def _record(self, function, args, kwargs, read, changed, made, name: str | None = None) -> None:
        name = function_name(function) if name is None else name
        same = [tensor for _, tensor in made if any(tensor is each for each in read)]
        if not changed and len(same) == len(made) and name not in PASSED_ON:
            return  # it returned what it was given: contiguous() of a contiguous tensor
        reads = tuple(self.number(tensor) for tensor in read)
        depends = any(self.values[at].depends for at in reads)
        written, arguments = replaced((args, kwargs), self._ref)
        number = len(self.calls)
        overwrites = tuple(self._current[id(tensor)] for tensor in changed)
        results = []
        for at, tensor in enumerate(changed):
            self._changed(tensor, number, ("overwritten", at), depends)
            results.append(self._current[id(tensor)])
        for path, tensor in made:
            if not any(tensor is each for each in changed):
                results.append(self.add(tensor, number, path, depends=depends).number)
        layer = name
        if depends and not isinstance(function, nn.Module):
            layer = self._used(f"{self.scope}.{name}" if self.scope else name)
        self.calls.append(
            Call(function, name, written, arguments, reads, overwrites, tuple(results), self.scope, layer)
        )
        for at in results[: len(changed)]:
            self._show_through(self.values[at], name)

    def _changed(self, tensor: Tensor, call: int, path: Path, depends: bool) -> None:
        """Note that a tensor was overwritten: it, and every view of all of it, has a new value."""
        self.values[self.number(tensor)].overwritten = True
        value = self.add(tensor, call, path, depends=depends)
        for other in self._views(tensor):
            if _geometry(other) == _geometry(tensor):
                self.values[self._current[id(other)]].overwritten = True
                self._current[id(other)] = value.number

    def _show_through(self, written: Value, name: str) -> None:
        """Give the tensors that share some memory with one that was overwritten the values that they have now."""
        tensor = written.tensor
        for other in self._views(tensor):
            if _geometry(other) == _geometry(tensor) or not _overlap(other, tensor):
                continue
            if other.dtype != tensor.dtype:
                self._stale[id(other)] = name
                continue
            old, number = self.values[self._current[id(other)]], len(self.calls)
            old.overwritten = True
            depends = old.depends or written.depends
            new = self.add(other, number, (), depends=depends)
            layer = self._used(f"{self.scope}.overlaid" if self.scope else "overlaid") if depends else "overlaid"
            places = (other.stride(), other.storage_offset(), tensor.stride(), tensor.storage_offset())
            self.calls.append(
                Call(
                    overlaid,
                    "overlaid",
                    (Ref(old.number), Ref(written.number), *places),
                    {},
                    (old.number, written.number),
                    (),
                    (new.number,),
                    self.scope,
                    layer,
                )  # fmt: skip
            )

    def _views(self, tensor: Tensor) -> Iterator[Tensor]:
        """The other tensors that were seen to lie in the memory of one."""
        for other in list(self._sharing.get(_memory(tensor), {}).values()):
            if other is not tensor and other.numel():
                yield other

    def _decided(self, tensor: Tensor) -> None:
        """Refuse a decision by a value of the image, unless it is asserted, or asks whether values are finite."""
        if _in_assertion():
            return
        at = self.values[self.number(tensor)]
        waiting, asks_finite = [at], False
        for _ in range(4):  # bool(x.isnan().any())
            calls = [self.calls[value.call] for value in waiting if value.call is not None]
            asks_finite |= any(call.name in _FINITE for call in calls)
            waiting = [self.values[number] for call in calls for number in call.reads]
        if at.depends and not asks_finite:
            raise DefinitionError(
                f"{self.scope or 'its forward'} decides by the values of a tensor, so it does other things for other "
                "images; keep decisions on values out of it"
            )

    def _ref(self, value: object) -> object:
        return Ref(self.number(value)) if isinstance(value, Tensor) else value

    def _used(self, name: str) -> str:
        """The name with "#2" at its second use."""
        self._uses[name] = self._uses.get(name, 0) + 1
        return name if self._uses[name] == 1 else f"{name}#{self._uses[name]}"

    # Modules ------------------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: tuple) -> None:
        path = self._paths.get(id(module), self.scope)
        self._scopes.append(path)
        self._entered.append((module, len(self.calls)))
        if self._is_leaf(module, path):
            self._paused += 1

    def _leave(self, module: nn.Module, args: tuple, kwargs: dict, result: object) -> None:
        path, (_, calls) = self._scopes.pop(), self._entered.pop()
        if self._is_leaf(module, path):
            self._paused -= 1
            if not self._paused:
                read = [tensor for _, tensor in tensors((args, kwargs))]
                scripted = isinstance(module, torch.jit.ScriptModule)
                function = Scripted(module) if scripted else module
                self._record(function, args, kwargs, read, [], list(tensors(result)), name=path)
        if self._paused or not path:
            return
        made = list(tensors(result))
        simple = len(self.calls) == calls and next(module.children(), None) is None
        given = [tensor for _, tensor in tensors((args, kwargs))]
        if simple and len(made) == 1 and any(made[0][1] is each for each in given):  # nn.Identity
            self._record(torch.clone, (made[0][1],), {}, [made[0][1]], [], made, name="identity")
        name = self._used(path)
        floating = [(where, tensor) for where, tensor in made if tensor.is_floating_point()]
        for at, (where, tensor) in enumerate(floating):
            value = self.values[self.number(tensor)]
            value.names.append(name if at == 0 else f"{name}[{'.'.join(map(str, where))}]")

    def _is_leaf(self, module: nn.Module, path: str) -> bool:
        return isinstance(module, torch.jit.ScriptModule) or (bool(path) and path in self._leaves)


def _in_assertion() -> bool:
    """Whether the nearest line of code outside of torch and of this module is an assertion."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith(_TORCH):
            line = 0
            for step in dis.get_instructions(frame.f_code):
                line = frame.f_lineno if step.starts_line == frame.f_lineno else line if not step.starts_line else 0
                if line and "AssertionError" in (step.argrepr, _RAISED.get(step.opname)):
                    return True
            return False
        frame = frame.f_back
    return False


class _Hooks:
    """Calls a function before and after each part of a module; the parts' own hooks lie in between."""

    def __init__(self, module: nn.Module, enter: Callable, leave: Callable) -> None:
        parts = list(module.modules())
        self._parts = [part for part in parts if not isinstance(part, torch.jit.ScriptModule)]
        self._scripted = len(self._parts) < len(parts)
        self._enter, self._leave = enter, leave

    def __enter__(self) -> None:
        self._handles = [part.register_forward_pre_hook(self._enter, prepend=True) for part in self._parts]
        self._handles += [part.register_forward_hook(self._leave, with_kwargs=True) for part in self._parts]
        if self._scripted:  # these take no hooks of their own
            self._handles.append(hooks.register_module_forward_pre_hook(self._enter_scripted))
            self._handles.append(hooks.register_module_forward_hook(self._leave_scripted, with_kwargs=True))

    def _enter_scripted(self, module: nn.Module, *given: object) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            self._enter(module, *given)

    def _leave_scripted(self, module: nn.Module, *given: object) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            self._leave(module, *given)

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
