"""The common form of every trained network: a graph of operators, a layer table and a digest."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, fx, nn

from pipeline.errors import DefinitionError, SettingsError, UnitError, nearest
from pipeline.nets.graph import Graph
from pipeline.nets.operators import (
    Affine,
    Concat,
    Identity,
    OpenRelu,
    Operator,
    PRelu,
    Relu,
    Reshape,
    Sum,
    keeps_sign,
    switches_off,
)
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.rearranging import Constant, Moved, Tokens
from pipeline.nets.sliding import ChannelNorm, MaxPool

HIDDEN = frozenset({"identity", "reshape"})  # kinds of operators that repeat the values of another layer
_PASSING = (MaxPool, ChannelNorm, Concat, Identity, Reshape, Moved, Tokens, Relu, PRelu)  # keep zero at zero
_WEIGHTED = frozenset({"conv", "deconv", "fc"})  # kinds of operators that mix channels by learned weights
_PROBABILITIES = frozenset({"softmax", "logsoftmax", "sigmoid", "logsigmoid"})  # kinds that turn scores into these
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
    same_as : name of the layer whose value this is too, under another name; "" for a value's first name.
    at : the position that stands for the units, in place of the centre; None for the centre.
    """

    name: str
    node: str
    kind: str
    channels: int
    height: int
    width: int
    parents: tuple[str, ...]
    macs: int
    same_as: str = ""
    at: tuple[int, int] | None = None

    @property
    def spatial(self) -> bool:
        return self.height * self.width > 1

    @property
    def centre(self) -> tuple[int, int]:
        """The position (row, column) whose activation represents the unit: the centre, unless another is set."""
        return (self.height // 2, self.width // 2) if self.at is None else self.at


class Network(Graph):
    """A graph of operators with frozen weights that reads centred images (see `Preprocessing`), and its layers.

    Names of nodes are identifiers; names of layers are the publisher's.
    """

    def __init__(
        self,
        name: str,
        graph: fx.GraphModule,
        layer_names: Mapping[str, str],
        preprocessing: Preprocessing,
        labels: Sequence[str] = (),
        class_layer: str | None = None,
        blocks: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """A network from its graph.

        layer_names : name of a layer → name of its node, in the order of the graph; a node may have several names.
        labels : of the units of the class layer, in their order.
        class_layer : None to find it (see `_find_class_layer`).
        blocks : names of the layers that are results of a module; None for all.
        notes : what a user should know of how the network was read, such as layers that are left out; a line each.
        """
        self.name = name
        self.notes = tuple(notes)
        self.preprocessing = size = preprocessing
        super().__init__(graph, torch.zeros(1, size.channels, size.height, size.width), f"network {name}")
        self._readers: dict[str, tuple[str, ...]] = {}
        for node, parents in self._parents.items():
            for parent in dict.fromkeys(parents):
                self._readers[parent] = (*self._readers.get(parent, ()), node)
        self.layers = self._table(layer_names)
        self.blocks = frozenset(layer_names if blocks is None else blocks)
        self.labels = tuple(labels)
        self.class_layer, self.class_layer_guessed = class_layer, False
        if class_layer is None:
            self.class_layer, self.class_layer_guessed = self._find_class_layer()
        else:
            self.layer(class_layer)
        self.digest = self._digest()

    # Lookup -------------------------------------------------------------------------------------------

    def layer(self, name: str) -> Layer:
        """The layer of that name; UnitError names the nearest."""
        try:
            return self.layers[name]
        except KeyError:
            raise UnitError(
                f"layer {name}: not in network {self.name}{nearest(name, self.layers)}; "
                "make layers, with the same MODEL and ARGS, lists them"
            ) from None

    def readers(self, node: str) -> tuple[str, ...]:
        """Names of the nodes that read a node, without those that only show its tokens as layers."""
        return tuple(at for at in self._readers.get(node, ()) if not isinstance(self._operators[at], Tokens))

    def source(self, layer: str) -> str:
        """The node whose values a layer shows: of a layer of tokens, that of the whole sequence."""
        node = self.layer(layer).node
        return self._parents[node][0] if isinstance(self._operators[node], Tokens) else node

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
            if off or isinstance(operator, _PASSING):
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

    def placed(self, positions: Mapping[str, tuple[int, int]]) -> Network:
        """A copy whose units stand at other positions than the centre; its digest is another one.

        positions : pattern of names of layers, which may hold * and ? → (row, column).
        Raises SettingsError for a pattern that matches no map, or a position outside of one.
        """
        other = copy.copy(self)
        other.layers = dict(self.layers)
        for pattern, (row, column) in positions.items():
            matched = [name for name, layer in self.layers.items() if layer.spatial and fnmatchcase(name, pattern)]
            if not matched:
                maps = [name for name, layer in self.layers.items() if layer.spatial]
                raise SettingsError(f"model.position {pattern}: matches no map of {self.name}{nearest(pattern, maps)}")
            for name in matched:
                layer = self.layers[name]
                if not (0 <= row < layer.height and 0 <= column < layer.width):
                    raise SettingsError(
                        f"model.position {pattern}:{row},{column}: layer {name} has rows 0-{layer.height - 1} and "
                        f"columns 0-{layer.width - 1}; give a position inside"
                    )
                other.layers[name] = replace(layer, at=(row, column))
        moved = sorted((name, layer.at) for name, layer in other.layers.items() if layer.at is not None)
        other.digest = hashlib.sha256(json.dumps([self.digest, moved]).encode()).hexdigest()
        return other

    # Tables ------------------------------------------------------------------------------------------

    def _table(self, names: Mapping[str, str]) -> dict[str, Layer]:
        table: dict[str, Layer] = {}
        first: dict[str, str] = {}  # node → its first name
        for name, node in names.items():
            shape, parents = self._shapes[node], self._parents[node]
            channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
            shown = parents[0] if isinstance(self._operators[node], Tokens) else node
            kind = self._operators[shown].kind
            macs, same_as = self.macs(node), first.get(node, "")
            first.setdefault(node, name)
            table[name] = Layer(name, node, kind, channels, height, width, parents, macs, same_as)
        return table

    def _find_class_layer(self) -> tuple[str | None, bool]:
        """The layer that the output shows, through softmax, sigmoid and the like; and whether that is a guess.

        It is no guess where the output is made of probabilities, or where there is a label for each of its units.
        """
        names: dict[str, str] = {}
        for layer in self.layers.values():
            names.setdefault(layer.node, layer.name)
        node, certain = self.output, False
        while node != self.input:
            kind = self._operators[node].kind
            if kind in _PROBABILITIES:
                certain = True
            elif kind not in HIDDEN and node in names:
                break
            node = self._parents[node][0]
        found = self.layers.get(names.get(node, ""))
        if found is None or (found.spatial and not certain):  # a map of features
            return None, False
        return found.name, not certain and len(self.labels) != found.channels

    def _digest(self) -> str:
        """SHA-256 of operators, edges, weights and preprocessing: networks of equal digests compute equal values."""
        size = self.preprocessing
        total = hashlib.sha256()
        head = [size.height, size.width, size.order, size.mean.tolist(), size.gain.tolist()]
        head += [] if size.interpolation == "bilinear" else [size.interpolation]  # digests of before stay
        total.update(json.dumps(head).encode())
        by_node = {layer.node: layer.name for layer in self.layers.values() if not layer.same_as}
        for node, operator in self._operators.items():
            parents = [by_node.get(parent, parent) for parent in self._parents[node]]
            line = [by_node.get(node, node), type(operator).__name__, operator.settings(), parents]
            total.update(json.dumps(line, sort_keys=True).encode())
            for name, array in sorted(operator.state_dict().items()):
                total.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
                total.update(array.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()


def stream(network: Network, image: Tensor, layers: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """`Stream` of one batch."""
    return Stream(network, layers).run(image)


class Stream:
    """The values of the named layers, one after the other, for one batch after the other."""

    def __init__(self, network: Network, layers: Sequence[str], *, overwrite: bool = False) -> None:
        """
        network, layers : whose values.
        overwrite : whether the images may be overwritten.
        """
        names: dict[str, list[str]] = {}
        for name in layers:
            names.setdefault(network.layer(name).node, []).append(name)
        order = network.ancestors(list(names))
        uses = Counter(parent for node in order for parent in network.parents(node))
        self._input, self._steps = network.input, []
        for node in order:
            parents, operator, waits = network.parents(node), network.operator(node), uses[node] > 0
            uses.subtract(parents)
            last = [parent for parent in dict.fromkeys(parents) if uses[parent] == 0]
            below = parents[0]
            ours = overwrite if below == network.input else network.operator(below).kind in _FRESH
            if below in last and ours:
                if isinstance(operator, Relu) and operator.slope == 0:
                    operator = torch.relu_
                elif isinstance(operator, Affine):
                    operator = operator.forward_
            self._steps.append((node, operator, parents, last, names.get(node, ()), waits))

    def run(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (layer, value) in the order of the graph; the values are those of `Network.run`.

        A value is valid only until the next one is requested: a ReLU or fixed normalisation that is the only reader of
        a convolution (or the like) overwrites its output in place, which saves memory and time with large maps. Not for
        use with gradients.

        image : centred, (batch, channel, row, column).
        """
        values = {self._input: image}
        for node, operator, parents, last, names, waits in self._steps:
            inputs = [values[parent] for parent in parents]
            for parent in last:
                del values[parent]
            value = operator(*inputs)
            del inputs
            for name in names:
                yield name, value
            if waits:
                values[node] = value
            del value


def is_rectified(network: Network, layer: str) -> bool:
    """Whether all of the layer's values come out of ReLUs that can switch units off, so that zero means off."""
    found, waiting = False, [network.layer(layer).node]
    while waiting:
        node = waiting.pop()
        operator = None if node == network.input else network.operator(node)
        if operator is not None and switches_off(operator):
            found = True
        elif isinstance(operator, _PASSING):
            waiting += network.parents(node)
        else:  # as in a concatenation of which one part is not rectified
            return False
    return found


def is_gated(network: Network, layer: str) -> bool:
    """Whether everything above reads the layer through ReLUs that can switch units off, so that zero or less means off.

    Leaky ReLUs in between keep the sign. Any other operator, such as batch normalisation, makes it meaningless.
    """
    gates, waiting = [], [network.source(layer)]
    while waiting:
        below = waiting.pop()
        readers = network.readers(below)
        if not readers:  # the network returns it
            gates.append(False)
        for reader in readers:
            operator = network.operator(reader)
            if operator.kind in HIDDEN or keeps_sign(operator):
                waiting.append(reader)
            else:
                gates.append(switches_off(operator))
    return all(gates)


def normalization(network: Network, node: str) -> tuple[str, ...]:
    """The nodes that normalise a node's value by fixed numbers, in their order; empty if others read it too.

    Batch normalisation in evaluation mode, Caffe's BatchNorm with its Scale, and other fixed scales of channels.
    """
    found: list[str] = []
    while True:
        readers = network.readers(found[-1] if found else node)
        if len(readers) != 1 or not isinstance(network.operator(readers[0]), Affine):
            return tuple(found)
        found.append(readers[0])


def shown_layers(network: Network) -> tuple[str, ...]:
    """The layers whose units an atlas shows by default: what the network passes on to its nonlinearities.

    Convolutions and inner products, each after a fixed normalization if one follows; the sums of residual blocks;
    concatenations that a block returns; and the class layer. Of a sequence with a class token, the class token.
    """
    wanted: set[str] = set()
    for node in network.nodes:
        operator = network.operator(node)
        if operator.kind in _WEIGHTED:
            wanted.add((node, *normalization(network, node))[-1])
        elif isinstance(operator, Sum):
            parents = network.parents(node)
            constant = any(isinstance(network.operator(at), Constant) for at in parents if at != network.input)
            if len(parents) > 1 and not constant and len({network.shape(parent) for parent in parents}) == 1:
                wanted.add(node)
    shown, seen = [], set()
    with_token = {network.source(each.name) for each in network.layers.values() if not each.spatial}
    for layer in network.layers.values():
        if layer.same_as:
            continue
        source = network.source(layer.name)
        block = isinstance(network.operator(source), Concat) and layer.name in network.blocks
        if layer.name == network.class_layer or ((source in wanted or block) and source not in seen):
            if (
                source != layer.node and layer.spatial and source in with_token
            ):  # the patches of a sequence that has a class token
                continue
            seen.add(source)
            shown.append(layer.name)
    return tuple(shown)


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

    def build(
        self,
        name: str,
        output: str,
        labels: Sequence[str] = (),
        class_layer: str | None = None,
        blocks: Sequence[str] | None = None,
        notes: Sequence[str] = (),
    ) -> Network:
        """The finished network.

        output : name of the node that the graph returns.
        labels, class_layer, blocks, notes : as for `Network`.
        """
        names = self.layer_names
        return Network(name, self.module(output), names, self._preprocessing, labels, class_layer, blocks, notes)

    def values(self, image: Tensor) -> dict[str, Tensor]:
        """Name of a node → its value, for the graph so far."""
        values: dict[str, Tensor] = {}
        for node in self._graph.nodes:
            inputs = [values[parent.name] for parent in node.args]
            values[node.name] = self._root.get_submodule(node.target)(*inputs) if inputs else image
        return values

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
