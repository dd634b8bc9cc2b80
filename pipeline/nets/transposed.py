"""The transpose of a convolution: from a signal at its outputs to the signal at its inputs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]  # (rows, columns)

_FEW = 4  # input channels up to which a strided convolution is transposed by a convolution of stride 1


def transposed_convolution(
    above: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """The signal at the inputs that the outputs read, (batch, channel, row, column).

    The result ends with the window of the last output; inputs beyond it are left out.

    above : signal at the outputs, (batch, out, row, column).
    weight : (out, in / groups, rows, columns).
    padding : rows and columns that are cropped from the result at both edges.
    """
    if not of_image(weight, stride, dilation, groups):
        return functional.conv_transpose2d(above, weight, None, stride, padding, 0, groups, dilation)
    signal = _interleaved(above, weight, stride)
    rows, columns = ((above.shape[2 + a] - 1) * stride[a] + weight.shape[2 + a] - padding[a] for a in (0, 1))
    return signal[:, :, padding[0] : rows, padding[1] : columns]


def of_image(weight: Tensor, stride: Pair, dilation: Pair, groups: int) -> bool:
    """Whether a convolution has a stride and so few input channels that the fast form is worth it."""
    return groups == 1 and dilation == (1, 1) and weight.shape[1] <= _FEW and max(stride) > 1


def _interleaved(above: Tensor, weight: Tensor, stride: Pair) -> Tensor:
    """The transposed convolution, computed as a convolution of stride 1 whose channels are the phases of the stride.

    On a CPU the usual strided form is 3 to 5 times slower for AlexNet's first layer: with an image's three channels
    it leaves the vector units mostly idle.
    Source: Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?".
    """
    out, channels = weight.shape[:2]
    taps = tuple(-(-weight.shape[2 + a] // stride[a]) for a in (0, 1))
    spare = tuple(taps[a] * stride[a] - weight.shape[2 + a] for a in (0, 1))
    phases = functional.pad(weight, (0, spare[1], 0, spare[0]))
    phases = phases.view(out, channels, taps[0], stride[0], taps[1], stride[1]).permute(1, 3, 5, 0, 2, 4)
    filters = phases.reshape(channels * stride[0] * stride[1], out, *taps).flip(2, 3)
    signal = functional.conv2d(above, filters, padding=(taps[0] - 1, taps[1] - 1))
    signal = signal.unflatten(1, (channels, *stride)).permute(0, 1, 4, 2, 5, 3)  # channel, row, phase, column, phase
    return signal.flatten(4, 5).flatten(2, 3)


class ImageConvolution(torch.autograd.Function):
    """A convolution of few channels without padding, with the fast form as its backward pass; for frozen weights.

    The input has to end with the window of the last output.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride = stride
        return functional.conv2d(x, weight, bias, stride)

    @staticmethod
    def backward(ctx, above: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return transposed_convolution(above, weight, ctx.stride, (0, 0), (1, 1), 1), None, None, None
