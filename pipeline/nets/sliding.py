"""Operators that slide a window over the map: convolution, pooling and local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

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
        self.regular = max(stride) == 1  # else neighbours read the same inputs, or the next
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

    def touched(self, wanted: Interval, axis: int, size: int) -> Interval:
        """As for any operator; taps farther apart than inputs leave outputs between them that read nothing."""
        stride, padding, dilation = self.stride[axis], self.padding[axis], self.dilation[axis]
        read = []
        for at in range(size)[self.needed(wanted, axis, size).as_slice()]:
            first = at * stride - padding  # the output of the first tap
            tap = max(0, -((first - wanted.start) // dilation))  # the first tap at or behind the wanted ones' start
            if tap < self.kernel[axis] and first + tap * dilation < wanted.stop:
                read.append(at)
        return Interval(read[0], read[-1] + 1) if read else Interval(0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.extra, self.groups, self.dilation
        )

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.given.start * self.stride[axis] - self.padding[axis] - part.wanted.start,)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x, size = inputs[0], (len(rows.wanted), len(columns.wanted))
        channels = self.weight.shape[1] * self.groups
        if not x.shape[2] * x.shape[3]:  # outputs that read nothing
            out = x.new_zeros(len(x), channels, *size)
            return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)
        margins = []
        for axis, part in enumerate((rows, columns)):  # negative margins crop, positive ones add bare outputs
            (before,) = self.alignment(part, axis)
            spread = (x.shape[2 + axis] - 1) * self.stride[axis] + self.reach[axis].size
            margins.append((before, len(part.wanted) - before - spread))
        if max(max(margin) for margin in margins) > 0:
            out = functional.conv_transpose2d(x, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
            out = padded(out, (margins[0], margins[1]))
            return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)
        crop = tuple(-max(margin) for margin in margins)  # what is cropped at both edges need not be computed
        out = functional.conv_transpose2d(x, self.weight, self.bias, self.stride, crop, 0, self.groups, self.dilation)
        top, left = (-before - both for (before, _), both in zip(margins, crop, strict=True))
        return out[:, :, top : top + size[0], left : left + size[1]]


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
        return total / _areas(self._counts(rows, 0), self._counts(columns, 1), x.dtype, x.device)

    def _counts(self, part: Part, axis: int) -> tuple[int, ...]:
        """The number of rows (columns) of each wanted window that enter the divisor."""
        edge = self.padding[axis] if self.count_padding else 0
        starts = (at * self.stride[axis] - self.padding[axis] for at in range(part.wanted.start, part.wanted.stop))
        return tuple(min(start + self.kernel[axis], part.size + edge) - max(start, -edge) for start in starts)


@lru_cache(maxsize=256)  # each window of a network's pools once, on each device
def _areas(rows: tuple[int, ...], columns: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The products of the numbers of rows and of columns, (row, column), kept on the device."""
    with torch.inference_mode(False):  # a pass with gradients may use them after one without
        return (torch.tensor(rows)[:, None] * torch.tensor(columns)).to(device, dtype)


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
    most = max(0, x.shape[1] - 1)  # what is farther away than the last channel is nothing, however large the size is
    before, behind = min(before, most), min(size - 1 - before, most)
    around = functional.pad(x, (0, 0) * (x.dim() - 2) + (before, behind))
    first, *others = (around[:, shift : shift + x.shape[1]] for shift in range(before + behind + 1))
    total = first + others[0] if others else first.clone()
    for other in others[1:]:
        total += other
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


def _whole(x: Tensor, sizes: Pair) -> tuple[Part, Part]:
    """The parts of an operator that computes its whole output, of the given size, from its whole input."""
    return tuple(  # type: ignore[return-value]
        Part(Interval(0, wanted), Interval(0, given), given) for wanted, given in zip(sizes, x.shape[2:], strict=True)
    )


class Crop(Operator):
    """A part of the map: `size` rows and columns from `start` on."""

    kind = "crop"

    def __init__(self, start: Pair, size: Pair) -> None:
        super().__init__()
        self.start, self.size = start, size

    def settings(self) -> dict[str, object]:
        return {"start": list(self.start), "size": list(self.size)}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        return Interval(wanted.start + self.start[axis], wanted.stop + self.start[axis])

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (Interval(self.start[a], self.start[a] + self.size[a]).as_slice() for a in (0, 1))
        return x[:, :, rows, columns]

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        return inputs[0]


class Resampled(Operator):
    """A map of another size, whose position o lies at (o · step + base) / period of the input, on each axis.

    The values between two inputs are interpolated linearly, or are those of the input before.
    """

    kind = "resize"
    regular = False
    linear = True

    def line(self, axis: int, size: int) -> tuple[int, int, int]:
        """(step, base, period) along an axis, for an input of length `size`."""
        raise NotImplementedError

    def outputs(self, axis: int, size: int) -> int:
        """Length of the output along an axis, for an input of length `size`."""
        raise NotImplementedError

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        step, base, period = self.line(axis, size)
        last, beyond = divmod((wanted.stop - 1) * step + base, period)
        return Interval((wanted.start * step + base) // period, last + 1 + int(self.linear and beyond > 0))

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        step, base, period = self.line(axis, part.size)
        return (part.wanted.start * step + base - part.given.start * period,)

    def forward(self, x: Tensor) -> Tensor:
        return self.on_part([x], *_whole(x, tuple(self.outputs(axis, x.shape[2 + axis]) for axis in (0, 1))))

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x = inputs[0]
        for axis, part in enumerate((rows, columns)):
            x = self._along(x, part, axis)
        return x

    def _along(self, x: Tensor, part: Part, axis: int) -> Tensor:
        """x, resampled along one axis; outputs that lie beyond the input are zero."""
        given, wanted = x.shape[2 + axis], len(part.wanted)
        if not given:
            shape = list(x.shape)
            shape[2 + axis] = wanted
            return x.new_zeros(shape)
        step, _, period = self.line(axis, part.size)
        at = torch.arange(wanted, device=x.device) * step + self.alignment(part, axis)[0]
        before = at.div(period, rounding_mode="floor")
        share = (at - before * period).to(x.dtype) / period if self.linear else torch.zeros_like(at, dtype=x.dtype)
        shape = (-1, 1) if axis == 0 else (-1,)
        parts = []
        for place, weight in ((before, 1 - share), (before + 1, share)):
            weight = (weight * ((place >= 0) & (place < given))).view(shape)
            parts.append(x.index_select(2 + axis, place.clamp(0, given - 1)) * weight)
            if not self.linear:
                return parts[0]
        return parts[0] + parts[1]


class Interpolation(Resampled):
    """The map at another size, bilinear, with the centres of the corner pixels of both maps on each other.

    size : rows and columns of the output.
    before, after : rows and columns of the input to leave out at its near and far edges.
    """

    def __init__(self, size: Pair, before: int = 0, after: int = 0) -> None:
        super().__init__()
        self.size, self.before, self.after = size, before, after

    def settings(self) -> dict[str, object]:
        return {"size": list(self.size), "before": self.before, "after": self.after}

    def line(self, axis: int, size: int) -> tuple[int, int, int]:
        period = max(1, self.size[axis] - 1)
        step = size - self.before - self.after - 1 if self.size[axis] > 1 else 0
        return step, self.before * period, period

    def outputs(self, axis: int, size: int) -> int:
        return self.size[axis]


class Enlarged(Resampled):
    """Every value, repeated `factor` times along each axis; the first value begins at position −`start`.

    size : rows and columns of the output, zero beyond the last value; None for factor times the input's.
    """

    linear = False

    def __init__(self, factor: Pair, start: Pair = (0, 0), size: Pair | None = None) -> None:
        super().__init__()
        self.factor, self.start, self.size = factor, start, size

    def settings(self) -> dict[str, object]:
        size = None if self.size is None else list(self.size)
        return {"factor": list(self.factor), "start": list(self.start), "size": size}

    def line(self, axis: int, size: int) -> tuple[int, int, int]:
        return 1, self.start[axis], self.factor[axis]

    def outputs(self, axis: int, size: int) -> int:
        return size * self.factor[axis] if self.size is None else self.size[axis]


class Switches(Operator):
    """1 where a window of a max pooling has its largest value, the first among equal ones, and 0 elsewhere.

    The windows must not overlap. The values do not change gradually: the gradient is zero.
    """

    kind = "switches"

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair, rounding: str) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.rounding = kernel, stride, padding, rounding

    def settings(self) -> dict[str, object]:
        names = ("kernel", "stride", "padding")
        return {name: list(getattr(self, name)) for name in names} | {"rounding": self.rounding}

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        return self._pooled(self._windows(wanted, axis), axis).hull(wanted)

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        pooled = self._pooled(self._inside(part, axis), axis)
        return pooled.start - part.wanted.start, len(pooled), part.given.start - part.wanted.start

    def forward(self, x: Tensor) -> Tensor:
        return self.on_part([x], *_whole(x, tuple(x.shape[2:])))

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        parts = (rows, columns)
        pooled = [self._pooled(self._inside(part, axis), axis) for axis, part in enumerate(parts)]
        around = [
            (part.given.start - inner.start, inner.stop - part.given.stop)
            for part, inner in zip(parts, pooled, strict=True)
        ]
        margins = [
            (inner.start - part.wanted.start, part.wanted.stop - inner.stop)
            for part, inner in zip(parts, pooled, strict=True)
        ]
        if not all(map(len, pooled)):  # no window reaches them; a gradient must exist nevertheless
            shape = (*inputs[0].shape[:2], len(rows.wanted), len(columns.wanted))
            return _Marks.apply(inputs[0], (1, 1), (1, 1)).sum() * inputs[0].new_zeros(shape)
        x = padded(inputs[0], (around[0], around[1]), float("-inf"))
        return padded(_Marks.apply(x, self.kernel, self.stride), (margins[0], margins[1]))

    def _windows(self, wanted: Interval, axis: int) -> Interval:
        """The windows that reach the wanted positions, on an unbounded map."""
        first = (wanted.start + self.padding[axis]) // self.stride[axis]
        return Interval(first, (wanted.stop - 1 + self.padding[axis]) // self.stride[axis] + 1)

    def _inside(self, part: Part, axis: int) -> Interval:
        """Those of them that the pooling computes."""
        reach = Reach(self.kernel[axis], self.stride[axis], self.padding[axis])
        return self._windows(part.wanted, axis).clip(reach.outputs(part.size, self.rounding))

    def _pooled(self, windows: Interval, axis: int) -> Interval:
        """The positions from the first window's first to the last window's last."""
        start = windows.start * self.stride[axis] - self.padding[axis]
        if not len(windows):
            return Interval(start, start)
        return Interval(start, (windows.stop - 1) * self.stride[axis] - self.padding[axis] + self.kernel[axis])


class _Marks(torch.autograd.Function):
    """1 at the largest value of each window, without padding; the derivative is zero."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Pair, stride: Pair) -> Tensor:
        _, places = functional.max_pool2d(x, kernel, stride, return_indices=True)
        marks = torch.zeros_like(x, memory_format=torch.contiguous_format)
        marks.flatten(2).scatter_(2, places.flatten(2), 1.0)
        return marks

    @staticmethod
    def backward(ctx, above: Tensor) -> tuple[Tensor, None, None]:
        return torch.zeros_like(above), None, None
