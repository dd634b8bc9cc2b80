"""A recording of what a torch module computes: every call of a torch function in one run, with the sizes known.

The module runs as it always does; a torch function mode writes down each call. Decisions on sizes, loops, subclasses
and hooks are therefore no obstacle: what the module did for images of this size is what is recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode, resolve_name

from pipeline.errors import DefinitionError

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

    @property
    def intact(self) -> bool:
        """Whether the tensor still holds what it held when the value was made."""
        return self.tensor._version == self.version


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
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors(part, (*path, key))
    elif isinstance(value, (list, tuple)):
        for at, part in enumerate(value):
            yield from tensors(part, (*path, at))
    elif isinstance(value, slice):
        yield from tensors((value.start, value.stop, value.step), (*path, "slice"))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for part in dataclasses.fields(value):
            yield from tensors(getattr(value, part.name), (*path, part.name))


def part_at(value: object, path: Path) -> object:
    """The part of a nested value at a path that `tensors` gave."""
    for step in path:
        value = getattr(value, step) if isinstance(step, str) and not isinstance(value, Mapping) else value[step]
    return value


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


class _Recorder(TorchFunctionMode):
    """Writes down the calls of torch functions and the modules around them."""

    def __init__(self, module: nn.Module, leaves: frozenset[str]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.values: list[Value] = []
        self._paths = {id(part): path for path, part in module.named_modules()}
        self._leaves = leaves
        self._current: dict[int, int] = {}  # id of a tensor → its present value; tensors are kept alive by values
        self._stale: dict[int, str] = {}  # id of a tensor that was changed through another view → by what
        self._scopes: list[str] = []
        self._entered: list[tuple[nn.Module, int]] = []  # the modules being run, with the number of calls before them
        self._uses: dict[str, int] = {}
        self._paused = 0  # depth of modules that are not looked into

    @property
    def scope(self) -> str:
        return self._scopes[-1] if self._scopes else ""

    def watching(self):
        """A context in which the beginning and end of each module is noticed."""
        return _Hooks(self._enter, self._leave)

    def add(self, tensor: Tensor, call: int | None, path: Path, *, depends: bool) -> Value:
        """A new value, which the tensor now holds."""
        value = Value(len(self.values), tensor, tuple(tensor.shape), call, path, depends, version=tensor._version)
        self.values.append(value)
        self._current[id(tensor)] = value.number
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
        read = [tensor for _, tensor in tensors((args, kwargs))]
        before = [tensor._version for tensor in read]
        result = func(*args, **kwargs)
        changed = [t for t, version in zip(read, before, strict=True) if t._version != version]
        made = list(tensors(result))
        if made or changed:
            self._record(func, args, kwargs, read, changed, made)
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
            self._changed(tensor, number, ("overwritten", at), depends, name)
            results.append(self._current[id(tensor)])
        for path, tensor in made:
            if not any(tensor is each for each in changed):
                results.append(self.add(tensor, number, path, depends=depends).number)
        layer = self._used(f"{self.scope}.{name}" if self.scope else name) if depends else name
        self.calls.append(
            Call(function, name, written, arguments, reads, overwrites, tuple(results), self.scope, layer)
        )

    def _changed(self, tensor: Tensor, call: int, path: Path, depends: bool, name: str) -> None:
        """Note that a tensor was overwritten: it, and every view of all of it, has a new value.

        Another view of a part of it has a value that no call returned: of constants what it holds now, else stale.
        """
        value = self.add(tensor, call, path, depends=depends)
        storage = tensor.untyped_storage().data_ptr()
        for other in {id(old.tensor): old.tensor for old in self.values}.values():
            if other is tensor or other.untyped_storage().data_ptr() != storage or not other.numel():
                continue
            if id(other) not in self._current:
                continue
            same = (other.shape, other.stride(), other.storage_offset()) == (
                tensor.shape,
                tensor.stride(),
                tensor.storage_offset(),
            )
            if same:
                self._current[id(other)] = value.number
            elif depends or self.values[self._current[id(other)]].depends:
                self._stale[id(other)] = name
            else:
                self._hold(other)

    def _hold(self, tensor: Tensor) -> None:
        """Note what a tensor holds now as a constant."""
        value = Value(len(self.values), tensor.clone(), tuple(tensor.shape), None, (), depends=False, version=0)
        self.values.append(value)
        self._current[id(tensor)] = value.number

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
                self._record(module, args, kwargs, read, [], list(tensors(result)), name="module")
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


class _Hooks:
    """Calls a function before and after each module, anywhere."""

    def __init__(self, enter: Callable, leave: Callable) -> None:
        self._enter, self._leave = enter, leave

    def __enter__(self) -> None:
        self._handles = (
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, with_kwargs=True),
        )

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
