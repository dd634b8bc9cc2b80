"""The operators that the graph of a network is made of.

Every operator states which inputs an output depends on (`needed`) and computes any part of its output from exactly
these inputs (`on_part`); positions outside the map are padded explicitly. Windows, cones and back-projections
therefore need no second description of a network.

The class name and the settings of an operator enter the digest of every network that contains it: renaming a class
changes the digests of networks that are stored already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.nets.interval import Interval, Part

EXACT, PROBED, BOUND, WHOLE = "exact", "probed", "upper bound", "whole image"  # what is known of a window


class Operator(nn.Module):
    """A node of the graph. Maps are (batch, channel, row, column); vectors are (batch, unit)."""

    kind = "operator"
    local = True  # False: every output depends on every position of the input
    regular = True  # whether what an output reads moves along with its position
    combines = False  # True: takes several inputs; an input may hold one value for all positions
    status = EXACT  # of what it says that an output reads

    def settings(self) -> dict[str, object]:
        """The numbers that define the operator, without its weights; part of a network's digest."""
        return {}

    def operand(self, place: int) -> Operator:
        """Who says what is read of the input at that place: the operator itself if it reads all of them alike."""
        return self

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        """The inputs that the wanted outputs read along one axis; may stick out of the map.

        wanted : outputs along the axis.
        axis : 0 for rows, 1 for columns.
        size : length of the input's map along the axis.
        """
        return wanted if self.local else Interval(0, size)

    def touched(self, wanted: Interval, axis: int, size: int) -> Interval:
        """The smallest interval inside the map that contains every input that the wanted outputs read.

        Arguments as for `needed`.
        """
        return self.needed(wanted, axis, size).clip(size)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        """The outputs rows.wanted × columns.wanted.

        inputs : cut to the intervals that `needed` gives, inside the map.
        """
        value = self(*inputs)
        if self.local or value.dim() != 4:
            return value
        return value[:, :, rows.wanted.as_slice(), columns.wanted.as_slice()]  # it was computed as a whole

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        """What `on_part` uses of a part besides its lengths.

        Parts of equal lengths and equal alignment can run in one batch.
        """
        return () if self.local else (part.wanted.start,)


class Pointwise(Operator):
    """A function of each value by itself (ReLU, sigmoid, …), given as a torch module."""

    def __init__(self, function: nn.Module, kind: str) -> None:
        super().__init__()
        self.function = function
        self.kind = kind

    def settings(self) -> dict[str, object]:
        return {"function": repr(self.function)}

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Relu(Operator):
    """max(0, x) + slope · min(0, x)."""

    kind = "relu"

    def __init__(self, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope

    def settings(self) -> dict[str, object]:
        return {"slope": self.slope}

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.slope == 0 else nn.functional.leaky_relu(x, self.slope)


class OpenRelu(Operator):
    """A nonlinearity that can switch units off, with the gradient of x for those that are off, so that they have one.

    Values, and gradients of units that are on, are those of the nonlinearity.
    """

    def __init__(self, closed: Operator) -> None:
        super().__init__()
        self.closed = closed
        self.kind = closed.kind

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, self.closed(x), x - x.detach())


_OFF, _ON = torch.tensor([-100.0, -3.0, -1.0, -0.1, -1e-3, 0.0]), torch.tensor([1e-3, 0.1, 1.0, 3.0, 100.0])


def switches_off(operator: Operator) -> bool:
    """Whether the operator is a nonlinearity that can switch a unit off: zero and less become zero, all else more.

    Those are the plain ReLU, ReLU6 and clamps whose lower end is zero. The others pass something on for zero and less:
    leaky ReLU, PReLU, ELU, softplus, sigmoid and hardsigmoid; and GELU, SiLU and hardswish, which are negative just
    below zero.
    """
    if isinstance(operator, Relu):
        return operator.slope == 0
    if isinstance(operator, OpenRelu):
        return True
    if not isinstance(operator, Pointwise) or any(True for _ in operator.parameters()):
        return False
    with torch.no_grad():
        return bool((operator(_OFF) == 0).all() and (operator(_ON) > 0).all())


class PRelu(Operator):
    """max(0, x) + slope · min(0, x) with one slope per channel, or one for all."""

    kind = "relu"

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = nn.Parameter(slope.reshape(-1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.prelu(x, self.slope)


def keeps_sign(operator: Operator) -> bool:
    """Whether the operator is a leaky ReLU, with one slope or several: its value has the sign of the one it reads."""
    slope = operator.slope if isinstance(operator, Relu | PRelu) else 0.0
    return bool(slope.min() > 0) if isinstance(slope, Tensor) else slope > 0


class Power(Operator):
    """(shift + scale · x) ^ power."""

    kind = "power"

    def __init__(self, power: float, scale: float, shift: float) -> None:
        super().__init__()
        self.power, self.scale, self.shift = power, scale, shift

    def settings(self) -> dict[str, object]:
        return {"power": self.power, "scale": self.scale, "shift": self.shift}

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.scale + self.shift
        return y if self.power == 1 else y**self.power


class Affine(Operator):
    """scale · x + shift with one scale and shift a channel (batch normalisation in evaluation mode, Caffe's Scale)."""

    kind = "affine"

    def __init__(self, scale: Tensor, shift: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(scale.reshape(-1), requires_grad=False)
        shift = torch.zeros_like(self.weight) if shift is None else shift
        self.bias = nn.Parameter(shift.reshape(-1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self._broadcast(x)
        return (x * scale).add_(shift)  # in place: a second new map costs as much as the arithmetic

    def forward_(self, x: Tensor) -> Tensor:
        """`forward`, written over x."""
        scale, shift = self._broadcast(x)
        return x.mul_(scale).add_(shift)

    def _broadcast(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, broadcastable to x."""
        shape = (1, -1) + (1,) * (x.dim() - 2)
        scale, shift = self.weight.view(shape), self.bias.view(shape)
        if len(x) > 1 and x.dim() == 4 and x.stride(1) == 1:  # channels_last: broadcast full maps, not scalars
            return _filled(scale, x), _filled(shift, x)
        return scale, shift


def _filled(values: Tensor, x: Tensor) -> Tensor:
    """One value a channel, expanded to the map of one image in the memory layout of x (channels_last)."""
    return values.expand(x[:1].shape).contiguous(memory_format=torch.channels_last)


class Identity(Operator):
    """The input itself (dropout in evaluation mode, Caffe's Split)."""

    kind = "identity"

    def forward(self, x: Tensor) -> Tensor:
        return x


class Softmax(Operator):
    """Softmax over the channels, at every position separately."""

    kind = "softmax"

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, dim=1)


class Concat(Operator):
    """The inputs, concatenated along the channels."""

    kind = "concat"

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)


class Sum(Operator):
    """Σ coefficient · input; without coefficients, the plain sum."""

    kind = "sum"
    combines = True

    def __init__(self, coefficients: Sequence[float] | None = None) -> None:
        super().__init__()
        self.coefficients = None if coefficients is None else tuple(coefficients)

    def settings(self) -> dict[str, object]:
        return {"coefficients": self.coefficients}

    def forward(self, *inputs: Tensor) -> Tensor:
        weights = self.coefficients if self.coefficients is not None else (1.0,) * len(inputs)
        terms = [x if weight == 1 else x * weight for x, weight in zip(inputs, weights, strict=True)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


class Product(Operator):
    """The product of the inputs; a (batch, channel) or (batch, channel, 1, 1) factor acts on every position."""

    kind = "product"
    combines = True

    def forward(self, *inputs: Tensor) -> Tensor:
        product = inputs[0]
        for factor in inputs[1:]:
            missing = product.dim() - factor.dim()
            product = product * factor.reshape(factor.shape + (1,) * missing)
        return product


class Maximum(Operator):
    """The elementwise maximum of the inputs."""

    kind = "max"
    combines = True

    def forward(self, *inputs: Tensor) -> Tensor:
        largest = inputs[0]
        for x in inputs[1:]:
            largest = torch.maximum(largest, x)
        return largest


class Slice(Operator):
    """Channels start … stop−1 of the input."""

    kind = "slice"

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def settings(self) -> dict[str, object]:
        return {"start": self.start, "stop": self.stop}

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.stop]


class Reshape(Operator):
    """The same values in another shape: batch first, then channel, row, column."""

    kind = "reshape"
    local = False

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)  # without the batch
        if math.prod(self.shape[1:]) > 1:  # a position of another map reads less than the whole
            self.status = BOUND

    def settings(self) -> dict[str, object]:
        return {"shape": list(self.shape)}

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


class InnerProduct(Operator):
    """weight · flattened input + bias; weight has shape (out, in)."""

    kind = "fc"
    local = False

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.weight, self.bias)


class GlobalPool(Operator):
    """The mean or the maximum over all positions.

    mode : "mean" or "max".
    flat : drop the axes of rows and columns; otherwise they stay, of length 1.
    """

    kind = "pool"
    local = False

    def __init__(self, mode: str, flat: bool = False) -> None:
        super().__init__()
        self.mode, self.flat = mode, flat

    def settings(self) -> dict[str, object]:
        return {"mode": self.mode, "flat": self.flat}

    def forward(self, x: Tensor) -> Tensor:
        keep = not self.flat
        if self.mode == "mean":
            return x.mean(dim=(2, 3), keepdim=keep)
        largest = nn.functional.max_pool2d(x, x.shape[2:])  # amax would split its gradient among equal values
        return largest if keep else largest.flatten(1)


class ChannelOrder(Operator):
    """The channels of the input in another order; a channel may be repeated or left out."""

    kind = "reshape"

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.order)


class Rearrangement(Operator):
    """The values of the input in another shape and another order.

    order : int64, of the shape of the output without the batch; for each value, its place in the flattened input.
    """

    kind = "reshape"
    local = False
    status = BOUND

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).index_select(1, self.order.flatten()).view(len(x), *self.order.shape)


class Tiled(Operator):
    """The map, repeated along its rows and columns."""

    kind = "reshape"
    local = False
    status = BOUND

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def settings(self) -> dict[str, object]:
        return {"rows": self.rows, "columns": self.columns}

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, 1, self.rows, self.columns)


class ScaledSum(Operator):
    """scale · x + y; the scale is (batch, channel) or (batch, channel, 1, 1)."""

    kind = "sum"
    combines = True

    def forward(self, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        return x * scale.reshape(scale.shape + (1,) * (x.dim() - scale.dim())) + y


class UnitNorm(Operator):
    """scale · x / √(ε + Σ x²), with one scale a channel.

    The sum is over the channels of a position; with `everywhere`, over all positions too.
    Source: Liu et al. 2015, "ParseNet"; used by SSD.
    """

    kind = "norm"

    def __init__(self, scale: Tensor, epsilon: float, everywhere: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.epsilon, self.everywhere, self.local = epsilon, everywhere, not everywhere

    def settings(self) -> dict[str, object]:
        return {"epsilon": self.epsilon, "everywhere": self.everywhere}

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim())) if self.everywhere else (1,)
        norm = (x.square().sum(axes, keepdim=True) + self.epsilon).sqrt()
        return x / norm * self.scale.view(-1, *(1,) * (x.dim() - 2))


class Standardized(Operator):
    """(x − mean) / (deviation + ε) of each channel over its positions, or of all channels together (Caffe's MVN).

    across : one mean and deviation for all channels.
    scaled : divide by the deviation; otherwise only the mean is subtracted.
    """

    kind = "norm"
    local = False

    def __init__(self, across: bool, scaled: bool, epsilon: float) -> None:
        super().__init__()
        self.across, self.scaled, self.epsilon = across, scaled, epsilon

    def settings(self) -> dict[str, object]:
        return {"across": self.across, "scaled": self.scaled, "epsilon": self.epsilon}

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1).unsqueeze(1) if self.across else x.unsqueeze(2).flatten(2)
        centred = flat - flat.mean(dim=2, keepdim=True)
        if self.scaled:
            centred = centred / (centred.square().mean(dim=2, keepdim=True).sqrt() + self.epsilon)
        return centred.view_as(x)


class Reduction(Operator):
    """coefficient · the sum of x, |x| or x², or the mean of x, over all axes from `axis` on.

    operation : "SUM", "ASUM", "SUMSQ" or "MEAN".
    axis : 1 gives one value an image, 2 one value a channel.
    """

    kind = "pool"
    local = False

    def __init__(self, operation: str, axis: int, coefficient: float) -> None:
        super().__init__()
        self.operation, self.axis, self.coefficient = operation, axis, coefficient

    def settings(self) -> dict[str, object]:
        return {"operation": self.operation, "axis": self.axis, "coefficient": self.coefficient}

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1).unsqueeze(1) if self.axis == 1 else x.flatten(2)
        if self.operation == "MEAN":
            return flat.mean(dim=2) * self.coefficient
        inner = {"SUM": flat, "ASUM": flat.abs(), "SUMSQ": flat.square()}[self.operation]
        return inner.sum(dim=2) * self.coefficient
