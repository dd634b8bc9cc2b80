"""Functions without a rule of their own, as operators; what they read is measured by perturbing their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.nets.interval import Interval, Part
from pipeline.nets.operators import BOUND, PROBED, Operator

_CHUNK = 1 << 22  # values of perturbed inputs that are run at once
_BUDGET = 1 << 27  # values computed for one axis of one operand, within which every row is perturbed by itself
_BLOCKS = 16  # beyond it, so many blocks of rows are


@dataclass(frozen=True)
class Order:
    """How a tensor lies over a map (batch, channel, row, column) or a vector (batch, unit).

    axes : "first" for (batch, channel, …), "last" for (batch, …, channel), "sequence" for (token, batch, channel),
        "copies" for (copy · batch, channel, …), with the copies of one image as further channels.
    shape : of the tensor without its axis of batches.
    rows : rows of that axis an image; 49 windows of an image may lie one after the other there.
    """

    axes: str
    shape: tuple[int, ...]
    rows: int = 1

    def unrolled(self, x: Tensor) -> Tensor:
        """The tensor of a map or vector."""
        if self.axes == "sequence":
            return x.flatten(2).permute(2, 0, 1)
        if self.axes == "copies":
            return x.unflatten(1, (self.rows, -1)).transpose(0, 1).flatten(0, 1)
        if self.axes == "last":
            x = x.movedim(1, -1)
        return x.reshape(len(x) * self.rows, *self.shape)

    def rolled(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The map or vector of a tensor. shape : (channel, row, column) or (unit,)."""
        if self.axes == "sequence":
            return x.permute(1, 2, 0).reshape(x.shape[1], *shape)
        images = len(x) // self.rows
        if self.axes == "copies":
            return x.unflatten(0, (self.rows, images)).transpose(0, 1).flatten(1, 2)
        if self.axes == "first":
            return x.reshape(images, *shape)
        return x.reshape(images, *shape[1:], shape[0]).movedim(-1, 1)


class Laid(nn.Module):
    """A function of tensors that lie otherwise than as maps, as a function of maps."""

    def __init__(self, function: nn.Module, inputs: Sequence[Order], output: Order, shape: tuple[int, ...]) -> None:
        """The wrapped function.

        inputs, output : how its operands and its result lie over maps or vectors.
        shape : of the result as a map or vector.
        """
        super().__init__()
        self.function, self.inputs, self.output, self.shape = function, tuple(inputs), output, shape

    def forward(self, *inputs: Tensor) -> Tensor:
        # Contiguous, as the function was recorded: view() refuses another layout.
        given = [order.unrolled(x).contiguous() for order, x in zip(self.inputs, inputs, strict=True)]
        return self.output.rolled(self.function(*given), self.shape)


class Opaque(Operator):
    """Any function of maps and vectors.

    spans : (operand, axis) → for each output row (column) the interval of the operand's rows (columns) that it reads,
        as measured; a missing operand or axis is read whole.
    """

    kind = "function"

    def __init__(
        self,
        function: Callable[..., Tensor],
        description: str,
        shapes: Sequence[tuple[int, ...]],
        spans: dict[tuple[int, int], list[Interval]] | None = None,
    ) -> None:
        super().__init__()
        self.function, self.description, self.shapes = function, description, tuple(shapes)
        self.spans = {} if spans is None else spans
        self.local = bool(self.spans)
        self.regular = False
        self.status = PROBED if self.local else BOUND
        self._operands = [_Operand(self.spans, place) for place in range(len(self.shapes))]

    def settings(self) -> dict[str, object]:
        return {"function": self.description}

    def operand(self, place: int) -> Operator:
        return self._operands[place]

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        """The function on whole maps, whose parts that are not read hold the nearest values that are."""
        whole = []
        for place, (x, shape) in enumerate(zip(inputs, self.shapes, strict=True)):
            for axis, part in enumerate((rows, columns)) if len(shape) == 3 else ():
                size = shape[1 + axis]
                if x.shape[2 + axis] == size:
                    continue
                given = self.operand(place).touched(part.wanted, axis, size)
                if not len(given):
                    x = x.new_zeros([size if at == 2 + axis else length for at, length in enumerate(x.shape)])
                    continue
                index = torch.arange(size, device=x.device).clamp(given.start, given.stop - 1) - given.start
                x = x.index_select(2 + axis, index)
            whole.append(x)
        value = self.function(*whole)
        return value[:, :, rows.wanted.as_slice(), columns.wanted.as_slice()] if value.dim() == 4 else value

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.wanted.start,)


class _Operand(Operator):
    """What an opaque operator reads of one of its operands."""

    def __init__(self, spans: dict[tuple[int, int], list[Interval]], place: int) -> None:
        super().__init__()
        self._spans = {axis: found for (at, axis), found in spans.items() if at == place}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        if axis not in self._spans:
            return Interval(0, size)
        spans, total = self._spans[axis], Interval(0, 0)
        for at in range(max(0, wanted.start), min(wanted.stop, len(spans))):
            total = total.hull(spans[at])
        return total


class Elementwise(Operator):
    """A function of each position by itself, of one map or of several that lie alike."""

    kind = "function"
    combines = True

    def __init__(self, function: Callable[..., Tensor], description: str) -> None:
        super().__init__()
        self.function, self.description = function, description

    def settings(self) -> dict[str, object]:
        return {"function": self.description}

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


@torch.no_grad()
def measured_spans(
    function: Callable[..., Tensor], operands: Sequence[Tensor], cost: int
) -> dict[tuple[int, int], list[Interval]] | None:
    """What each output row and column of a function of maps reads, measured by perturbing rows and columns.

    Every row (column) of an operand is replaced by noise, and the output rows (columns) that change are noted: once
    around the given values, and once around noise of both signs, twice as large as they. What does not change either
    time counts as not read: a probe shows dependence, and proves no bound.

    operands : example inputs, one image each; vectors are not probed and count as read whole.
    cost : values that the function computes for an image. Of a costly one blocks of rows are perturbed together, and
        what reads one of them counts as reading them all.
    Returns None if nothing is gained: the function's output is no map, or every axis of every map is read whole.
    """
    generator = torch.Generator().manual_seed(0)
    value = function(*operands)
    if value.dim() != 4 or value.shape[2] * value.shape[3] == 1:
        return None
    spans: dict[tuple[int, int], list[Interval]] = {}
    noises = [_large_noise(operand, generator) for operand in operands]
    for place, operand in enumerate(operands):
        if operand.dim() != 4:
            continue
        blocks = max(_BLOCKS, _BUDGET // max(1, cost))
        for axis in (0, 1):
            size, outputs = operand.shape[2 + axis], value.shape[2 + axis]
            if size == 1:
                continue
            reads = torch.zeros(outputs, size, dtype=torch.bool)
            for around in (list(operands), noises):
                reads |= _reads(function, around, place, axis, blocks, generator)
            found = [_hull(row) for row in reads.tolist()]
            if any(len(span) < size for span in found):
                spans[place, axis] = found
    return spans or None


def _reads(
    function: Callable[..., Tensor],
    operands: Sequence[Tensor],
    place: int,
    axis: int,
    blocks: int,
    generator: torch.Generator,
) -> Tensor:
    """Which inputs along an axis change which outputs, (output, input) bool."""
    size, given = operands[place].shape[2 + axis], operands[place]
    noise = _noise_like(given, generator)
    base = function(*operands)
    outputs, odd = base.shape[2 + axis], bool(base.isnan().any())

    def changed(masks: Tensor) -> Tensor:
        """(mask, output): whether replacing the masked rows (columns) by noise changes an output row (column)."""
        # The unchanged values come last in the same call: how a sum is rounded may depend on the size of the batch.
        masks = torch.cat([masks, masks.new_zeros(1, size)])
        shape = (len(masks), 1, size, 1) if axis == 0 else (len(masks), 1, 1, size)
        mixed = torch.where(masks.view(shape), noise, given)
        others = [x.expand(len(masks), *x.shape[1:]) for x in operands]
        others[place] = mixed
        value = function(*others)
        value, base = value[:-1], value[-1:]
        differs = value != base
        if odd:
            differs &= ~(value.isnan() & base.isnan())
        return differs.movedim(2 + axis, 1).flatten(2).any(dim=2)

    whole = _whole_number(outputs, size)
    if whole is not None and _moves_alone(changed, size, whole):
        return torch.repeat_interleave(torch.eye(size, dtype=torch.bool), whole, dim=0)
    ends = torch.zeros(2, size, dtype=torch.bool)
    ends[0, 0] = ends[1, -1] = True
    if bool(changed(ends).all()):  # each output reads the first and the last
        return torch.ones(outputs, size, dtype=torch.bool)
    rows = -(-size // min(size, blocks))
    each = torch.eye(-(-size // rows), dtype=torch.bool).repeat_interleave(rows, dim=1)[:, :size]
    step = max(1, _CHUNK // max(1, max(given.numel(), base.numel())))
    found = torch.cat([changed(each[at : at + step]) for at in range(0, len(each), step)])
    return (found.T.float() @ each.float()) > 0


def _moves_alone(changed: Callable[[Tensor], Tensor], size: int, times: int) -> bool:
    """Whether output o reads input o // times alone, by as many runs as the numbers have binary digits, twice."""
    digits = torch.arange(size)[None] >> torch.arange(max(1, (size - 1).bit_length()))[:, None] & 1
    for mask in torch.cat([digits == 1, digits == 0]):
        if not torch.equal(changed(mask[None])[0], mask.repeat_interleave(times)):
            return False
    return True


def _whole_number(outputs: int, size: int) -> int | None:
    return outputs // size if outputs % size == 0 else None


def _hull(row: Sequence[bool]) -> Interval:
    read = [at for at, one in enumerate(row) if one]
    return Interval(read[0], read[-1] + 1) if read else Interval(0, 0)


def _noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of the mean and the spread of x (of spread 1 where x is constant); booleans are drawn at random."""
    noise = torch.randn(x.shape, generator=generator)
    if not x.is_floating_point():
        return (noise > 0).to(x.dtype) if x.dtype == torch.bool else x
    spread = x.std() if x.numel() > 1 else torch.tensor(0.0)
    return x.mean() + noise.to(x) * (spread if bool(spread > 0) else torch.tensor(1.0))


def _large_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of mean 0, so that what is switched off by a sign or a threshold at x is on somewhere."""
    noise = torch.randn(x.shape, generator=generator)
    if not x.is_floating_point():
        return _noise_like(x, generator)
    size = x.square().mean().sqrt()
    return noise.to(x) * (2 * size if bool(size > 0) else torch.tensor(1.0))
