"""The generator of a prior: from a code of a layer to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import SettingsError

SMALLEST_GRID, LARGEST_GRID = 4, 7  # pixels: where the doubling begins, along the longer side
SMALLEST_IMAGE = 8  # pixels: below, nothing is doubled


@dataclass(frozen=True)
class GeneratorShape:
    """What decides a generator's form.

    code : shape of a code, (entry,) or (channel, row, column). image : (rows, columns) that it must give at least.
    hidden : width of the inner products before the grid, for a vector. grid_channels : of the start grid.
    least_channels : of the last maps; each doubling halves the channels down to these. twice_up_to : maps of at most
    so many rows get a second convolution. scale : what a code is divided by, about its root mean square. notch : once
    trained, its images lack the frequency of a checkerboard, see `without_checkerboard`.
    """

    code: tuple[int, ...]
    image: tuple[int, int]
    hidden: int
    grid_channels: int
    least_channels: int
    twice_up_to: int
    slope: float
    scale: float
    notch: bool = False

    def __post_init__(self) -> None:
        if len(self.code) not in (1, 3) or min(self.code) < 1:
            raise SettingsError(f"generator code: got shape {self.code}, expected (entry,) or (channel, row, column)")
        if min(self.image) < SMALLEST_IMAGE:
            raise SettingsError(f"generator image: got {self.image}, expected at least {SMALLEST_IMAGE} pixels a side")
        if not self.scale > 0:
            raise SettingsError(f"generator scale: got {self.scale}, expected more than 0; are all codes zero?")

    @property
    def doublings(self) -> int:
        """How often the grid is doubled: the fewest times that leave at most LARGEST_GRID rows and columns."""
        return max(0, math.ceil(math.log2(max(self.image) / LARGEST_GRID)))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns where the doubling begins."""
        return tuple(math.ceil(side / 2**self.doublings) for side in self.image)  # type: ignore[return-value]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the images."""
        return tuple(side * 2**self.doublings for side in self.grid)  # type: ignore[return-value]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the grid and after each doubling but the last, which ends with the image."""
        return tuple(max(self.least_channels, self.grid_channels // 2**level) for level in range(self.doublings))


class DoublingConvolution(nn.Module):
    """Twice the rows and columns: (batch, channel, row, column) to twice the size, a 3 x 3 kernel for each of the four
    places that a pixel becomes, and the mean of two by two places.

    The four kernels begin alike; whatever they become, the mean takes away what alternates from place to place, which
    is all that a checkerboard is.
    Source: Shi et al. 2016, sub-pixel convolution; Aitken et al. 2017, the start; Sugawara et al. 2019, the mean.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4 * outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, value: Tensor) -> Tensor:
        places = functional.conv2d(value, self.weight, self.bias.repeat_interleave(4), padding=1)
        doubled = functional.pixel_shuffle(places, 2)
        return functional.avg_pool2d(functional.pad(doubled, (1, 0, 1, 0), mode="replicate"), 2, stride=1)

    def initialise(self, slope: float) -> None:
        """Kaiming's weights, the same for all four places."""
        with torch.no_grad():
            one = torch.empty(len(self.bias), *self.weight.shape[1:])
            self.weight.copy_(nn.init.kaiming_normal_(one, a=slope).repeat_interleave(4, 0))


class RepeatingConvolution(nn.Module):
    """Each pixel repeated two by two, then a 5 x 5 convolution: (batch, channel, row, column) to twice the size.

    It treats all pixels alike: a flat map stays flat (Odena et al. 2016). Computed before the repetition, where four
    times fewer pixels are: each of the four places that a pixel becomes has a 3 x 3 kernel of sums of the taps.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 5, 5))
        self.bias = nn.Parameter(torch.zeros(outputs))
        sums = torch.zeros(2, 3, 5)  # which of the two places, tap of three, tap of the kernel
        for place in range(2):
            for tap in range(5):
                sums[place, (place + tap - 2) // 2 + 1, tap] = 1
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        outputs, inputs = self.weight.shape[:2]
        kernels = torch.einsum("pas,qbt,oist->opqiab", self.sums, self.sums, self.weight)
        places = functional.conv2d(
            value, kernels.reshape(4 * outputs, inputs, 3, 3), self.bias.repeat_interleave(4), padding=1
        )
        return functional.pixel_shuffle(places, 2)

    def initialise(self, slope: float) -> None:
        """Kaiming's weights."""
        nn.init.kaiming_normal_(self.weight, a=slope)


def without_checkerboard(images: Tensor) -> Tensor:
    """Images, (batch, channel, row, column), without what alternates from pixel to pixel both ways.

    A notch filter of 3 x 3 taps: it keeps 1 − sin²(u/2) sin²(v/2) of the frequency (u, v), so nothing at (π, π), where
    photos have next to nothing, and all along the axes.
    """
    alternate = images.new_tensor([-0.25, 0.5, -0.25])
    taps = images.new_zeros(3, 3)
    taps[1, 1] = 1
    taps -= alternate[:, None] * alternate
    channels = images.shape[1]
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, taps.expand(channels, 1, 3, 3), groups=channels)


class Generator(nn.Module):
    """A code to an image: inner products (or convolutions, for a map) to a small grid, which is doubled.

    Takes (batch, *code), returns (batch, 3, row, column) in (-1, 1).
    Source: Dosovitskiy & Brox 2016, section 3, with other doublings than transposed convolutions, whose kernels meet
    unevenly and draw checkerboards (Odena et al. 2016), and a tanh at the end. The notch works in evaluation alone: in
    training the losses have to see what they are to work against.
    """

    def __init__(self, shape: GeneratorShape) -> None:
        super().__init__()
        self.shape = shape
        grid = shape.channels[0]
        if len(shape.code) == 1:
            self.first = nn.Linear(shape.code[0], shape.hidden)
            self.second = nn.Linear(shape.hidden, grid * shape.grid[0] * shape.grid[1])
        else:
            self.first = nn.Conv2d(shape.code[0], shape.hidden, 3, padding=1)
            self.second = nn.Conv2d(shape.hidden, grid, 3, padding=1)
        rows, ups, seconds = shape.grid[0], [], []
        for inner, outer in zip(shape.channels, shape.channels[1:], strict=False):
            rows *= 2
            ups.append(DoublingConvolution(inner, outer))
            seconds.append(nn.Conv2d(outer, outer, 3, padding=1) if rows <= shape.twice_up_to else nn.Identity())
        self.ups, self.seconds = nn.ModuleList(ups), nn.ModuleList(seconds)
        self.last = RepeatingConvolution(shape.channels[-1], 3)
        self._initialise()

    def forward(self, code: Tensor) -> Tensor:
        shape = self.shape
        value = self._bend(self.first(code / shape.scale))
        value = self._bend(self.second(value))
        if len(shape.code) == 1:
            value = value.unflatten(1, (shape.channels[0], *shape.grid))
        elif tuple(value.shape[-2:]) != shape.grid:
            value = functional.interpolate(value, shape.grid, mode="bilinear", align_corners=False)
        for up, second in zip(self.ups, self.seconds, strict=True):
            value = self._bend(up(value))
            if not isinstance(second, nn.Identity):
                value = self._bend(second(value))
        image = self.last(value)
        if self.shape.notch and not self.training:
            image = without_checkerboard(image)
        return torch.tanh(image)

    def _bend(self, value: Tensor) -> Tensor:
        return functional.leaky_relu(value, self.shape.slope)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=self.shape.slope)
                nn.init.zeros_(module.bias)
            elif isinstance(module, DoublingConvolution | RepeatingConvolution):
                module.initialise(self.shape.slope)
        with torch.no_grad():
            self.last.weight *= 0.3  # else the tanh begins in its flat parts
