"""Operators that slide a window over the map: convolution, pooling and local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.nets.interval import Interval, Part, Reach
from pipeline.nets.operators import Operator
from pipeline.nets.transposed import ImageConvolution, of_image, transposed_convolution

Pair = tuple[int, int]  # (rows, columns)


class Sliding(Operator):
    """An operator whose output o reads the inputs o·stride − padding … o·stride − padding + reach − 1 on each axis."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        spans = (dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1))
        self.reach = tuple(Reach(s, stride[axis], padding[axis]) for axis, s in enumerate(spans))
        self.rounding = "floor"

    def settings(self) -> dict[str, object]:
        names = ("kernel", "stride", "padding", "dilation")
        return {name: list(getattr(self, name)) for name in names} | {"rounding": self.rounding}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        return self.reach[axis].needed(wanted)

    def touched(self, wanted: Interval, axis: int, size: int) -> Interval:
        inside = self.needed(wanted, axis, size).clip(size)
        if self.dilation[axis] == 1:
            return inside
        starts = range(wanted.start * self.stride[axis], wanted.stop * self.stride[axis], self.stride[axis])
        taps = range(0, self.reach[axis].size, self.dilation[axis])
        read = [start - self.padding[axis] + tap for start in starts for tap in taps]
        read = [at for at in read if 0 <= at < size]  # a dilated window has gaps between its taps
        return Interval(min(read), max(read) + 1) if read else inside

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        for axis, size in enumerate(x.shape[2:]):
            wanted = Interval(0, self.reach[axis].outputs(size, self.rounding))
            parts.append(Part(wanted, self.touched(wanted, axis, size), size))
        rows, columns = parts
        return self.on_part([x[:, :, rows.given.as_slice(), columns.given.as_slice()]], rows, columns)

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        # A margin other than 0 also fixes the absolute position.
        return part.missing(self.needed(part.wanted, axis, part.size))

    def margins(self, rows: Part, columns: Part) -> tuple[Pair, Pair]:
        """The numbers of needed inputs that are padding: (top, bottom), (left, right)."""
        return tuple(  # type: ignore[return-value]
            part.missing(self.needed(part.wanted, axis, part.size)) for axis, part in enumerate((rows, columns))
        )


def padded(x: Tensor, margins: tuple[Pair, Pair], value: float = 0.0) -> Tensor:
    """x, padded with `value`; margins : ((top, bottom), (left, right)), negative ones crop."""
    (top, bottom), (left, right) = margins
    if not (top or bottom or left or right):
        return x
    if not x.numel():
        return x.new_full((*x.shape[:2], x.shape[2] + top + bottom, x.shape[3] + left + right), value)
    return functional.pad(x, (left, right, top, bottom), value=value)


class Filters(Sliding):
    """A sliding operator with learned filters in groups of channels, and a bias."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__((weight.shape[2], weight.shape[3]), stride, padding, dilation)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.groups = groups

    def settings(self) -> dict[str, object]:
        return super().settings() | {"groups": self.groups}


class Convolution(Filters):
    """Cross-correlation with zero padding; weight has shape (out, in / groups, rows, columns)."""

    kind = "conv"

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        margins = self.margins(rows, columns)
        if of_image(self.weight, self.stride, self.dilation, self.groups):
            return ImageConvolution.apply(padded(inputs[0], margins), self.weight, self.bias, self.stride)
        padding = _even(margins)
        x = inputs[0] if padding is not None else padded(inputs[0], margins)
        padding = (0, 0) if padding is None else padding
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def transposed(self, above: Tensor, rows: Part, columns: Part) -> Tensor:
        """The signal at the inputs of `on_part`, given the signal at its outputs; any batch size."""
        margins = self.margins(rows, columns)
        padding = _even(margins)
        cut = (0, 0) if padding is None else padding
        signal = transposed_convolution(above, self.weight, self.stride, cut, self.dilation, self.groups)
        return signal if padding is not None else padded(signal, tuple((-a, -b) for a, b in margins))


def _even(margins: tuple[Pair, Pair]) -> Pair | None:
    """The margins as one padding for both edges of each axis, or None where the edges differ."""
    (top, bottom), (left, right) = margins
    return (top, left) if top == bottom >= 0 and left == right >= 0 else None


class Deconvolution(Filters):
    """Transposed convolution; weight has shape (in, out / groups, rows, columns)."""

    kind = "deconv"

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
        extra: Pair = (0, 0),
    ) -> None:
        super().__init__(weight, bias, stride, padding, dilation, groups)
        self.extra = extra  # additional rows and columns at the far edge (torch's output_padding)

    def settings(self) -> dict[str, object]:
        return super().settings() | {"extra": list(self.extra)}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        """The inputs that contribute to the wanted outputs.

        Input i contributes to the outputs i·stride − padding … i·stride − padding + span − 1.
        """
        span, stride, padding = self.reach[axis].size, self.stride[axis], self.padding[axis]
        first = -((span - 1 - padding - wanted.start) // stride)
        last = (wanted.stop - 1 + padding) // stride
        return Interval(first, max(first, last) + 1).clip(size)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.extra, self.groups, self.dilation
        )

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.given.start * self.stride[axis] - self.padding[axis] - part.wanted.start,)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        spread = functional.conv_transpose2d(
            inputs[0], self.weight, None, self.stride, 0, 0, self.groups, self.dilation
        )
        margins = []
        for axis, part in enumerate((rows, columns)):  # negative margins crop, positive ones add bare outputs
            (before,) = self.alignment(part, axis)
            margins.append((before, len(part.wanted) - before - spread.shape[2 + axis]))
        out = padded(spread, (margins[0], margins[1]))
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class MaxPool(Sliding):
    """The largest value of each window: never the padding, and the first one among equal values."""

    kind = "pool"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, rounding: str, dilation: Pair = (1, 1)) -> None:
        super().__init__(kernel, stride, padding, dilation)
        self.rounding = rounding

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x = padded(inputs[0], self.margins(rows, columns), float("-inf"))
        return functional.max_pool2d(x, self.kernel, self.stride, 0, self.dilation)


class AveragePool(Sliding):
    """The mean of each window.

    The divisor is the area of the window inside the padded map (Caffe; torch with count_include_pad), or inside the
    map itself with `count_padding=False`.
    """

    kind = "pool"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, rounding: str, count_padding: bool = True) -> None:
        super().__init__(kernel, stride, padding)
        self.rounding = rounding
        self.count_padding = count_padding

    def settings(self) -> dict[str, object]:
        return super().settings() | {"mode": "mean", "count_padding": self.count_padding}

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x = padded(inputs[0], self.margins(rows, columns))
        total = functional.avg_pool2d(x, self.kernel, self.stride, 0, divisor_override=1)
        return total / (self._counts(rows, 0).to(x)[:, None] * self._counts(columns, 1).to(x)[None, :])

    def _counts(self, part: Part, axis: int) -> Tensor:
        """The number of rows (columns) of each wanted window that enter the divisor."""
        edge = self.padding[axis] if self.count_padding else 0
        first = torch.arange(part.wanted.start, part.wanted.stop) * self.stride[axis] - self.padding[axis]
        last = (first + self.kernel[axis]).clamp(max=part.size + edge)
        return last - first.clamp(min=-edge)


class ChannelNorm(Operator):
    """x · (k + α/n · Σ x²)^−β with the sum over n neighbouring channels at the same position (AlexNet's LRN)."""

    kind = "norm"

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def settings(self) -> dict[str, object]:
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}

    def forward(self, x: Tensor) -> Tensor:
        return _ChannelNorm.apply(x, self.size, self.alpha, self.beta, self.k)


class _ChannelNorm(torch.autograd.Function):
    """The normalisation with the closed form of its derivative.

    Autograd's derivative keeps six maps and takes three times as long.
    """

    @staticmethod
    def forward(ctx, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        scale = channel_sum(x * x, size).mul_(alpha / size).add_(k)
        power = _negative_power(scale, beta)
        ctx.save_for_backward(x, scale, power)
        ctx.settings = (size, alpha, beta)
        return x * power

    @staticmethod
    def backward(ctx, above: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, scale, power = ctx.saved_tensors
        size, alpha, beta = ctx.settings
        direct = above * power
        across = channel_sum((direct * x).div_(scale), size, mirrored=True).mul_(x)
        return direct.sub_(across, alpha=2 * alpha * beta / size), None, None, None, None


def channel_sum(x: Tensor, size: int, mirrored: bool = False) -> Tensor:
    """The sum over `size` neighbouring channels around each channel; with `mirrored`, the transposed linear map."""
    before = (size - 1) // 2 if not mirrored else size // 2
    around = functional.pad(x, (0, 0) * (x.dim() - 2) + (before, size - 1 - before))
    total = around[:, : x.shape[1]].clone()
    for shift in range(1, size):
        total += around[:, shift : shift + x.shape[1]]
    return total


def _negative_power(scale: Tensor, beta: float) -> Tensor:
    if beta == 0.75:  # the published value; two square roots take a tenth of the time of a power
        root = scale.rsqrt()
        return root * root.sqrt()
    return scale.pow(-beta)


class WithinChannelNorm(Sliding):
    """x · (1 + α · mean of x² over n × n positions)^−β, the mean always over n² (Caffe's WITHIN_CHANNEL)."""

    kind = "norm"

    def __init__(self, size: int, alpha: float, beta: float) -> None:
        half = (size - 1) // 2
        super().__init__((size, size), (1, 1), (half, half))
        self.size, self.alpha, self.beta = size, alpha, beta

    def settings(self) -> dict[str, object]:
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "within": True}

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x = inputs[0]
        square = padded(x * x, self.margins(rows, columns))
        mean = functional.avg_pool2d(square, self.kernel, 1, 0)
        inner = x[:, :, rows.wanted.within(rows.given), columns.wanted.within(columns.given)]
        return inner * (1 + self.alpha * mean).pow(-self.beta)
