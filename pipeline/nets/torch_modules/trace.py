"""Tracing of a torch module with torch.fx, and a record of the value of every node in a run."""

from __future__ import annotations

import types
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from pipeline.errors import DefinitionError


@dataclass(frozen=True)
class NodeValue:
    """A record of the value of a node in a run, without its numbers.

    static : the value itself if it holds no tensor, or is a tensor that does not depend on the image; else None.
    shapes : of the value, or of the tensors in it.
    storage : address of a tensor's memory, which identifies views of the same memory.
    same_as : the operand that the node returned unchanged, or None.
    mutates : the operands that the node overwrote.
    """

    static: object
    shapes: tuple[tuple[int, ...], ...]
    storage: int | None
    same_as: fx.Node | None
    mutates: tuple[fx.Node, ...]


def trace(name: str, module: nn.Module) -> fx.GraphModule:
    """The graph of the module.

    name : of the network, for messages.
    Raises DefinitionError with the reason from torch.fx if the module cannot be traced.
    """
    wrapped = _OneImage(module)
    try:
        graph = fx.Tracer().trace(wrapped)
    except Exception as error:  # raised by the module's code when it is given a proxy
        raise DefinitionError(
            f"network {name}: torch.fx cannot trace {type(module).__name__}: {_line(error)}; keep "
            "decisions on values and sizes of tensors out of its forward, or wrap those parts with torch.fx.wrap"
        ) from None
    return fx.GraphModule(wrapped, graph)


def measured(name: str, traced: fx.GraphModule, image: Tensor) -> dict[fx.Node, NodeValue]:
    """The record of every node for a batch of images.

    image : (batch, channel, row, column), as the module reads them.
    Raises DefinitionError if the module cannot process them.
    """
    measure = _Measure(traced)
    try:
        with torch.no_grad():
            measure.run(image)
    except Exception as error:  # raised by the module's code
        node = next((node for node in traced.graph.nodes if node not in measure.values), None)
        where = "" if node is None else f" at {path_of(node)}"
        size = "×".join(str(number) for number in image.shape[1:])
        raise DefinitionError(
            f"network {name}: cannot take a batch of {len(image)} images of {size}{where}: {_line(error)}; "
            "check model.size and model.order, and that the module fixes no batch size"
        ) from None
    return measure.values


def path_of(node: fx.Node) -> str:
    """The path of a module within the traced one; for a function, the name of its node."""
    if node.op != "call_module":
        return node.name
    return "net" if node.target == "net" else node.target.removeprefix("net.")


def function_name(node: fx.Node) -> str | None:
    """The name of a torch function or method, without the "_" of in-place forms; None for other functions."""
    if node.op == "call_method":
        return node.target.rstrip("_") if not node.target.startswith("_") else node.target
    if node.op != "call_function":
        return None
    home = getattr(node.target, "__module__", None) or ""
    builtin = isinstance(node.target, types.BuiltinFunctionType)  # those of torch often have no module
    from_torch = home.split(".")[0] in ("torch", "_operator", "operator") or (builtin and not home)
    return node.target.__name__.rstrip("_") if from_torch else None


def flat(value: object) -> list[object]:
    """The parts of nested lists, tuples and dicts; a torch.Size counts as one part."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return [part for item in value for part in flat(item)]
    return [value]


class _OneImage(nn.Module):
    """Calls the module with an image only, so that its other parameters keep their defaults."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)


class _Measure(fx.Interpreter):
    """Runs a graph and records the value of each node."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced, garbage_collect_values=False)  # so that no memory is reused
        self.values: dict[fx.Node, NodeValue] = {}
        self.from_image: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> object:
        tensors = [(parent, self.env[parent]) for parent in n.all_input_nodes]
        tensors = [(parent, value) for parent, value in tensors if isinstance(value, Tensor)]
        before = [value._version for _, value in tensors]
        result = super().run_node(n)
        if n.op == "placeholder":
            result = result.clone()
        mutates = tuple(
            parent for (parent, value), version in zip(tensors, before, strict=True) if value._version != version
        )
        same = next((parent for parent, value in tensors if value is result and parent not in mutates), None)
        if n.op == "placeholder" or any(parent in self.from_image for parent in n.all_input_nodes):
            self.from_image.add(n)
        tensors_made = [part for part in flat(result) if isinstance(part, Tensor)]
        keep = not tensors_made or (isinstance(result, Tensor) and n not in self.from_image)
        self.values[n] = NodeValue(
            static=result if keep else None,
            shapes=tuple(tuple(part.shape) for part in tensors_made),
            storage=result.untyped_storage().data_ptr() if isinstance(result, Tensor) else None,
            same_as=same,
            mutates=mutates,
        )
        return result


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
