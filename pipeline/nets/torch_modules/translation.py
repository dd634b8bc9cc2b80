"""Translation of a recording, call by call, into operators on maps and vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.errors import DefinitionError
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.opaque import Elementwise, Laid, Opaque, Order, measured_spans
from pipeline.nets.operators import Concat, GlobalPool, InnerProduct, Operator, Reshape, Slice, Softmax
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.rearranging import FILLED, Constant, Detach, LayerNorm, Moved, TokenConcat, Tokens
from pipeline.nets.sliding import Convolution
from pipeline.nets.torch_modules.capture import Capture, Rows, order_of
from pipeline.nets.torch_modules.forms import (
    Form,
    Patches,
    Shape,
    axis_roles,
    broadcasts,
    constant_map,
    cropped,
    followed,
    is_sequence,
    kept,
    map_shape,
    resized,
    tokens_of,
)
from pipeline.nets.torch_modules.functions import ELEMENTWISE, MOVING, RESHAPES, Operand, Varying, from_function
from pipeline.nets.torch_modules.recording import PASSED_ON, Call, Ref, replaced
from pipeline.nets.torch_modules.replay import Batch

PATCHES = "@patches"  # ends the name of the map of patches of a sequence that begins with a class token

_PERMUTES = frozenset({"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "T", "mT", "t"})
_MAP_FUNCTIONS = frozenset(
    {
        "conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d",
        "interpolate", "batch_norm", "pixel_shuffle", "local_response_norm",
    }
)  # fmt: skip
_MIXING = frozenset({"matmul", "bmm", "einsum", "scaled_dot_product_attention", "multi_head_attention_forward"})


_RECURRENT = frozenset({"gru", "lstm", "rnn_tanh", "rnn_relu"})


class Translation:
    """Walks a recording and builds the graph of operators.

    A recorded value is a `Form` as soon as it is known to be a map, a vector or a sequence. Others wait: what is
    computed through them becomes one opaque operator between two forms.
    """

    def __init__(self, capture: Capture, preprocessing: Preprocessing) -> None:
        self.capture, self.builder = capture, GraphBuilder(preprocessing)
        self.preprocessing = preprocessing
        image = capture.first.image
        shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        self.forms: dict[int, Form] = {image: Form(self.builder.input, shape, Order("first", shape))}
        self.image = image
        self.layers: dict[str, int] = {}  # name of a layer → its value
        self.blocks: list[str] = []  # names of the layers that modules returned
        self._views: dict[str, tuple[str, str]] = {}  # sequence → nodes of its class token and of its patches

    def network(self, output: int, labels: Sequence[str], class_layer: str | None) -> Network:
        self.output, live = output, self._live(output)
        for call in self.capture.first.calls:
            for value in call.results:
                if value in live and value not in self.forms and self.capture.depends(value):
                    form = self._translated(call, value)
                    if form is not None:
                        self.forms[value] = form
        returned = self.forms.get(output) or self._adopted(output)
        if returned is None:
            raise DefinitionError(
                f"network {self.capture.name}: its result does not have one row for each image; keep the batch first"
            )
        self.returned = returned
        self._name(live)
        if not self.builder.layer_names:
            raise DefinitionError(
                f"network {self.capture.name}: no value that it computes depends on the image; check its forward"
            )
        return self.builder.build(self.capture.name, returned.node, labels, class_layer, self.blocks)

    def _live(self, output: int) -> set[int]:
        """The values that a result of the module needs."""
        results = [at for at in self.capture.first.result.values() if self.capture.depends(at)]
        live, waiting = set(), [output, *results]
        while waiting:
            at = waiting.pop()
            if at in live:
                continue
            live.add(at)
            if self.capture.first.values[at].call is not None:
                waiting.extend(self.capture.call_of(at).reads)
        return live

    # One call -----------------------------------------------------------------------------------------

    def _translated(self, call: Call, value: int) -> Form | None:
        """The form of a call's result, or None for a value that waits."""
        rows = self.capture.rows(value)
        if rows is None:
            return None
        passed = self._passed_on(call)
        if passed is not None:
            return passed
        if call.name == "detach" or call.name == "data":
            below = self.forms.get(call.reads[0])
            return None if below is None else self._add(call, Detach(), [below], below)
        try:
            for rule in (self._relaid, self._tabled, self._of_channels, self._joined, self._moved, self._elementwise):
                form = rule(call, value, rows)
                if form is not None:
                    return form
        except DefinitionError as error:
            text = str(error)
            whole = text if text.startswith("network ") else f"network {self.capture.name}: {call.layer}: {text}"
            raise DefinitionError(whole) from None
        return self._like_its_operand(call, value, rows)

    def _add(
        self, call: Call | None, operator: Operator, parents: Sequence[Form], like: Form, shape: Shape | None = None
    ) -> Form:
        """The form of a new node, which lies like another form. shape : of its value, if it is another."""
        node = self.builder.add(
            call.layer if call is not None else operator.kind, operator, [parent.node for parent in parents], None
        )
        tokens = kept(like.tokens, like.shape if shape is None else shape)
        if tokens is not None:
            mixed = tokens.mixed or any(parent.tokens is not None and parent.tokens.mixed for parent in parents)
            tokens = replace(tokens, mixed=mixed)
        if shape is None or shape == like.shape:
            return replace(like, node=node, tokens=tokens)
        return Form(node, shape, resized(like.order, like.shape, shape), tokens)

    def _operand_forms(self, call: Call) -> list[Form] | None:
        """The forms of the values that depend on the image, in the order of the arguments; None if one has none."""
        forms = [self.forms.get(at) for at in call.reads if self.capture.depends(at)]
        return None if any(form is None for form in forms) else forms  # type: ignore[return-value]

    # Rules --------------------------------------------------------------------------------------------

    def _relaid(self, call: Call, value: int, rows: Rows) -> Form | None:
        """reshape, view, permute and the like: the same node in another order, where that is all they do."""
        if call.name in RESHAPES:
            below = self.forms.get(call.reads[0])
            return None if below is None or below.plain else self._reshaped(call, below, value, rows)
        if call.name not in _PERMUTES:
            return None
        below = self.forms.get(call.reads[0])
        if below is None or len(below.shape) != 3:
            return None
        old, new = axis_roles(below.order), self._permuted(call, value)
        if new is None or len(new) != len(old):
            return None
        roles = tuple(old[at] for at in new)
        sizes = self.capture.shape(value)
        for axes in ("first", "last", "sequence"):
            order = order_of(axes, sizes, rows)
            if roles == axis_roles(order) and (below.order.rows == 1 or axes == below.order.axes == "last"):
                return replace(below, order=order)
        return None

    def _permuted(self, call: Call, value: int) -> tuple[int, ...] | None:
        """The old axis at each new place, found by permuting a tensor whose axes have different lengths."""
        rank = len(self.capture.shape(call.reads[0]))
        lengths = (2, 3, 5, 7, 11, 13, 17, 19)[:rank]
        args, kwargs = self.capture.merged(call)
        probe = torch.empty(lengths)

        def given(part: object) -> object:
            return probe if isinstance(part, Ref) else part

        result = call.function(*replaced(args, given), **replaced(kwargs, given))
        return tuple(lengths.index(length) for length in result.shape) if result.dim() == rank else None

    def _reshaped(self, call: Call, below: Form, value: int, rows: Rows) -> Form | None:
        """A reshape of a tensor that is not the map itself."""
        order, shape = below.order, below.shape
        rest = order_of("last", self.capture.shape(value), rows).shape
        if rows.axis != 0 or not rest or len(shape) != 3:
            return None
        channels, height, width = shape
        if order.axes == "last" and rest[-1] == channels and (rest != (channels,) or rows.each > 1):
            if rows.each == 1 and len(rest) == 3 and rest[:2] != (height, width):
                map_of = (channels, *rest[:2])
                return self._add(None, Reshape(map_of), [below], Form("", map_of, Order("last", rest)))
            return replace(below, order=Order("last", rest, rows.each))
        if rows.each == 1 and rest == (channels,) and height * width == 1:
            return self._add(call, Reshape(rest), [below], Form("", rest, Order("first", rest)))
        if order.axes == "first" and order.rows == rows.each == 1:
            if len(rest) == 1:
                return self._add(call, Reshape(rest), [below], Form("", rest, Order("first", rest)))
            if rest[0] == channels and len(rest) == 3:
                if rest == shape:
                    return replace(below, order=Order("first", rest))
                return self._add(call, Reshape(rest), [below], Form("", rest, Order("first", rest)))
            if rest[0] == channels:
                return replace(below, order=Order("first", rest))
        return None

    def _tabled(self, call: Call, value: int, rows: Rows) -> Form | None:
        """The operators of functions.py, on maps and vectors as they are."""
        if call.name in _MAP_FUNCTIONS and call.reads[0] not in self.forms and self.capture.depends(call.reads[0]):
            self._adopt_map(call.reads[0])
        forms = self._operand_forms(call)
        result = order_of("first", self.capture.shape(value), rows).shape
        reshaped = forms and call.name in RESHAPES and len(forms[0].shape) == len(result) == 3
        if reshaped and forms[0].positions > 1 and result[0] != forms[0].shape[0]:
            return None  # channels become positions, as where channels are shuffled
        if not forms or rows != Rows(0, 1) or not all(form.plain for form in forms):
            return self._reshaped_plain(call, value, rows, forms) if forms else None
        piece = self._piece(call, value, forms)
        if piece is None:
            positional, keywords = self._arguments(call, self._operand)
            if len(call.results) > 1 and not call.overwrites:
                return self._reshaped_plain(call, value, rows, forms)
            made = from_function(call.name, positional, keywords, result)
            if made is None or len(result) not in (1, 3):
                return self._reshaped_plain(call, value, rows, forms)
            operator, read = made
            by_name = {form.node: form for form in forms}
            parents = [by_name[operand.name] for operand in read]
        else:
            operator, parents = piece
        return self._add(call, operator, parents, Form("", result, Order("first", result)))

    def _reshaped_plain(self, call: Call, value: int, rows: Rows, forms: list[Form]) -> Form | None:
        """A plain map as a sequence (batch, channel, token), or a plain vector as tokens (batch, 1, channel)."""
        if call.name not in RESHAPES or not forms[0].plain:
            return None
        below, rest = forms[0], order_of("last", self.capture.shape(value), rows).shape
        if rows != Rows(0, 1):
            return None
        if len(below.shape) == 3:
            return self._reshaped(call, below, value, rows)
        if rest[-1] == below.shape[0]:
            map_of = (below.shape[0], 1, 1)
            return self._add(call, Reshape(map_of), [below], Form("", map_of, Order("last", rest)))
        return None

    def _piece(self, call: Call, value: int, forms: list[Form]) -> tuple[Operator, list[Form]] | None:
        """One piece of chunk or split along the channels of a plain map."""
        if call.name not in ("chunk", "split", "tensor_split", "split_with_sizes"):
            return None
        shapes = [self.capture.shape(at) for at in call.results]
        if sum(shape[1] for shape in shapes) != forms[0].shape[0] or len({shape[2:] for shape in shapes}) != 1:
            return None
        place = call.results.index(value)
        start = sum(shape[1] for shape in shapes[:place])
        return Slice(start, start + shapes[place][1]), forms[:1]

    def _of_channels(self, call: Call, value: int, rows: Rows) -> Form | None:
        """Functions of each position's channels in a tensor whose last axis they are: linear, layer_norm, means."""
        if call.name == "linear" or (call.name == "matmul" and not self.capture.depends(call.reads[-1])):
            return self._linear(call, value)
        if call.name == "layer_norm":
            return self._layer_norm(call, value)
        if call.name == "batch_norm":
            return self._batch_norm(call)
        below = self.forms.get(call.reads[0]) if call.reads else None
        if below is None or below.order.axes == "first" or len(call.reads) > 1:
            return None
        args, kwargs = self.capture.merged(call)
        rank = len(self.capture.shape(call.reads[0]))
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        roles = axis_roles(below.order)
        if call.name == "softmax" and isinstance(dims, int) and roles[dims % rank] == "c":
            return self._add(call, Softmax(), [below], below)
        if call.name not in ("mean", "amax") or dims is None:
            return None
        axes = {dim % rank for dim in (dims if isinstance(dims, (tuple, list)) else (dims,))}
        if axes != {at for at, role in enumerate(roles) if role[0] == "p"} or below.order.rows != 1:
            return None
        keep = len(self.capture.shape(value)) == rank
        mode = "mean" if call.name == "mean" else "max"
        channels = below.shape[0]
        shape: Shape = (channels, 1, 1) if keep else (channels,)
        order = order_of(below.order.axes if keep else "first", self.capture.shape(value), rows)
        return self._add(call, GlobalPool(mode, flat=not keep), [below], Form("", shape, order))

    def _linear(self, call: Call, value: int) -> Form | None:
        """A linear layer on tokens or on a channels-last map: a convolution of 1 × 1."""
        args, kwargs = self.capture.merged(call)
        named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        if call.name == "matmul":
            named = dict(zip(("input", "weight"), args, strict=False))
        source, weight, bias = named.get("input"), named.get("weight"), named.get("bias")
        if not isinstance(source, Ref) or not self.capture.depends(source.value):
            return None
        if not isinstance(weight, Ref) or self.capture.depends(weight.value):
            return None
        matrix = self.capture.constant(weight.value)
        shift = self.capture.constant(bias.value) if isinstance(bias, Ref) else None
        shift = None if shift is None else shift.detach()
        if matrix is None or matrix.dim() != 2 or (isinstance(bias, Ref) and shift is None):
            return None
        matrix = matrix.T if call.name == "matmul" else matrix
        below = self.forms.get(source.value) or self._adopted(source.value)
        if below is None:
            return None
        if below.plain and len(below.shape) == 1:
            vector = (matrix.shape[0],)
            return self._add(call, InnerProduct(matrix.detach().contiguous(), shift), [below], below, vector)
        if below.order.axes == "first" or len(below.shape) != 3:
            return None
        operator = Convolution(matrix.detach()[:, :, None, None].contiguous(), shift)
        return self._add(call, operator, [below], below, (matrix.shape[0], *below.shape[1:]))

    def _layer_norm(self, call: Call, value: int) -> Form | None:
        args, kwargs = self.capture.merged(call)
        names = ("input", "normalized_shape", "weight", "bias", "eps")
        named = dict(zip(names, args, strict=False)) | kwargs
        source = named["input"]
        if not isinstance(source, Ref) or not self.capture.depends(source.value):
            return None
        below = self.forms.get(source.value) or self._adopted(source.value)
        if below is None or tuple(named["normalized_shape"]) != (below.shape[0],):
            return None
        if below.order.axes == "first" and len(below.shape) == 3:
            return None
        arrays = []
        for name in ("weight", "bias"):
            array = named.get(name)
            if isinstance(array, Ref) and self.capture.depends(array.value):
                return None
            arrays.append(None if array is None else self.capture.constant(array.value).detach())
        return self._add(call, LayerNorm(*arrays, named.get("eps", 1e-5)), [below], below)

    def _batch_norm(self, call: Call) -> Form | None:
        """Batch normalisation of tokens, (batch, channel, token) or (batch · token, channel)."""
        below = self.forms.get(call.reads[0])
        if below is None or axis_roles(below.order)[1] != "c":
            return None
        positional, keywords = self._arguments(call, self._operand)
        made = from_function(call.name, positional, keywords, below.shape)
        return None if made is None else self._add(call, made[0], [below], below)

    def _joined(self, call: Call, value: int, rows: Rows) -> Form | None:
        """A concatenation of channels, or of tokens."""
        if call.name not in ("cat", "concat", "concatenate"):
            return None
        args, kwargs = self.capture.merged(call)
        named = dict(zip(("tensors", "dim"), args, strict=False)) | kwargs
        sizes = self.capture.shape(value)
        axis = named.get("dim", named.get("axis", 0)) % len(sizes)
        refs = [part.value for part in named["tensors"]]
        known = [self.forms[at] for at in refs if at in self.forms]
        if not known:
            return None
        for at in refs:
            if at not in self.forms and self.capture.depends(at) and self._adopted(at, like=known[0]) is None:
                return None
        parts = [self.forms[at] if at in self.forms else self._constant(at, known[0]) for at in refs]
        if any(part is None or part.order.axes != known[0].order.axes for part in parts):
            return None
        roles = axis_roles(known[0].order)
        if axis >= len(roles) or known[0].order.rows != 1:
            return None
        if roles[axis] == "c":
            if len({part.shape[1:] for part in parts}) != 1:
                return None
            shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
            order = order_of(known[0].order.axes, sizes, rows)
            return self._add(call, Concat(), parts, Form("", shape, order, parts[0].tokens))
        if "p1" in roles or roles[axis] != "p0":
            return None
        shape = (parts[0].shape[0], sum(part.positions for part in parts), 1)
        tokens = tokens_of(parts)
        order = order_of(known[0].order.axes, sizes, rows)
        return self._add(call, TokenConcat(), parts, Form("", shape, order, tokens))

    def _moved(self, call: Call, value: int, rows: Rows) -> Form | None:
        """Functions that only move values: crops, padding, shifts, strides, repetition; followed with numbers."""
        if call.name not in MOVING:
            return None
        depending = [at for at in call.reads if self.capture.depends(at)]
        below = self.forms.get(depending[0]) if depending else None
        if below is None or len(below.shape) != 3 or call.overwrites:
            return None
        target = self._lies_like(below, value, rows)
        if target is None:
            return None
        replay = self.capture.replay(value, depending[:1]) if len(set(depending)) == 1 else None
        if replay is None:  # expand_as(x): the other operand gives its size only
            return self._expanded(call, below, target)
        shape, order = target
        single = shape if len(shape) == 3 else (shape[0], 1, 1)
        function = Laid(replay, [below.order], order, shape)
        index = followed(function, below.shape, single)
        if index is None:
            return None
        channels, moved_rows, moved_columns, fill = index
        form = Form("", single, order, cropped(below, moved_rows))
        still = moved_rows == list(range(below.shape[1])) and moved_columns == list(range(below.shape[2]))
        if still and channels[0] >= 0 and channels == list(range(channels[0], channels[0] + len(channels))):
            if len(channels) == below.shape[0]:
                return Form(below.node, below.shape, order, below.tokens) if single == shape else None
            return self._add(call, Slice(channels[0], channels[0] + len(channels)), [below], form)
        if FILLED in channels:
            return None
        moved = self._add(call, Moved(channels, moved_rows, moved_columns, fill), [below], form)
        if single == shape:
            return moved
        return self._add(call, Reshape(shape), [moved], Form("", shape, order))

    def _expanded(self, call: Call, below: Form, target: tuple[Shape, Order]) -> Form | None:
        """x.expand_as(y): values repeated along the axes on which there is one of them."""
        shape, order = target
        if call.name != "expand_as" or len(shape) != 3 or order.rows != 1:
            return None
        axes = list(zip(below.shape, shape, strict=True))
        if any(size not in (1, wanted) for size, wanted in axes):
            return None
        channels, rows, columns = ([0] * wanted if size == 1 else list(range(wanted)) for size, wanted in axes)
        return self._add(call, Moved(channels, rows, columns, 0.0), [below], Form("", shape, order))

    def _elementwise(self, call: Call, value: int, rows: Rows) -> Form | None:
        """Functions of each entry by itself, of one tensor or of several that lie alike."""
        if call.name not in ELEMENTWISE:
            return None
        depending = [at for at in dict.fromkeys(call.reads) if self.capture.depends(at)]
        known = [self.forms[at] for at in depending if at in self.forms]
        if not known:
            return None
        wide = max(known, key=lambda form: math.prod(form.shape))
        for at in depending:
            if at not in self.forms and self._adopted(at, like=wide) is None:
                return None
        forms = {at: self.forms[at] for at in depending}
        rank = len(self.capture.shape(value))
        target = self._lies_like(wide, value, rows)
        if target is None or target[0] != wide.shape or target[1] != wide.order:
            return None
        for at, form in forms.items():
            if not broadcasts(form, wide) or len(self.capture.shape(at)) != rank:
                return None
        return self._tabled_alike(call, forms, wide) or self._function_alike(call, value, forms, wide)

    def _passed_on(self, call: Call) -> Form | None:
        """The form of the tensor that a call returned as it is; None for another call, or one of a plain map."""
        below = self.forms.get(call.reads[0]) if call.name in PASSED_ON and call.reads else None
        return None if below is None or below.plain else below

    def _tabled_alike(self, call: Call, forms: dict[int, Form], wide: Form) -> Form | None:
        """The operator of functions.py for tensors that lie alike, though not as maps."""

        def operand(at: int) -> object:
            if at in forms:
                return Operand(forms[at].node, forms[at].shape)
            tensor = self.capture.image_constant(at)
            if tensor is None or tensor.dim() == 0 or tensor.numel() == 1:
                return Varying() if tensor is None else tensor
            laid = constant_map(tensor, wide, self._rank(forms, wide))
            return Varying() if laid is None else laid

        positional, keywords = self._arguments(call, operand)
        made = from_function(call.name, positional, keywords, wide.shape)
        if made is None:
            return None
        operator, read = made
        by_name = {form.node: form for form in forms.values()}
        return self._add(call, operator, [by_name[one.name] for one in read], wide)

    def _function_alike(self, call: Call, value: int, forms: dict[int, Form], wide: Form) -> Form | None:
        """The function itself as an operator on maps, with constants as maps beside them."""
        inputs, parents = list(forms), list(forms.values())
        constants = [at for at in dict.fromkeys(call.reads) if not self.capture.depends(at)]
        for at in constants:
            tensor = self.capture.image_constant(at)
            if tensor is None:
                return None
            if tensor.numel() > 1:
                laid = constant_map(tensor, wide, self._rank(forms, wide))
                if laid is None:
                    return None
                constant = Form("", tuple(laid.shape), wide.order)
                parents.append(self._add(None, Constant(laid), [self.forms[self.image]], constant))
                inputs.append(at)
        function = self.capture.replay(value, inputs)
        return self._add(call, Elementwise(function, function.description()), parents, wide)

    def _rank(self, forms: dict[int, Form], wide: Form) -> int:
        return max(len(self.capture.shape(at)) for at in forms)

    # Functions without a rule ------------------------------------------------------------------------------

    def _like_its_operand(self, call: Call, value: int, rows: Rows) -> Form | None:
        """A function of forms whose result lies as its operand does; None for other results, which wait."""
        forms = self._operand_forms(call)
        if not self.capture.first.values[value].tensor.is_floating_point():
            return None
        if forms is None:
            return self._map_again(call, value, rows)
        if not forms:
            return None
        wide = max(forms, key=lambda form: math.prod(form.shape))
        if len(wide.shape) != 3 and len(self.capture.shape(value)) != 2:
            return None
        vector, several = len(self.capture.shape(value)) == 2, len(call.results) > 1 and not call.overwrites
        if not vector and (several or call.name in RESHAPES or call.name in _PERMUTES):
            return None
        same = self.capture.shape(value)[-1] == wide.shape[0] or call.name not in _MIXING
        if not vector and wide.order.axes != "first" and not same:
            return None
        target = self._lies_like(wide, value, rows)
        return None if target is None else self._opaque(value, *target, call, kept(wide.tokens, target[0]))

    def _map_again(self, call: Call, value: int, rows: Rows) -> Form | None:
        """The form of a value of waiting ones that has the shape of the map that they came from, as after an FFT."""
        sizes = self.capture.shape(value)
        if rows != Rows(0, 1) or len(sizes) != 4:
            return None
        near = [self.forms[at] for at in self.capture.boundary(value, self.forms)]
        if not any(form.plain and form.shape == sizes[1:] for form in near):
            return None
        return self._opaque(value, sizes[1:], Order("first", sizes[1:]), call)

    def _lies_like(self, form: Form, value: int, rows: Rows) -> tuple[Shape, Order] | None:
        """The shape and order of a value as a map or vector if it lies as a form does; None if it cannot."""
        sizes = self.capture.shape(value)
        if form.order.axes == "sequence":
            if len(sizes) != 3 or rows != Rows(1, 1):
                return None
        elif rows.axis != 0 or rows.each != form.order.rows:
            return None
        order = order_of(form.order.axes, sizes, rows)
        if len(order.shape) == 1:
            return (order.shape, Order("first", order.shape)) if rows.each == 1 else None
        if len(order.shape) != len(form.order.shape) or len(form.shape) == 1:
            return None
        shape = map_shape(order, form)
        return None if shape is None else (shape, order)

    def _adopt_map(self, value: int) -> None:
        """Take a waiting 4-D tensor for a map, because a function reads it as one."""
        rows, sizes = self.capture.rows(value), self.capture.shape(value)
        if rows == Rows(0, 1) and len(sizes) == 4:
            self.forms[value] = self._opaque(value, sizes[1:], Order("first", sizes[1:]), None)

    def _adopted(self, value: int, like: Form | None = None) -> Form | None:
        """The form of a waiting value: of tokens or of a channels-last map, or as another form lies.

        It and everything that waits below it become one opaque operator.
        """
        rows, sizes = self.capture.rows(value), self.capture.shape(value)
        if rows is None or not self.capture.first.values[value].tensor.is_floating_point():
            return None
        if like is not None:
            target = self._lies_like(like, value, rows)
            if target is None:
                return None
            form = self._opaque(value, *target, None, kept(like.tokens, target[0]))
        elif len(sizes) == 2 and rows == Rows(0, 1):
            form = self._opaque(value, sizes[1:], Order("first", sizes[1:]), None)
        else:
            axes = "last" if rows.axis == 0 else "sequence"
            if len(sizes) < 3 or rows.axis > 1 or (axes == "sequence" and (len(sizes) != 3 or rows.each != 1)):
                return None
            if not self.capture.batch_major(value):
                return None
            order = order_of(axes, sizes, rows)
            channels = sizes[-1]
            positions = math.prod(order.shape[:-1]) * rows.each if axes == "last" else sizes[0]
            map_of, tokens = self._map_of(value, order, positions)
            form = self._opaque(value, (channels, *map_of), order, None, tokens)
        while form is not None:
            self.forms[value] = form
            call = self.capture.call_of(value)
            if call.name not in PASSED_ON or call.reads[0] in self.forms:
                break
            value = call.reads[0]
        return form

    def _adopt_named(self, value: int) -> None:
        """The form of a waiting value that a module returned, where what lies below tells how it lies."""
        rows, sizes = self.capture.rows(value), self.capture.shape(value)
        if rows is None:
            return
        near = [self.forms[at] for at in self.capture.boundary(value, self.forms)]
        for form in near if len(sizes) > 2 else ():
            target = self._lies_like(form, value, rows)
            if target is not None and len(target[0]) == 3 and target[0][1:] == form.shape[1:]:
                self._adopted(value, like=form)
                return
        if len(sizes) == 4 and rows == Rows(0, 1):
            known = self._seen_map(value, {sizes[1:]: "first", (sizes[3], *sizes[1:3]): "last"})
            if known is not None:
                self._adopt_as(value, known.shape, Order(known.order.axes, sizes[1:]))
                return
        if self.capture.fixed and sizes[0] > 1 and len(sizes) in (1, 3):  # (unit,) or (channel, row, column)
            self._adopt_as(value, sizes, Order("first", sizes[1:], sizes[0]))
            return
        tokens = any(form.positions == rows.each for form in near)
        if rows.axis == 0 and rows.each > 1 and len(sizes) in (2, 4) and not tokens:  # parts as more images
            axes = "first" if self.capture.batch_major(value) else "copies"
            if axes == "first" or self.capture.copies(value):
                self._adopt_as(value, (rows.each * sizes[1], *sizes[2:]), Order(axes, sizes[1:], rows.each))
            return
        recurrent = self.capture.call_of(value).name in _RECURRENT
        sequence = len(sizes) == 3 and rows.axis < 2
        sequence = sequence and (recurrent or any(sizes[1 - rows.axis] == form.positions for form in near))
        if sequence or (len(sizes) == 2 and rows == Rows(0, 1)):
            self._adopted(value)
        elif len(sizes) == 5 and rows == Rows(0, 1):  # (branch, channel, row, column)
            self._adopt_as(value, (sizes[1] * sizes[2], *sizes[3:]), Order("first", sizes[1:]))
        elif len(sizes) >= 3 and rows.axis == 0 and self.capture.batch_major(value):  # (head, token, channel)
            places = rows.each * math.prod(sizes[1:-1])
            self._adopt_as(value, (sizes[-1], places, 1), Order("last", sizes[1:], rows.each))

    def _adopt_as(self, value: int, shape: Shape, order: Order) -> None:
        form = self._opaque(value, shape, order, None)
        if form is not None:
            self.forms[value] = form

    def _seen_map(self, value: int, shapes: dict[Shape, str]) -> Form | None:
        """The nearest form below a value with one of the shapes and the order of axes that it goes with."""
        seen, waiting = {value}, [value]
        while waiting:
            at = waiting.pop(0)
            form = self.forms.get(at)
            if form is not None and shapes.get(form.shape) == form.order.axes and len(form.order.shape) == 3:
                return form
            if self.capture.first.values[at].call is not None:
                below = [read for read in self.capture.call_of(at).reads if read not in seen]
                seen.update(below)
                waiting += [read for read in below if self.capture.depends(read)]
        return None

    def _map_of(self, value: int, order: Order, positions: int) -> tuple[tuple[int, int], Patches | None]:
        """Rows and columns of a sequence of so many tokens: those of the nearest form with as many positions."""
        if order.axes == "last" and order.rows == 1 and len(order.shape) == 3:
            return (order.shape[0], order.shape[1]), None
        seen, waiting = set(), [value]
        while waiting:
            at = waiting.pop(0)
            if at in seen or not self.capture.depends(at):
                continue
            seen.add(at)
            form = self.forms.get(at)
            known = form is not None and len(form.shape) == 3 and form.positions == positions
            if known and at != self.image and form.order.rows == order.rows:
                return form.shape[1:], form.tokens
            if self.capture.first.values[at].call is not None:
                waiting.extend(self.capture.call_of(at).reads)
        size = self.preprocessing
        side = math.isqrt(positions * size.height // size.width)
        if order.rows == 1 and side and positions % side == 0 and side * size.width == positions // side * size.height:
            return (side, positions // side), None
        return (positions, 1), None

    def _opaque(
        self, value: int, shape: Shape, order: Order, call: Call | None, tokens: Patches | None = None
    ) -> Form | None:
        """Everything between the nearest forms and a value as one operator, whose reach is measured."""
        inputs = self.capture.boundary(value, self.forms)
        calls = self.capture.between(value, self.forms)
        call = call if call is not None else self.capture.call_of(value)
        if not inputs:
            return None
        parents = [self.forms[at] for at in inputs]
        replay = self.capture.replay(value, inputs)
        function = Laid(replay, [parent.order for parent in parents], order, shape)
        like = Form("", shape, order, None if tokens is None else replace(tokens, mixed=True))
        if len(parents) == 1 and len(shape) == len(parents[0].shape) == 3 and _only_moves(calls):
            index = followed(function, parents[0].shape, shape)
            if index is not None and FILLED not in index[0]:
                return self._add(call, Moved(*index), parents, like)
        operands = [self._example(at, parent) for at, parent in zip(inputs, parents, strict=True)]
        spans = None
        if len(shape) == 3 and not any(is_sequence(each) for each in (shape, *(parent.shape for parent in parents))):
            values = [self.capture.first.values[made] for each in calls for made in each.results]
            spans = measured_spans(
                function, operands, sum(made.tensor.numel() for made in values) // len(self.capture.tensor(self.image))
            )
        operator = Opaque(function, replay.description(), [parent.shape for parent in parents], spans)
        return self._add(call, operator, parents, like)

    def _example(self, value: int, form: Form) -> Tensor:
        """What a form holds for one image, or noise where that has been overwritten."""
        recorded = self.capture.first.values[value]
        if recorded.intact:
            rolled = form.order.rolled(recorded.tensor, form.shape)
            return rolled[:1].contiguous()
        return torch.randn(1, *form.shape, generator=torch.Generator().manual_seed(1))

    # Arguments --------------------------------------------------------------------------------------------

    def _arguments(self, call: Call, operand: Callable[[int], object]) -> tuple[list[object], dict[str, object]]:
        """The arguments of a call for functions.py; operand : number of a value → what stands for it."""
        args, kwargs = self.capture.merged(call)

        def given(part: object) -> object:
            if isinstance(part, Ref):
                return operand(part.value)
            return Varying() if isinstance(part, Batch) else part

        return list(replaced(args, given)), replaced(kwargs, given)  # type: ignore[return-value,arg-type]

    def _operand(self, value: int) -> object:
        form = self.forms.get(value)
        if form is not None:
            return Operand(form.node, form.shape)
        tensor = self.capture.constant(value)
        return Varying() if tensor is None else tensor

    def _constant(self, value: int, like: Form) -> Form | None:
        """A value that no pixel decides as a node, if it lies as a form does."""
        tensor, rows = self.capture.image_constant(value), self.capture.rows(value)
        if tensor is None or not tensor.is_floating_point():
            return None
        axis = 1 if like.order.axes == "sequence" else 0
        if rows is None and tensor.shape[axis] != 1:
            return None
        order = order_of(like.order.axes, tensor.shape, Rows(axis, 1))
        shape = map_shape(order, None)
        if shape is None:
            return None
        return self._add(
            None,
            Constant(order.rolled(tensor, shape)[0].contiguous()),
            [self.forms[self.image]],
            Form("", shape, order),
        )

    # Names ------------------------------------------------------------------------------------------------

    def _name(self, live: set[int]) -> None:
        """Give the nodes their names as layers, in the order of the calls.

        A node that modules returned has their names, the innermost first; another has the name of its function.
        """
        found: dict[str, list[tuple[str, int]]] = {}  # node → (name, value)
        functions: dict[str, tuple[str, int]] = {}
        for call in self.capture.first.calls:
            for value in call.results:
                if value in live and value not in self.forms and self.capture.first.values[value].names:
                    self._adopt_named(value)
        moved = self._moved_by_the_image()
        for call in self.capture.first.calls:
            for place, value in enumerate(call.results):
                if value not in live or not self.capture.depends(value):
                    continue
                recorded = self.capture.first.values[value]
                form = self.forms.get(value)
                if form is None or form.node not in moved or not recorded.tensor.is_floating_point():
                    continue
                suffix = "" if len(call.results) == 1 else f"[{place}]"
                functions.setdefault(form.node, (call.layer + suffix, value))
                found.setdefault(form.node, []).extend((name, value) for name in recorded.names)
        for node, names in found.items():
            self.blocks += [name for name, _ in names]
            for name, value in names or [functions[node]]:
                self._name_form(name, self.forms[value], value)

    def _moved_by_the_image(self) -> frozenset[str]:
        """The nodes from which a gradient reaches the image: not the detached, the constant and the counted ones."""
        first = self.capture.first
        given = first.values[first.image].tensor[:1] / torch.from_numpy(self.preprocessing.gain).float().view(-1, 1, 1)
        with torch.enable_grad():
            values = self.builder.values(given.requires_grad_())
        return frozenset(node for node, value in values.items() if value.requires_grad)

    def _name_form(self, name: str, form: Form, value: int) -> None:
        layers = self.builder.layer_names
        if name in layers:
            return
        self.layers[name] = value
        if form.tokens is None:
            layers[name] = form.node
            return
        if form.node not in self._views:
            self._views[form.node] = self._token_views(name, form)
        token, patches = self._views[form.node]
        if not form.tokens.mixed:  # no pixel decides the class token
            layers[name] = patches
            layers.setdefault(name + PATCHES, patches)
            return
        layers[name + PATCHES] = patches
        layers[name] = token

    def _token_views(self, name: str, form: Form) -> tuple[str, str]:
        """The nodes of a sequence's class token and of its map of patches."""
        tokens, channels = form.tokens, form.shape[0]
        assert tokens is not None
        first = Tokens(0, (channels,))
        patches = Tokens(tokens.prefix, (channels, tokens.rows, tokens.columns))
        return (
            self.builder.add(f"{name}_class", first, [form.node], None),
            self.builder.add(f"{name}_patches", patches, [form.node], None),
        )


def _only_moves(calls: Sequence[Call]) -> bool:
    return all(call.name in MOVING | RESHAPES | _PERMUTES and not call.overwrites for call in calls)
