"""A torch module as a `Network`: traced with torch.fx, then translated node by node into operators."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from pipeline.errors import DefinitionError
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import Identity, Opaque, Operator, Slice
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules.functions import Operand, Varying, from_function, is_reshape
from pipeline.nets.torch_modules.modules import from_module
from pipeline.nets.torch_modules.trace import NodeValue, flat, function_name, measured, path_of, trace

BATCHES = (2, 3)  # sizes of two runs, whose differences depend on the batch size; size 1 would broadcast
TOLERANCE = 1e-3  # of the largest value; folding batch normalisation changes values by about 1e-6


def torch_network(
    name: str,
    module: nn.Module,
    preprocessing: Preprocessing,
    labels: Sequence[str] = (),
    class_layer: str | None = None,
) -> Network:
    """The network that a module computes in evaluation mode, in float32; the module itself is not changed.

    A layer is named by the path of its module ("layer1.0.conv1", "features.0"), with "#2" appended at the second use of
    a module. A function is named by its node in torch.fx ("add_1"). Modules and functions that cannot be translated are
    kept as traced: they are exact, and are assumed to depend on all of their inputs.

    name : of the network.
    module : reads (batch, channel, row, column), pixels minus the mean, multiplied by the gain.
    labels, class_layer : as for `Network`.
    Raises DefinitionError if torch.fx cannot trace the module, if the module cannot process images of the given size,
    or if the translated graph does not reproduce the module's output.
    """
    module = copy.deepcopy(module).float().eval().requires_grad_(False)
    traced = trace(name, module)
    image = _noise(preprocessing)
    values = measured(name, traced, image[: BATCHES[0]]), measured(name, traced, image)
    network = _Translation(name, traced, values, preprocessing).network(labels, class_layer)
    _compare(network, module, image)
    return network


def _noise(size: Preprocessing) -> Tensor:
    """Test images as the module reads them: Gaussian noise with the spread of pixel levels."""
    shape = (max(BATCHES), size.channels, size.height, size.width)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 50
    return noise * torch.from_numpy(size.gain).float().view(1, -1, 1, 1)


# Translation -----------------------------------------------------------------------------------------


class _Translation:
    """Walks a traced graph and builds the graph of operators.

    values, others : the records of two runs of different batch sizes.
    """

    def __init__(
        self,
        name: str,
        traced: fx.GraphModule,
        values: tuple[dict[fx.Node, NodeValue], dict[fx.Node, NodeValue]],
        preprocessing: Preprocessing,
    ) -> None:
        self.name, self.traced = name, traced
        self.values, self.others = values
        self.builder = GraphBuilder(preprocessing)
        self.ours: dict[fx.Node, str] = {}  # traced node → our node that holds its value now
        self.axes: dict[fx.Node, tuple[int, ...]] = {}  # the original axis at each place: (1, 2, 3) unless permuted
        self.uses: dict[str, int] = {}
        self.depends: set[fx.Node] = set()  # nodes that depend on the image or on its size

    def network(self, labels: Sequence[str], class_layer: str | None) -> Network:
        live = self._live()
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.depends.add(node)
                self.ours[node] = self.builder.input
                self.axes[node] = (1, 2, 3)
            elif node.op == "output":
                return self.builder.build(self.name, self._result(node), labels, class_layer)
            else:
                if any(parent in self.depends for parent in node.all_input_nodes):
                    self.depends.add(node)
                if node in live and self._is_operand(node):
                    self._translate(node)
        raise DefinitionError(f"network {self.name}: its forward returns nothing")

    def _live(self) -> set[fx.Node]:
        """The nodes that the result needs, including nodes that only overwrite a value."""
        live: set[fx.Node] = set()
        for node in reversed(self.traced.graph.nodes):
            if node.op == "output" or node in live or self.values[node].mutates:
                live.update((node, *node.all_input_nodes))
        return live

    def _translate(self, node: fx.Node) -> None:
        operator, parents = self._operator(node)
        self.axes[node] = self._axes(node)
        layer = self._layer(node)
        made = self.builder.add(node.name, operator, [self.ours[parent] for parent in parents], layer)
        self.ours[node] = made
        for written in self.values[node].mutates:
            self._write_over(written, node, made)

    def _operator(self, node: fx.Node) -> tuple[Operator, list[fx.Node]]:
        """The operator of a node and the nodes that it reads."""
        value, result = self.values[node], self._shape(node)
        operands = [parent for parent in node.all_input_nodes if self._is_operand(parent)]
        if value.same_as in operands and self.others[node].same_as is value.same_as:
            return Identity(), [value.same_as]
        made = None
        if result is not None and all(self._shape(parent) is not None for parent in operands):
            try:
                made = self._from_tables(node, result)
            except DefinitionError as error:
                raise DefinitionError(f"network {self.name}: {path_of(node)}: {error}") from None
        if made is None:
            return self._opaque(node)
        operator, read = made
        by_name = {traced.name: traced for traced in self.ours}
        return operator, [by_name[operand.name] for operand in read]

    def _from_tables(self, node: fx.Node, result: tuple[int, ...]) -> tuple[Operator, tuple[Operand, ...]] | None:
        if node.op == "call_module":
            operands = [parent for parent in node.all_input_nodes if self._is_operand(parent)]
            if len(operands) != 1 or node.args != (operands[0],) or node.kwargs:
                return None
            return from_module(self.traced.get_submodule(node.target), self._argument(operands[0]), result)
        name = function_name(node)
        piece = self._piece(node)
        if piece is not None or name is None:
            return piece
        positional = fx.node.map_arg(node.args, self._argument)
        keywords = fx.node.map_arg(node.kwargs, self._argument)
        return from_function(name, positional, dict(keywords), result)

    def _piece(self, node: fx.Node) -> tuple[Operator, tuple[Operand, ...]] | None:
        """The operator of one piece of chunk or split along the channels; None for another node."""
        if function_name(node) != "getitem" or not isinstance(node.args[0], fx.Node):
            return None
        cut, index = node.args[0], node.args[1]
        if function_name(cut) not in ("chunk", "split", "tensor_split") or not isinstance(index, int):
            return None
        source, shapes = cut.args[0], self.values[cut].shapes
        if not isinstance(source, fx.Node) or cut.args[2:] != (1,) and cut.kwargs.get("dim") != 1:
            return None
        index %= len(shapes)
        start = sum(shape[1] for shape in shapes[:index])
        return Slice(start, start + shapes[index][1]), (self._argument(source),)

    def _opaque(self, node: fx.Node) -> tuple[Operator, list[fx.Node]]:
        """The node as an Opaque operator: a graph of the node with the sizes and constants that it uses."""
        inner: list[fx.Node] = []
        operands: list[fx.Node] = []
        copied: dict[fx.Node, object] = {}

        def visit(at: fx.Node) -> None:
            for parent in at.all_input_nodes:
                if self._is_operand(parent):
                    if parent not in operands:
                        operands.append(parent)
                elif self._is_fixed(parent):
                    copied[parent] = self.values[parent].static
                elif parent not in inner:
                    visit(parent)
            inner.append(at)

        visit(node)
        graph = fx.Graph()
        copied |= {operand: graph.placeholder(f"input_{at}") for at, operand in enumerate(operands)}
        for operand in operands:
            if any(operand in self.values[at].mutates for at in inner):  # the value that it reads is a layer too
                copied[operand] = graph.call_method("clone", (copied[operand],))
        for at in inner:
            copied[at] = graph.node_copy(at, copied.__getitem__)
        graph.output(copied[node])
        function = fx.GraphModule(self.traced, graph)
        return Opaque(function, _description(function)), operands

    def _write_over(self, written: fx.Node, node: fx.Node, made: str) -> None:
        """Redirect later readers of a value that was changed in place to the new value."""
        storage, shapes = self.values[written].storage, self.values[written].shapes
        for other in list(self.ours):
            if other is not node and self.values[other].storage == storage:
                if self.values[other].shapes == shapes:
                    self.ours[other] = made
                elif any(user > node for user in other.users):
                    raise DefinitionError(
                        f"network {self.name}: {path_of(node)} changes {path_of(other)} in place through a view, "
                        "and it is read again later; use the form that is not in place"
                    )

    def _is_operand(self, node: fx.Node) -> bool:
        """Whether the node is a tensor that depends on the image."""
        return node in self.depends and self.values[node].storage is not None

    def _is_fixed(self, node: fx.Node) -> bool:
        """Whether the node is a number, such as a size, that is equal for all batch sizes."""
        value, other = self.values[node], self.others[node]
        return node in self.depends and not value.shapes and value.static == other.static

    def _argument(self, node: fx.Node) -> object:
        if self._is_operand(node):
            return Operand(node.name, self._shape(node))
        fixed = node not in self.depends or self._is_fixed(node)
        return self.values[node].static if fixed else Varying()

    def _shape(self, node: fx.Node) -> tuple[int, ...] | None:
        """The node's shape without the batch; None if its first axis is not the batch."""
        shapes = (*self.values[node].shapes, *self.others[node].shapes)
        leading = tuple(shape[:1] for shape in shapes)
        return shapes[0][1:] if leading == tuple((size,) for size in BATCHES) else None

    def _axes(self, node: fx.Node) -> tuple[int, ...]:
        """The original axis at each place of the value, followed through permute and transpose."""
        rank = len(self.values[node].shapes[0])
        straight = tuple(range(1, rank))
        parent = next((parent for parent in node.all_input_nodes if parent in self.axes), None)
        if parent is None or len(self.axes[parent]) != rank - 1:
            return straight
        name, before = function_name(node), (0, *self.axes[parent])
        if name is not None and is_reshape(name):
            return straight
        numbers = [number for number in flat(list(node.args[1:])) if isinstance(number, int)]
        numbers += [number for number in flat(dict(node.kwargs)) if isinstance(number, int)]
        if name == "permute" and len(numbers) == rank:
            return tuple(before[number] for number in numbers)[1:]
        if name in ("transpose", "swapaxes") and len(numbers) == 2:
            order = list(before)
            order[numbers[0]], order[numbers[1]] = order[numbers[1]], order[numbers[0]]
            return tuple(order)[1:]
        return self.axes[parent]

    def _layer(self, node: fx.Node) -> str | None:
        """The layer's name; None for a value that is neither a vector nor a map of channels."""
        shape = self._shape(node)
        name = path_of(node)
        if node.op == "call_module":
            self.uses[name] = self.uses.get(name, 0) + 1
            name = name if self.uses[name] == 1 else f"{name}#{self.uses[name]}"
        straight = shape is not None and self.axes[node] == tuple(range(1, len(shape) + 1))
        return name if straight and len(shape) in (1, 3) else None

    def _result(self, output: fx.Node) -> str:
        value = output.args[0]
        if not isinstance(value, fx.Node) or value not in self.ours:
            raise DefinitionError(
                f"network {self.name}: its forward returns {type(value).__name__}, expected one tensor that "
                "depends on the image; wrap it in a module that returns that tensor alone"
            )
        if self._shape(value) is None:
            raise DefinitionError(
                f"network {self.name}: the result {path_of(value)} does not have one row for each image; "
                "keep the batch first"
            )
        return self.ours[value]


def _description(function: fx.GraphModule) -> str:
    """A text of a small graph that is the same in every process; it enters the digest."""
    numbers: dict[fx.Node, fx.node.Argument] = {}
    lines = []
    for node in function.graph.nodes:
        numbers[node] = _Numbered(f"%{len(numbers)}")
        what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "function")
        if node.op == "call_module":
            what = repr(function.get_submodule(node.target))
        elif node.op in ("placeholder", "get_attr"):
            what = ""
        arguments = fx.node.map_arg((node.args, dict(node.kwargs)), numbers.__getitem__)
        lines.append(f"{node.op} {what} {arguments[0]} {dict(arguments[1])}")
    return "; ".join(lines)


class _Numbered(str):
    __repr__ = str.__str__


def _compare(network: Network, module: nn.Module, image: Tensor) -> None:
    """Raise DefinitionError unless the network reproduces the module's output."""
    output = next(node for node in network.graph.graph.nodes if node.op == "output")
    gain = torch.from_numpy(network.preprocessing.gain).float().view(1, -1, 1, 1)
    with torch.no_grad():
        ours, theirs = network.graph(image / gain), module(image.clone())
    difference = (ours - theirs).abs().max() if ours.shape == theirs.shape else torch.tensor(float("inf"))
    if not difference <= TOLERANCE * theirs.abs().max():
        raise DefinitionError(
            f"network {network.name}: the traced graph's {output.args[0]} differs from the module's own output by "
            f"{difference:.3g}; its forward may draw at random, or change tensors that it reads again"
        )
