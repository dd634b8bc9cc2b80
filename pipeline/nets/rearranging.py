"""Operators that move values to other positions: crops, padding, shifts, strides, resampling, sequences of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.nets.interval import Interval, Part
from pipeline.nets.operators import BOUND, Operator

FILLED = -1  # in an index: the output is the fill value


class Constant(Operator):
    """A map or vector that no pixel decides, such as coordinates or embeddings of positions."""

    kind = "constant"

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value, requires_grad=False)  # without the batch

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        return Interval(0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), *self.weight.shape)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        value = self.weight
        if value.dim() == 3:
            value = value[:, rows.wanted.as_slice(), columns.wanted.as_slice()]
        return value.expand(len(inputs[0]), *value.shape)

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.wanted.start,)


class Detach(Operator):
    """The input itself, through which no gradient passes."""

    kind = "identity"

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Moved(Operator):
    """Output (c, y, x) is input (channels[c], rows[y], columns[x]), or the fill value where an index is FILLED.

    It covers crops, padding of every mode, shifts, flips, strides, repetition and permuted channels, exactly.
    """

    kind = "function"

    def __init__(self, channels: Sequence[int], rows: Sequence[int], columns: Sequence[int], fill: float) -> None:
        super().__init__()
        self.fill = fill
        self.counts = (len(channels), len(rows), len(columns))
        for name, index in (("channels", channels), ("rows", rows), ("columns", columns)):
            self.register_buffer(name, torch.tensor(list(index), dtype=torch.int64))
        self._axes = (list(rows), list(columns))
        self._plain = list(channels) == list(range(len(channels)))
        self._shifts = tuple(_shift(axis) for axis in self._axes)
        self.regular = None not in self._shifts
        self.combines = False

    def settings(self) -> dict[str, object]:
        return {"fill": self.fill}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        shift = self._shifts[axis]
        if shift is not None:
            return Interval(wanted.start + shift, wanted.stop + shift)
        inside = wanted.clip(len(self._axes[axis]))
        read = [at for at in self._axes[axis][inside.as_slice()] if at != FILLED]
        return Interval(min(read), max(read) + 1) if read else Interval(0, 0)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        parts = [Part(Interval(0, count), Interval(0, size), size)
                 for count, size in zip(self.counts[1:], (height, width), strict=True)]  # fmt: skip
        return self.on_part([x], *parts)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x, filled, masks = inputs[0], False, []
        if not x.shape[2] * x.shape[3]:  # it reads nothing but what is filled in
            return x.new_full((len(x), len(self.channels), len(rows.wanted), len(columns.wanted)), self.fill)
        if not (self._plain and len(self.channels) == x.shape[1]):
            x = x[:, self.channels]
        for axis, part in enumerate((rows, columns)):
            index = (self.rows, self.columns)[axis][part.wanted.as_slice()]
            filled = filled or FILLED in self._axes[axis][part.wanted.as_slice()]
            masks.append(index == FILLED)
            x = x.index_select(2 + axis, (index - part.given.start).clamp(0, max(0, x.shape[2 + axis] - 1)))
        if filled:
            x = x.masked_fill(masks[0][:, None] | masks[1][None, :], self.fill)
        return x

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        index = self._axes[axis][part.wanted.as_slice()]
        return tuple(at - part.given.start if at != FILLED else FILLED for at in index)


def _shift(index: Sequence[int]) -> int | None:
    """The number that turns outputs into inputs if the index is a crop or a constant padding, else None."""
    inside = [(at, read) for at, read in enumerate(index) if read != FILLED]
    if not inside:
        return None
    shift = inside[0][1] - inside[0][0]
    first, last = inside[0][0], inside[-1][0]
    dense = last - first + 1 == len(inside) and all(read - at == shift for at, read in inside)
    return shift if dense else None


class Resize(Operator):
    """Rows and columns mixed by two fixed matrices: interpolation, and pooling to windows of unequal sizes.

    rows : (output row, input row); columns likewise.
    """

    kind = "function"
    regular = False

    def __init__(self, rows: Tensor, columns: Tensor, kind: str = "function") -> None:
        super().__init__()
        self.kind = kind
        self.rows, self.columns = (nn.Parameter(matrix, requires_grad=False) for matrix in (rows, columns))
        self._read = tuple([_span(row) for row in matrix.tolist()] for matrix in (rows, columns))

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        spans = self._read[axis]
        total = Interval(0, 0)
        for at in range(max(0, wanted.start), min(wanted.stop, len(spans))):
            total = total.hull(spans[at])
        return total

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("yr,bcrs,xs->bcyx", self.rows, x, self.columns)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        over_rows = self.rows[rows.wanted.as_slice(), rows.given.as_slice()]
        over_columns = self.columns[columns.wanted.as_slice(), columns.given.as_slice()]
        return torch.einsum("yr,bcrs,xs->bcyx", over_rows, inputs[0], over_columns)

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.wanted.start,)


def _span(row: Sequence[float]) -> Interval:
    read = [at for at, weight in enumerate(row) if weight != 0]
    return Interval(read[0], read[-1] + 1) if read else Interval(0, 0)


class UnevenMaxPool(Operator):
    """The largest value of windows of unequal sizes: torch's adaptive max pooling."""

    kind = "pool"
    regular = False

    def __init__(self, outputs: tuple[int, int]) -> None:
        super().__init__()
        self.outputs = outputs

    def settings(self) -> dict[str, object]:
        return {"outputs": list(self.outputs)}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        count = self.outputs[axis]
        inside = wanted.clip(count)
        return Interval(inside.start * size // count, -(-inside.stop * size // count))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_max_pool2d(x, self.outputs)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x = inputs[0]
        for axis, part in enumerate((rows, columns)):
            pieces = []
            for at in range(part.wanted.start, part.wanted.stop):
                read = self.needed(Interval(at, at + 1), axis, part.size).within(part.given)
                piece = x[:, :, read] if axis == 0 else x[:, :, :, read]
                window = (piece.shape[2], 1) if axis == 0 else (1, piece.shape[3])
                pieces.append(nn.functional.max_pool2d(piece, window))
            x = torch.cat(pieces, dim=2 + axis)
        return x

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.wanted.start,)


class TokenConcat(Operator):
    """Sequences of tokens one after the other, each read row by row: maps (channel, row, column) → (channel, token, 1).

    A class token in front of the patches, for example.
    """

    kind = "concat"
    local = False
    status = BOUND  # a token reads less than the whole map

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat([x.flatten(2) for x in inputs], dim=2)[..., None]


class Tokens(Operator):
    """Some tokens of a sequence (channel, token, 1): one as a vector, or several, row by row, as a map.

    start : the first of them. shape : (channel,) or (channel, row, column).
    """

    kind = "tokens"
    local = False
    status = BOUND  # a token reads less than the whole map

    def __init__(self, start: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.start, self.shape = start, tuple(shape)

    def settings(self) -> dict[str, object]:
        return {"start": self.start, "shape": list(self.shape)}

    def forward(self, x: Tensor) -> Tensor:
        count = math.prod(self.shape[1:])
        return x[:, :, self.start : self.start + count].reshape(len(x), *self.shape)


class LayerNorm(Operator):
    """Each position's channels, normalised to mean 0 and variance 1, then scaled and shifted."""

    kind = "norm"

    def __init__(self, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = None if weight is None else nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def settings(self) -> dict[str, object]:
        return {"epsilon": self.epsilon}

    def forward(self, x: Tensor) -> Tensor:
        channels = x.movedim(1, -1)
        value = nn.functional.layer_norm(channels, channels.shape[-1:], self.weight, self.bias, self.epsilon)
        return value.movedim(-1, 1)
