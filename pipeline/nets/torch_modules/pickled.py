"""The tensors in a file that torch or pickle saved, read without calling anything that the file names.

A pickle is a program that imports functions and classes by name and calls them. Here every name becomes an inert
class, so that a call only records the name with its arguments. After the program has ended, the records that describe
tensors are read as data. All others (optimizers, arguments, dates, paths) are only searched for tensors.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import WeightsError

State = dict[str, "Tensor | State"]  # tensors by name; a container in the file is a dict here

_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of torch's older form, the one before zip archives
_TYPES = {  # storage class → type of its numbers
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.int8, "QUInt8Storage": torch.uint8, "QInt32Storage": torch.int32,
}  # fmt: skip
_STRIDED = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
_AROUND_TENSOR = {  # calls that have the tensor among their arguments, or set it as state (torch 0.3)
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_xla_tensor", "torch.nn.parameter.Parameter", "torch.autograd.variable.Variable",
}  # fmt: skip
_SUBCLASS = {"torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type"}
_NUMPY = re.compile(r"numpy\._?core\.(multiarray\._reconstruct|numeric\._frombuffer)")
_NUMBER_TYPE = re.compile(r"[fiub][1248]")  # numpy's names of plain numbers
_ALIGNMENT = 16  # bytes; the longest number is complex128
# Bounds for what a small file can ask for; weights are far below them.
MOST_TIMES, FREE = 100, 2**26  # a compressed member may inflate to so many times its bytes, or to so many bytes
MOST_TENSORS = 2**20  # by name; a container that is shared counts each time
MOST_KEY = 1000  # values in a key of a dict: hashing a shared tuple takes time for each way to it
MOST_REPEATED = 2**26  # numbers of a tensor that repeats those of the file (a stride of 0)
DAMAGE = (  # what reading damaged or hostile bytes raises
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError, MemoryError,
    RecursionError, RuntimeError, OSError, struct.error, tokenize.TokenError, SyntaxError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def read_pickled(path: Path) -> State:
    """The tensors of a plain pickle, or of torch's older form.

    path : begins as a pickle does; the caller has looked.
    Raises WeightsError if the file is cut short or damaged.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file).load()
            if content != _MAGIC:
                return _state(content, _no_numbers)
            _Unpickler(file).load()  # number of the form
            machine = _Unpickler(file).load()
            if isinstance(machine, dict) and not machine.get("little_endian", True):
                raise _big_endian(path)
            reader = _Unpickler(file)
            content = reader.load()
            starts: dict[Any, int] = {}
            for key in _Unpickler(file).load():
                (count,) = struct.unpack("<q", file.read(8))
                starts[key] = file.tell()
                file.seek(starts[key] + count * reader.sizes[key])
        mapped = _mapped(path)
        return _state(content, lambda storage: _numbers(mapped, starts[storage.key], storage))
    except WeightsError:
        raise
    except DAMAGE as error:
        raise _damaged(path, error) from None


def read_archive(path: Path) -> State:
    """The tensors of a zip archive that torch wrote; TorchScript's archives are such.

    Raises WeightsError if the file is cut short, damaged, or another kind of archive.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            archive = _Archive(path, opened)
            if archive.member("byteorder") == b"big":
                raise _big_endian(path)
            content = _Unpickler(io.BytesIO(archive.member("data.pkl"))).load()
            state = _state(content, archive.numbers)
    except WeightsError:
        raise
    except DAMAGE as error:
        raise _damaged(path, error) from None
    if not state and archive.is_script:
        raise WeightsError(
            f"weights {path}: is a frozen TorchScript archive, in which weights have no names; "
            "save model.state_dict() and give that file"
        )
    return state


# Pickles ---------------------------------------------------------------------------------------------


class _Record:
    """Stands for an object in a pickle.

    path : name of the class or function that the pickle would have called.
    arguments : of that call.
    state : what the pickle would have set as the object's attributes.
    items, parts : the keyed and the other contents that it would have added.
    """

    path = ""
    arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any, **named: Any) -> _Record:
        record = super().__new__(cls)
        record.arguments = (*arguments, *named.values())
        record.state = None
        record.items = []
        record.parts = []
        return record

    # What pickle does with an object that it has made:

    def __call__(self, *arguments: Any) -> _Record:
        return _Record(self, *arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, part: Any) -> None:
        self.parts.append(part)

    def extend(self, parts: Iterable[Any]) -> None:
        self.parts.extend(parts)

    add = append


@dataclass(frozen=True)
class _Storage:
    """A run of `count` numbers, from the number `start` of those that the file holds under a key."""

    key: Any
    dtype: torch.dtype
    count: int
    start: int


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Runs a pickle with inert classes in place of all names.

    It is pickle's own in Python: the one in C reserves memory for whatever number the pickle gives to a memo.

    sizes : bytes of a number of each storage, by key.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # strings of Python 2 hold text or bytes
        self.sizes: dict[Any, int] = {}
        self._classes: dict[str, type[_Record]] = {}

    def find_class(self, module: str, name: str) -> type[_Record]:
        path = f"{module}.{name}"
        if path not in self._classes:
            self._classes[path] = type("_Record", (_Record,), {"path": path})
        return self._classes[path]

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"an object by its registered code {code}")

    def persistent_load(self, pid: Any) -> Any:
        """A storage; or the class of a module, which the older form stores with its source."""
        kind, *rest = pid
        if kind == "module":
            return rest[0]
        if kind != "storage":
            raise pickle.UnpicklingError(f"a persistent object of kind {kind!r}")
        cls, key, _, count, *view = rest
        name = cls.path.rpartition(".")[2]
        if name not in _TYPES:
            raise pickle.UnpicklingError(f"numbers of the unknown type {name}")
        self.sizes[key] = _TYPES[name].itemsize
        _, start, count = view[0] if view and view[0] is not None else (None, 0, count)
        return _Storage(key, _TYPES[name], count, start)


def _keyed(load: Callable[[_Unpickler], None], keys: slice) -> Callable[[_Unpickler], None]:
    """The step of a pickle that makes a dict or a set, after a look at the keys that it hashes.

    keys : where they are among the values since the last mark.
    """

    def checked(self: _Unpickler) -> None:
        for key in self.stack[keys]:
            _less(key, MOST_KEY)
        load(self)

    return checked


def _less(value: Any, left: int) -> int:
    """`left` less the values in a tuple, at every depth. Raises UnpicklingError if it is used up."""
    if left < 0:
        raise pickle.UnpicklingError("a key that takes too long to hash")
    if isinstance(value, (tuple, frozenset)):
        for part in value:
            left = _less(part, left - 1)
    return left


_Unpickler.dispatch = dict(_Unpickler.dispatch)
for _step, _keys in (
    (pickle.SETITEM, slice(-2, -1)), (pickle.SETITEMS, slice(None, None, 2)), (pickle.DICT, slice(None, None, 2)),
    (pickle.ADDITEMS, slice(None)), (pickle.FROZENSET, slice(None)),
):  # fmt: skip
    _Unpickler.dispatch[_step[0]] = _keyed(_Unpickler.dispatch[_step[0]], _keys)

# Records to tensors ----------------------------------------------------------------------------------

Numbers = Callable[[_Storage], Tensor]  # the numbers of a storage, in one dimension


def _state(content: Any, numbers: Numbers) -> State:
    """The tensors in unpickled content by name; {} without any, or if the content is a tensor itself."""
    found = _Content(numbers).tensors(content)
    if not isinstance(found, dict):
        return {}
    if _count(found, {}) > MOST_TENSORS:
        raise ValueError(f"more than {MOST_TENSORS} tensors")
    return found


def _count(state: State, counted: dict[int, int]) -> int:
    """The tensors in a state, those of a shared part each time. counted : by the identity of the part."""
    if id(state) not in counted:
        inner = (1 if isinstance(value, Tensor) else _count(value, counted) for value in state.values())
        counted[id(state)] = sum(inner)
    return counted[id(state)]


class _Content:
    """Searches unpickled content for tensors."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        # By identity, because objects may be shared or contain themselves; with the object, so that it stays alive.
        self._found: dict[int, tuple[Any, Tensor | State | None]] = {}

    def tensors(self, value: Any) -> Tensor | State | None:
        """A tensor; the tensors in a container by name; None without any."""
        if not isinstance(value, (dict, list, tuple, _Record)):
            return None
        if id(value) not in self._found:
            self._found[id(value)] = value, None
            self._found[id(value)] = value, self._tensors(value)
        return self._found[id(value)][1]

    def _tensors(self, value: Any) -> Tensor | State | None:
        if isinstance(value, _Record):
            if value.path in _STRIDED:
                return self._strided(*value.arguments)
            if value.path in _AROUND_TENSOR:
                found = [self.tensors(inner) for _, inner in _contents(value)]
                found += [self.tensors(inner) for inner in value.arguments]
                return next((one for one in found if isinstance(one, Tensor)), None)
            if value.path in _SUBCLASS:
                make, _, arguments, *_ = value.arguments
                return self.tensors(make(*arguments))
            if _NUMPY.fullmatch(value.path):
                return _array(value)
        contents = dict(_contents(value))
        if {"_modules", "_parameters", "_buffers"} <= contents.keys():
            return self._module(contents)
        if isinstance(value, _Record) and value.path.startswith("__torch__."):  # a module of TorchScript
            return self._flat(contents.items())
        return self._nested(contents.items())

    def _strided(self, storage: _Storage, start: int, size: Any, stride: Any, *more: Any) -> Tensor:
        numbers = self._numbers(storage)
        if len(more) > 2 and isinstance(more[2], type):  # the third form states its type
            dtype = getattr(torch, more[2].path.rpartition(".")[2], None)
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"numbers of the unknown type {more[2].path}")
            numbers = numbers.view(dtype)
        last = start + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if min((start, *size, *stride)) < 0 or (0 not in size and last >= len(numbers)):
            raise ValueError("a tensor that lies outside its numbers")
        if math.prod(size) > max(len(numbers), MOST_REPEATED):
            raise ValueError("a tensor that repeats its numbers too often")
        return numbers.as_strided(tuple(size), tuple(stride), numbers.storage_offset() + start)

    def _module(self, attributes: dict[str, Any]) -> State | None:
        """The state dict of a pickled module, from its attributes."""
        unsaved = _set_of(attributes.get("_non_persistent_buffers_set"))
        buffers = [pair for pair in _contents(attributes["_buffers"]) if pair[0] not in unsaved]
        return self._flat([*_contents(attributes["_parameters"]), *buffers, *_contents(attributes["_modules"])])

    def _nested(self, pairs: Iterable[tuple[str, Any]]) -> State | None:
        named = ((name, self.tensors(value)) for name, value in pairs)
        return {name: value for name, value in named if value is not None} or None

    def _flat(self, pairs: Iterable[tuple[str, Any]]) -> State | None:
        """The tensors in attributes of a module, named as in a state dict."""
        state: State = {}
        for name, value in (self._nested(pairs) or {}).items():
            inner = {"": value} if isinstance(value, Tensor) else {f".{key}": tensor for key, tensor in value.items()}
            state.update({f"{name}{key}": tensor for key, tensor in inner.items()})
        return state or None


def _contents(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container or record holds, by name; parts without a name are numbered."""
    if isinstance(value, _Record):
        arguments: Iterable[Any] = value.arguments
        if value.path == "collections.OrderedDict" and value.arguments:  # Python 2 makes it from [name, value] lists
            arguments = ()
            yield from ((str(name), inner) for name, inner in value.arguments[0])
        yield from _contents((*arguments, *value.parts))
        for attributes in value.state if isinstance(value.state, tuple) else (value.state,):
            yield from _contents(attributes if isinstance(attributes, (dict, _Record)) else [attributes])
        yield from ((str(name), inner) for name, inner in value.items)
    elif isinstance(value, dict):
        yield from ((str(name), inner) for name, inner in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((str(name), inner) for name, inner in enumerate(value))


def _set_of(value: Any) -> set[Any]:
    """The members of a pickled set, which is a record before protocol 4."""
    if isinstance(value, _Record):
        value = value.arguments[0] if value.arguments else ()
    return set(value or ())


def _array(record: _Record) -> Tensor | None:
    """The numpy array that a record describes; None if it holds other things than numbers."""
    if record.path.endswith("_frombuffer"):
        data, kind, shape, order = record.arguments
        fortran = order == "F"
    else:
        _, shape, kind, fortran, data = record.state
    if isinstance(data, _Record):  # _codecs.encode(text, "latin1"): bytes in the protocols of Python 2
        data = data.arguments[0]
    data = data.encode("latin1") if isinstance(data, str) else data
    if kind.path != "numpy.dtype" or not _NUMBER_TYPE.fullmatch(str(kind.arguments[0])):
        return None
    order = kind.state[1] if isinstance(kind.state, tuple) else "="
    array = np.frombuffer(data, np.dtype(kind.arguments[0]).newbyteorder(order))
    array = array.reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


# Bytes of the file -----------------------------------------------------------------------------------


class _Archive:
    """The members of a torch archive, below its one folder; those that are not compressed stay in the file until used.

    Checksums are not compared, because torch can write archives without them.
    """

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        members = opened.namelist()
        roots = [name.removesuffix("data.pkl") for name in members if name.split("/")[-1] == "data.pkl"]
        if not roots:
            raise _other_archive(path, members)
        self._opened, self._root, self._members = opened, min(roots, key=len), set(members)
        self._mapped = _mapped(path)
        self.is_script = f"{self._root}constants.pkl" in members

    def member(self, name: str) -> bytes | None:
        found = self._bytes(name)
        return None if found is None else found.numpy().tobytes()

    def numbers(self, storage: _Storage) -> Tensor:
        found = self._bytes(f"data/{storage.key}")
        if found is None:
            raise ValueError(f"its member data/{storage.key} is missing")
        return _numbers(found, 0, storage)

    def _bytes(self, name: str) -> Tensor | None:
        if self._root + name not in self._members:
            return None
        info = self._opened.getinfo(self._root + name)
        if info.compress_type != zipfile.ZIP_STORED:
            check_inflation(info)
            return _as_tensor(self._opened.read(info))
        header = self._mapped[info.header_offset : info.header_offset + 30].numpy().tobytes()
        lengths = struct.unpack("<HH", header[26:30])  # of the name and the extra field, which come before the data
        start = info.header_offset + 30 + sum(lengths)
        return self._mapped[start : start + info.file_size]


def check_inflation(info: zipfile.ZipInfo) -> None:
    """Raise ValueError for a compressed member that inflates to far more than weights do."""
    if info.file_size > max(FREE, MOST_TIMES * info.compress_size):
        raise ValueError(f"its member {info.filename} inflates from {info.compress_size} to {info.file_size} bytes")


def _numbers(data: Tensor, start: int, storage: _Storage) -> Tensor:
    """The numbers of a storage.

    data : bytes.
    start : of the first number of the storage's key.
    """
    size = storage.dtype.itemsize
    start += storage.start * size
    part = data[start : start + storage.count * size]
    if min(start, storage.start, storage.count) < 0 or len(part) != storage.count * size:
        raise ValueError("the numbers of a tensor are missing")
    if part.storage_offset() % _ALIGNMENT:
        part = part.clone()
    return part.view(storage.dtype)


def _no_numbers(storage: _Storage) -> Tensor:
    raise ValueError("a plain pickle with parts of a torch file")


def _mapped(path: Path) -> Tensor:
    """The bytes of a file, read from disk where they are used; changes to them stay in memory."""
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)


# Refusals --------------------------------------------------------------------------------------------


def _other_archive(path: Path, members: list[str]) -> WeightsError:
    names = [name.split("/")[-1] for name in members]
    if "serialized_exported_program.json" in names or "archive_format" in names:
        return WeightsError(
            f"weights {path}: is a program that torch.export saved, not weights; "
            "save its state_dict with torch.save and give that file"
        )
    if "model.json" in names and "attributes.pkl" in names:
        return WeightsError(
            f"weights {path}: is a TorchScript archive of torch 1.3 or older; "
            "load it with torch.jit.load, save its state_dict() with torch.save, and give that file"
        )
    shown = ", ".join(members[:3]) + (", …" if len(members) > 3 else "")
    return WeightsError(
        f"weights {path}: is a zip archive that holds {shown if members else 'nothing'}, not a file of torch; "
        "unpack it and give the file with the weights"
    )


def _big_endian(path: Path) -> WeightsError:
    return WeightsError(
        f"weights {path}: was saved on a big-endian machine; save it as .safetensors, which is the same everywhere"
    )


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return WeightsError(
        f"weights {path}: cut short or damaged ({path.stat().st_size} bytes; {reason}); fetch the file again"
    )
