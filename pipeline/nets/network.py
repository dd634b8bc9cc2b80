"""The common form of every trained network: a graph of operators, a layer table and a digest."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from pipeline.errors import DefinitionError, UnitError, nearest
from pipeline.nets.operators import (
    Affine,
    Concat,
    Identity,
    OpenRelu,
    Operator,
    PRelu,
    Relu,
    Reshape,
    keeps_sign,
    switches_off,
)
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import ChannelNorm, MaxPool

HIDDEN = frozenset({"identity", "reshape"})  # kinds of operators that repeat the values of another layer
_FRESH = frozenset({"conv", "deconv", "affine", "fc"})  # kinds of operators that always write to new memory


@dataclass(frozen=True)
class Layer:
    """A named value of the graph; `conv5` is the value before `relu5`.

    name : the publisher's.
    node : name of the graph's node that computes the value.
    kind : of the operator, such as "conv".
    height, width : of the map; 1 for a fully connected layer.
    parents : names of the nodes that the operator reads.
    macs : multiply-accumulates of this layer alone for one image.
    """

    name: str
    node: str
    kind: str
    channels: int
    height: int
    width: int
    parents: tuple[str, ...]
    macs: int

    @property
    def spatial(self) -> bool:
        return self.height * self.width > 1

    @property
    def centre(self) -> tuple[int, int]:
        """The position (row, column) whose activation represents the unit."""
        return self.height // 2, self.width // 2


class Network:
    """Frozen weights in a torch.fx graph whose nodes are operators of `pipeline.nets`.

    The graph reads centred images (see `Preprocessing`). Its nodes are one placeholder, one call_module for each
    operator, and the output. Names of nodes are identifiers; names of layers are the publisher's.
    """

    def __init__(
        self,
        name: str,
        graph: fx.GraphModule,
        layer_names: Mapping[str, str],
        preprocessing: Preprocessing,
        labels: Sequence[str] = (),
        class_layer: str | None = None,
    ) -> None:
        """A network from its graph.

        layer_names : name of a layer → name of its node, in the order of the graph.
        labels : of the units of the class layer, in their order.
        class_layer : None to find it (see `_find_class_layer`).
        """
        self.name = name
        self.graph = graph.eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self._operators: dict[str, Operator] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._targets: dict[str, str] = {}  # node → its module's name in the graph, which survives pickling
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                self.input = node.name
            elif node.op == "call_module":
                self._targets[node.name] = node.target
                self._operators[node.name] = graph.get_submodule(node.target)
                self._parents[node.name] = tuple(parent.name for parent in node.args)
            elif node.op != "output":
                raise DefinitionError(f"network {name}: node {node.name} is a {node.op}, expected an operator")
        self._shapes = self._measure()
        self.layers = self._table(layer_names)
        self.class_layer = class_layer if class_layer is not None else self._find_class_layer()
        if self.class_layer is not None:
            self.layer(self.class_layer)
        self.labels = tuple(labels)
        self.digest = self._digest()

    # Lookup -------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of all operator nodes, parents first."""
        return tuple(self._operators)

    def operator(self, node: str) -> Operator:
        return self._operators[node]

    def parents(self, node: str) -> tuple[str, ...]:
        return self._parents[node]

    def shape(self, node: str) -> tuple[int, ...]:
        """Shape of a node's value without the batch: (channel, row, column) or (unit,)."""
        return self._shapes[node]

    def layer(self, name: str) -> Layer:
        """The layer of that name; UnitError names the nearest."""
        try:
            return self.layers[name]
        except KeyError:
            raise UnitError(
                f"layer {name}: not in network {self.name}{nearest(name, self.layers)}; "
                f"list layers with make layers MODEL={self.name}"
            ) from None

    def ancestors(self, targets: Sequence[str]) -> tuple[str, ...]:
        """The operator nodes that the target nodes depend on, themselves included, parents first."""
        needed = set(targets)
        for node in reversed(self.nodes):
            if node in needed:
                needed.update(self._parents[node])
        return tuple(node for node in self.nodes if node in needed)

    # Running -----------------------------------------------------------------------------------------

    def run(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Layer → value, (batch, channel, row, column) or (batch, unit), for the named layers.

        Nothing above the named layers is computed, and a value is freed after its last use.

        image : centred, (batch, channel, row, column).
        """
        targets = {name: self.layer(name).node for name in layers}
        order = self.ancestors(list(targets.values()))
        uses = dict.fromkeys((self.input, *order), 0)
        for node in order:
            for parent in self._parents[node]:
                uses[parent] += 1
        for node in targets.values():
            uses[node] += 1
        values = {self.input: image}
        for node in order:
            values[node] = self._operators[node](*(values[parent] for parent in self._parents[node]))
            for parent in self._parents[node]:
                uses[parent] -= 1
                if uses[parent] == 0:
                    values.pop(parent, None)
        return {name: values[node] for name, node in targets.items()}

    def last_relus(self, layer: str) -> tuple[str, ...]:
        """The nodes of the ReLUs that can switch the layer's units off (see `operators.switches_off`).

        They are those whose outputs reach the layer without a weight, a sum or a mean in between. A leaky ReLU passes
        these outputs on unchanged.
        """
        relus, waiting = [], [self.layer(layer).node]
        while waiting:
            node = waiting.pop()
            operator = self._operators.get(node)
            off = operator is not None and switches_off(operator)
            if off:
                relus.append(node)
            if off or isinstance(operator, MaxPool | ChannelNorm | Concat | Identity | Reshape | Relu | PRelu):
                waiting.extend(self._parents[node])
        return tuple(dict.fromkeys(relus))

    def opened(self, layer: str) -> Network:
        """A copy with the same values, whose last ReLUs pass the gradient of units that are switched off.

        Source: the Deep Visualization Toolbox, whose backward pass from a layer begins below its in-place ReLU.
        """
        other = copy.copy(self)
        opened = {node: OpenRelu(self._operators[node]) for node in self.last_relus(layer)}
        other._operators = self._operators | opened
        return other

    def to(self, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Network:
        """A copy on another device or in another precision; it keeps the digest of the stored weights."""
        other = copy.copy(self)
        other.graph = copy.deepcopy(self.graph).to(device=device, dtype=dtype)
        other._operators = {node: other.graph.get_submodule(target) for node, target in self._targets.items()}
        return other

    # Tables ------------------------------------------------------------------------------------------

    def _measure(self) -> dict[str, tuple[int, ...]]:
        size = self.preprocessing
        values = {self.input: torch.zeros(1, size.channels, size.height, size.width)}
        with torch.no_grad():
            for node, operator in self._operators.items():
                parents = self._parents[node]
                try:
                    values[node] = operator(*(values[parent] for parent in parents))
                except (RuntimeError, ValueError, IndexError) as error:
                    shapes = ", ".join(str(tuple(values[parent].shape[1:])) for parent in parents)
                    reason = str(error).splitlines()[0]
                    raise DefinitionError(
                        f"network {self.name}: {node} cannot take inputs of shape {shapes}: {reason}"
                    ) from None
        return {node: tuple(value.shape[1:]) for node, value in values.items()}

    def _table(self, names: Mapping[str, str]) -> dict[str, Layer]:
        table = {}
        for name, node in names.items():
            shape, operator = self._shapes[node], self._operators[node]
            channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
            weight = getattr(operator, "weight", None)
            macs = 0
            if weight is not None and weight.dim() >= 2:
                positions = height * width
                if operator.kind == "deconv":
                    positions = _area(self._shapes[self._parents[node][0]])
                macs = weight.numel() * positions
            table[name] = Layer(name, node, operator.kind, channels, height, width, self._parents[node], macs)
        return table

    def _find_class_layer(self) -> str | None:
        """The layer below the last softmax; without a softmax, the last layer that is fully connected or 1 × 1."""
        names = {layer.node: layer.name for layer in self.layers.values()}
        for node in reversed(self.nodes):
            if self._operators[node].kind != "softmax":
                continue
            below = self._parents[node][0]
            while below not in names or self._operators[below].kind in HIDDEN:
                if below == self.input:
                    return None
                below = self._parents[below][0]
            return names[below]
        flat = [layer for layer in self.layers.values() if not layer.spatial and layer.kind not in HIDDEN]
        return flat[-1].name if flat else None

    def _digest(self) -> str:
        """SHA-256 of operators, edges, weights and preprocessing: networks of equal digests compute equal values."""
        size = self.preprocessing
        total = hashlib.sha256()
        head = [size.height, size.width, size.order, size.mean.tolist(), size.gain.tolist()]
        total.update(json.dumps(head).encode())
        by_node = {layer.node: layer.name for layer in self.layers.values()}
        for node, operator in self._operators.items():
            parents = [by_node.get(parent, parent) for parent in self._parents[node]]
            line = [by_node.get(node, node), type(operator).__name__, operator.settings(), parents]
            total.update(json.dumps(line, sort_keys=True).encode())
            for name, array in sorted(operator.state_dict().items()):
                total.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
                total.update(array.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()


def stream(network: Network, image: Tensor, layers: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield (layer, value) for the named layers in the order of the graph; the values are those of `Network.run`.

    A value is valid only until the next one is requested: a ReLU that is the only reader of a convolution (or the
    like) overwrites its output in place, which saves memory and time with large maps. Not for use with gradients.

    image : centred, (batch, channel, row, column).
    """
    names: dict[str, list[str]] = {}
    for name in layers:
        names.setdefault(network.layer(name).node, []).append(name)
    order = network.ancestors(list(names))
    uses = dict.fromkeys((network.input, *order), 0)
    for node in order:
        for parent in network.parents(node):
            uses[parent] += 1
    values = {network.input: image}
    for node in order:
        parents, operator = network.parents(node), network.operator(node)
        inputs = [values[parent] for parent in parents]
        for parent in parents:
            uses[parent] -= 1
            if uses[parent] == 0:
                values.pop(parent, None)
        below = parents[0]
        plain = isinstance(operator, Relu) and operator.slope == 0
        if plain and uses[below] == 0 and below != network.input and _is_fresh(network, below):
            values[node] = inputs[0].relu_()
        else:
            values[node] = operator(*inputs)
        del inputs
        for name in names.get(node, ()):
            yield name, values[node]
        if uses[node] == 0:
            del values[node]


def _is_fresh(network: Network, node: str) -> bool:
    return network.operator(node).kind in _FRESH


def is_rectified(network: Network, layer: str) -> bool:
    """Whether the layer's values come out of ReLUs that can switch units off, so that zero means off."""
    return bool(network.last_relus(layer))


def is_gated(network: Network, layer: str) -> bool:
    """Whether everything above reads the layer through ReLUs that can switch units off, so that zero or less means off.

    Leaky ReLUs in between keep the sign. Any other operator, such as batch normalisation, makes it meaningless.
    """
    gates, waiting = [], [network.layer(layer).node]
    while waiting:
        below = waiting.pop()
        readers = [node for node in network.nodes if below in network.parents(node)]
        if not readers:  # the network returns it
            gates.append(False)
        for reader in readers:
            operator = network.operator(reader)
            if operator.kind in HIDDEN or keeps_sign(operator):
                waiting.append(reader)
            else:
                gates.append(switches_off(operator))
    return all(gates)


class GraphBuilder:
    """Builds the graph of a network, operator by operator."""

    def __init__(self, preprocessing: Preprocessing | None) -> None:
        """A builder of an empty graph.

        preprocessing : of the images that the graph reads; None for a graph whose input is not an image.
        """
        self._preprocessing = preprocessing
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._nodes: dict[str, fx.Node] = {}
        self.layer_names: dict[str, str] = {}
        self.input = self._keep(self._graph.placeholder("image" if preprocessing is not None else "code"))
        if preprocessing is not None and (preprocessing.gain != 1).any():
            gain = torch.from_numpy(preprocessing.gain).float()
            self.input = self.add("input_gain", Affine(gain), [self.input], layer=None)

    def add(self, name: str, operator: Operator, parents: Sequence[str], layer: str | None) -> str:
        """Append an operator that reads the parent nodes; return the name of its node.

        name : proposed name of the node; it is turned into a unique identifier.
        parents : names of nodes.
        layer : name of the layer that the value is; None for a value without a layer name.
        """
        target = f"operator_{len(self._nodes)}"
        self._root.add_module(target, operator)
        node = self._graph.create_node(
            "call_module", target, tuple(self._nodes[parent] for parent in parents), {}, name=_identifier(name)
        )
        if layer is not None:
            if layer in self.layer_names:
                raise DefinitionError(f"layer {layer}: defined twice; give every layer a name of its own")
            self.layer_names[layer] = node.name
        return self._keep(node)

    def build(self, name: str, output: str, labels: Sequence[str] = (), class_layer: str | None = None) -> Network:
        """The finished network.

        output : name of the node that the graph returns.
        labels, class_layer : as for `Network`.
        """
        return Network(name, self.module(output), self.layer_names, self._preprocessing, labels, class_layer)

    def module(self, output: str) -> fx.GraphModule:
        """The finished graph without a layer table; `output` is the name of the node that it returns."""
        self._graph.output(self._nodes[output])
        return fx.GraphModule(self._root, self._graph).eval().requires_grad_(False)

    def _keep(self, node: fx.Node) -> str:
        self._nodes[node.name] = node
        return node.name


def _identifier(name: str) -> str:
    text = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)
    return text if text[:1].isalpha() else f"n_{text}"


def _area(shape: tuple[int, ...]) -> int:
    return shape[1] * shape[2] if len(shape) == 3 else 1
