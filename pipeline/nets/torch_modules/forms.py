"""How a recorded tensor lies over a node of our graph, whose values are maps and vectors only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pipeline.nets.opaque import Order
from pipeline.nets.rearranging import FILLED

Shape = tuple[int, ...]  # (channel, row, column) or (unit,)


@dataclass(frozen=True)
class Patches:
    """Which tokens of a sequence are patches: `prefix` others come first, then a map of rows × columns.

    mixed : whether the image enters the first tokens too, as it does after attention.
    """

    prefix: int
    rows: int
    columns: int
    mixed: bool = False


@dataclass(frozen=True)
class Form:
    """A recorded tensor as a node of our graph, whose values are maps and vectors.

    node : of the graph. shape : of its value, without the batch.
    order : how the recorded tensor lies over it.
    tokens : of a sequence whose tokens are not a map.
    """

    node: str
    shape: Shape
    order: Order
    tokens: Patches | None = None

    @property
    def plain(self) -> bool:
        """Whether the recorded tensor is the node's value itself."""
        return self.order == Order("first", self.shape)

    @property
    def positions(self) -> int:
        return math.prod(self.shape[1:])


def axis_roles(order: Order) -> tuple[str, ...]:
    """What each axis of a tensor is: b (batch), c (channels), p0, p1, … (positions)."""
    places = tuple(f"p{at}" for at in range(len(order.shape) - 1))
    if order.axes == "first":
        return ("b", "c", *places)
    return ("b", *places, "c") if order.axes == "last" else (*places, "b", "c")


def resized(order: Order, old: Shape, new: Shape) -> Order:
    """The order after the channels changed in number, at the same positions."""
    if len(new) == 1 or order.axes == "first":
        return Order("first", (new[0], *order.shape[1:]), order.rows)
    return Order(order.axes, (*order.shape[:-1], new[0]), order.rows)


def kept(tokens: Patches | None, shape: Shape) -> Patches | None:
    same = tokens is not None and len(shape) == 3 and shape[1] >= tokens.prefix + tokens.rows * tokens.columns
    return tokens if same else None


def map_shape(order: Order, like: Form | None) -> Shape | None:
    """(channel, row, column) of a tensor of that order.

    like : a form; a sequence of as many tokens is the same map.
    """
    channels = order.shape[0] if order.axes == "first" else order.shape[-1]
    places = order.shape[1:] if order.axes == "first" else order.shape[:-1]
    count = math.prod(places) * order.rows
    same = like is not None and count == like.positions
    if same and (len(places) != 2 or places == like.shape[1:] or order.rows > 1):
        return channels, *like.shape[1:]
    if order.rows > 1:
        return None
    if len(places) == 2:
        return channels, *places
    return (channels, places[0], 1) if len(places) == 1 else None


def broadcasts(form: Form, wide: Form) -> bool:
    """Whether an operator may combine a form with the widest one."""
    if form.order.axes != wide.order.axes or form.order.rows != wide.order.rows or len(form.shape) != len(wide.shape):
        return form.shape == wide.shape and form.order == wide.order
    return all(size in (1, most) for size, most in zip(form.shape, wide.shape, strict=True)) and (
        form.shape[1:] == wide.shape[1:] or form.shape[1:] == (1, 1)
    )


def constant_map(tensor: Tensor, wide: Form, rank: int) -> Tensor | None:
    """A constant tensor as it lies over a form, (channel, row, column) or (unit,), with 1 where it is repeated."""
    tensor = tensor.reshape(*[1] * (rank - tensor.dim()), *tensor.shape)
    roles = axis_roles(wide.order) if len(wide.shape) == 3 else ("b", "c")
    if tensor.dim() != len(roles) or tensor.shape[roles.index("b")] != 1:
        return None
    channel = tensor.movedim(roles.index("b"), 0)[0]
    if len(wide.shape) == 1:
        return channel
    roles = tuple(role for role in roles if role != "b")
    channel = channel.movedim(roles.index("c"), 0)
    if channel[0].numel() == 1:
        return channel.reshape(-1, 1, 1)
    if wide.order.rows != 1 or channel[0].numel() != wide.positions:
        return None
    return channel.reshape(channel.shape[0], *wide.shape[1:])


def tokens_of(parts: Sequence[Form]) -> Patches | None:
    """Which tokens of a concatenation are patches: those of its one map, if that comes last."""
    maps = [part for part in parts if part.positions > 1 and part.shape[2] > 1]
    if len(maps) != 1 or maps[0] is not parts[-1]:
        known = [part for part in parts if part.tokens is not None]
        if len(known) == 1 and known[0] is parts[-1]:
            tokens = known[0].tokens
            assert tokens is not None
            return replace(tokens, prefix=tokens.prefix + sum(part.positions for part in parts[:-1]))
        return None
    return Patches(sum(part.positions for part in parts[:-1]), *maps[0].shape[1:])


def cropped(below: Form, rows: Sequence[int]) -> Patches | None:
    """Which tokens are patches after some rows of a sequence were taken."""
    tokens = below.tokens
    if tokens is None or not rows or list(rows) != list(range(rows[0], rows[0] + len(rows))):
        return None
    prefix = tokens.prefix - rows[0]
    whole = prefix > 0 and rows[-1] + 1 >= tokens.prefix + tokens.rows * tokens.columns
    return replace(tokens, prefix=prefix) if whole else None


def is_sequence(shape: Shape) -> bool:
    """Whether a map is a sequence of tokens, in which neighbours need not be neighbours in the image."""
    return len(shape) == 3 and shape[2] == 1 < shape[1]


@torch.no_grad()
def followed(function: nn.Module, given: Shape, made: Shape) -> tuple[list[int], list[int], list[int], float] | None:
    """Where each output of a function comes from: channels, rows and columns of its input, and the fill value.

    None unless output channels come from channels, rows from rows and columns from columns, each for itself. The
    function is run on maps that hold the number of the channel, row or column, once counted from 1 and once from
    further on: what differs was moved, what does not was filled.
    """
    indices, fills = [], set()
    for axis, size in enumerate(given):
        numbers = torch.arange(size, dtype=torch.float32).view(*(-1 if at == axis else 1 for at in range(3)))
        try:
            first, second = (
                function((numbers + shift).expand(1, *given).contiguous())[0].reshape(made) for shift in (1, 1 + size)
            )
        except RuntimeError:  # it mixes what it is given with something of another kind
            return None
        moved = second - first == size
        filled = second == first
        if not bool((moved | filled).all()):
            return None
        fills |= set(first[filled].unique().tolist())
        index = torch.where(moved, first - 1, FILLED).long()
        others = tuple(at for at in range(3) if at != axis)
        # Filled is where any of the three is filled: along each axis the moved entries must agree.
        low = index.masked_fill(~moved, size).amin(dim=others)
        high = index.masked_fill(~moved, -1).amax(dim=others)
        if bool(((low != high) & (high >= 0)).any()):
            return None
        indices.append(high.tolist())
        pattern = moved
    if len(fills) > 1:
        return None
    channels, rows, columns = indices
    masks = [torch.tensor([at != FILLED for at in index]) for index in indices]
    expected = masks[0][:, None, None] & masks[1][None, :, None] & masks[2][None, None, :]
    if not torch.equal(pattern, expected):
        return None
    return channels, rows, columns, fills.pop() if fills else 0.0
