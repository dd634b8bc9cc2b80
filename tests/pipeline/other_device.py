"""A device that is not the CPU, computed by the CPU: what a GPU would refuse is refused here too.

Importing this module changes torch for the whole process, so programs import it, not tests
(`torch.utils.backend_registration`: the PrivateUse1 dispatch key as a backend in Python).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("elsewhere", backend_module=_Backend())
DEVICE = torch.device("elsewhere", 0)
CROSSING = ("copy_", "_to_copy", "_copy_from")  # operations that may read from one device and write to another


class Misplaced(RuntimeError):
    """An operation reads tensors of two devices, or draws on one with a generator of the other."""


class Elsewhere(Tensor):
    """A tensor of the device; its numbers lie in `held`, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        with torch.inference_mode(held.is_inference()):  # a view of an ordinary tensor stays one in inference mode
            made = Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                layout=held.layout,
                device=DEVICE,
            )
        made.held = held
        return made

    def __reduce_ex__(self, protocol: object) -> object:  # a file is read with map_location="cpu"
        return self.held.detach().clone().__reduce_ex__(protocol)

    def tolist(self) -> object:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        return dispatched(operation, args, kwargs or {})


@torch.library.impl("aten::empty_strided", "privateuseone")
def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


@torch.library.impl("aten::_copy_from", "privateuseone")
def _copy_from(source, target, non_blocking=False):
    target.held.copy_(source.held if isinstance(source, Elsewhere) else source)
    return target


class Watch(TorchDispatchMode):
    """While it is entered, tensors can be made on the device. crossings : operation → how often it changed device."""

    def __init__(self) -> None:
        super().__init__()
        self.crossings: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled; importing torch's compiler takes seconds

    def __torch_dispatch__(self, operation: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        return dispatched(operation, args, kwargs or {}, self.crossings)


def dispatched(operation: Any, args: tuple, kwargs: dict, crossings: Counter[str] | None = None) -> Any:
    """What the operation returns, on the device where it belongs; raises Misplaced."""
    flat, form = tree_flatten((args, kwargs))
    here = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, Elsewhere)]
    there = [one for one in flat if isinstance(one, Elsewhere)]
    asked = kwargs.get("device")
    makes_here = asked is not None and torch.device(asked).type == "cpu"
    makes_there = asked is not None and not makes_here
    if not there and not makes_there:
        return operation(*args, **kwargs)
    name = operation.overloadpacket.__name__
    generators = [one for one in flat if isinstance(one, torch.Generator)]
    if generators:
        raise Misplaced(f"{name}: draws numbers on {DEVICE} with a generator of {generators[0].device}")
    if name in CROSSING:
        if crossings is not None and (here or makes_here or makes_there):
            crossings[name] += 1
    elif there and any(one.dim() for one in here):  # numbers may come from the CPU
        shapes = ", ".join(f"{one.device} {tuple(one.shape)}" for one in (*here, *there))
        raise Misplaced(f"{name}: reads {shapes}")
    known = {id(one.held): one for one in there}
    args, kwargs = tree_unflatten([one.held if isinstance(one, Elsewhere) else one for one in flat], form)
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = operation(*args, **kwargs)
    if makes_here or (name == "copy_" and id(args[0]) not in known):
        return result

    def placed(one: object) -> object:
        if not isinstance(one, Tensor):
            return one
        return known[id(one)] if id(one) in known else Elsewhere(one)

    return tree_map(placed, result)
