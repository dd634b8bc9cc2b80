"""What a module's own forward computes, seen by plain hooks, and how a layer of ours lies in it.

Nothing here knows how networks are translated: it is what the translation is checked against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Seen:
    """What a submodule returned.

    name : its path, with "#2" at its second use.
    value : as it was when the submodule returned it.
    decided : whether a gradient reaches the image.
    made_by : the autograd node of the value, which tells whether a result needs it; None if it is written over later.
    """

    name: str
    value: Tensor
    decided: bool
    made_by: object


def seen_values(module: nn.Module, images: Tensor, *, keep: bool = True, only: frozenset[str] | None = None):
    """The module's result, and what its submodules return for the images: the first floating tensor of each call.

    keep : detach the values; else they stay differentiable.
    only : names to record; None for all.
    """
    found: dict[str, Seen] = {}
    returned_as: dict[str, tuple[Tensor, int]] = {}  # name → the tensor itself and its version then
    uses: dict[str, int] = {}

    def note(path: str, returned: object) -> None:
        uses[path] = uses.get(path, 0) + 1
        name = path if uses[path] == 1 else f"{path}#{uses[path]}"
        tensor = next((one for one in tensors_in(returned) if one.is_floating_point()), None)
        if tensor is None or (only is not None and name not in only):
            return
        value = tensor.clone()  # what follows may write over it
        found[name] = Seen(name, value.detach() if keep else value, tensor.requires_grad, tensor.grad_fn)
        returned_as[name] = tensor, tensor._version

    handles = [
        one.register_forward_hook(lambda _, given, returned, path=path: note(path, returned))
        for path, one in module.named_modules()
        if path
    ]
    try:
        result = module(images)
    finally:
        for handle in handles:
            handle.remove()
    # A view that is written over has another node in the graph then: that its first one is not needed says nothing.
    changed = [name for name, (tensor, version) in returned_as.items() if tensor._version != version]
    return result, found | {name: replace(found[name], made_by=None) for name in changed}


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors of a result: of tuples, dicts and dataclasses in their order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def needed_by(result: object) -> set[object]:
    """The autograd nodes that the tensors of a result are computed through."""
    waiting = [tensor.grad_fn for tensor in tensors_in(result) if tensor.grad_fn is not None]
    found = set(waiting)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in found:
                found.add(node)
                waiting.append(node)
    return found


@dataclass(frozen=True)
class Submodules:
    """The submodules of a module by what became of them in a run.

    layers : name → value of those that ran and whose values the image decides and a result needs.
    idle : paths of those whose forward is never called.
    unused : names of those whose values no result needs.
    fixed : names of those whose values no pixel decides.
    """

    layers: dict[str, Tensor]
    idle: tuple[str, ...]
    unused: tuple[str, ...]
    fixed: tuple[str, ...]


def submodules(module: nn.Module, images: Tensor, others: Tensor) -> Submodules:
    """What the submodules compute for images. others : as many different images."""
    result, seen = seen_values(module, images.clone().requires_grad_())
    needed = needed_by(result)
    with torch.no_grad():
        _, again = seen_values(module, others.clone())
    layers, unused, fixed = {}, [], []
    for name, one in seen.items():
        moves = name in again and again[name].value.shape == one.value.shape
        moves = moves and not torch.equal(again[name].value, one.value)
        if not (one.decided and moves):
            fixed.append(name)
        elif one.made_by is not None and one.made_by not in needed:
            unused.append(name)
        else:
            layers[name] = one.value
    ran = {name.partition("#")[0] for name in seen}
    idle = tuple(path for path, _ in module.named_modules() if path and path not in ran)
    return Submodules(layers, idle, tuple(unused), tuple(fixed))


def layouts(value: Tensor, shape: tuple[int, ...], images: int) -> list[Tensor]:
    """The ways in which a returned tensor can be read as a layer, each (image, channel, row, column) or (image, unit).

    shape : of the layer, (channel, row, column) or (unit,). A layer of units may be the class token of a sequence, a
    map its patches.
    """
    channels, places = shape[0], shape[1:]
    positions = 1
    for size in places:
        positions *= size
    sizes, found = tuple(value.shape), []
    if value.dim() < 2:
        return found
    whole = value.numel() == images * channels * positions
    if whole and sizes[0] == images and sizes[1] == channels:
        found.append(value.reshape(images, *shape))
    if whole and value.dim() == 5 and sizes[0] == images and sizes[1] * sizes[2] == channels:  # branches
        found.append(value.reshape(images, *shape))
    parts = sizes[0] // images
    if whole and parts > 1 and sizes[0] % images == 0 and (parts * sizes[1], *sizes[2:]) == tuple(shape):
        found.append(value.reshape(images, *shape))  # parts as more images: those of one image together, or apart
        found.append(value.reshape(parts, images, *sizes[1:]).transpose(0, 1).reshape(images, *shape))
    if whole and sizes[-1] == channels and sizes[0] % images == 0 and positions > 1:
        found.append(value.reshape(images, *places, channels).movedim(-1, 1))
    if whole and value.dim() == 3 and sizes[1:] == (images, channels) and positions > 1:
        found.append(value.permute(1, 2, 0).reshape(images, *shape))
    if whole and positions == 1 and not found and sizes[0] == images:
        found.append(value.reshape(images, *shape))
    if not whole and value.dim() == 3 and sizes[-1] == channels:
        for batch_first in (True, False):
            tokens = value if batch_first else value.transpose(0, 1)
            if tokens.shape[0] != images or tokens.shape[1] < positions:
                continue
            if not places:
                found.append(tokens[:, 0])
            elif positions > 1:
                found.append(tokens[:, -positions:].transpose(1, 2).reshape(images, *shape))
    return found


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest absolute value of theirs; infinity where a value is NaN."""
    largest = float(theirs.masked_fill(theirs.isinf(), 0).abs().max())
    apart = float((ours - theirs).masked_fill(ours == theirs, 0).abs().max())  # equal infinities do not differ
    if apart == 0:
        return 0.0
    return apart / largest if largest > 0 and apart == apart else float("inf")
