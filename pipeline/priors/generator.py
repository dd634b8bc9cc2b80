"""The generator of a prior: from a code of a layer to an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import SettingsError

SMALLEST_GRID, LARGEST_GRID = 4, 7  # pixels: longer side of the grid that is doubled
SMALLEST_IMAGE = 8  # pixels: smaller images need no doubling


@dataclass(frozen=True)
class GeneratorShape:
    """Everything that decides a generator's form."""

    code: tuple[int, ...]  # shape of a code: (entry,) or (channel, row, column)
    image: tuple[int, int]  # smallest rows and columns of its images, pixels
    hidden: int  # outputs of the first inner product; for a map, channels of the first convolution
    grid_channels: int  # channels of the first grid
    least_channels: int  # each doubling halves the channels, but not below this number
    twice_up_to: int  # maps of at most this many rows get a second convolution
    slope: float  # of the leaky ReLUs
    scale: float  # a code is divided by this, about its root mean square
    notch: bool = False  # in evaluation mode, apply `without_checkerboard` to the images

    def __post_init__(self) -> None:
        if len(self.code) not in (1, 3) or min(self.code) < 1:
            raise SettingsError(f"generator code: got shape {self.code}, expected (entry,) or (channel, row, column)")
        if min(self.image) < SMALLEST_IMAGE:
            raise SettingsError(f"generator image: got {self.image}, expected at least {SMALLEST_IMAGE} pixels a side")
        if min(self.hidden, self.grid_channels, self.least_channels) < 1:
            raise SettingsError(
                f"generator: got {self.hidden} hidden, {self.grid_channels} grid and {self.least_channels} least "
                "channels, expected at least 1 each"
            )
        if not 0 <= self.slope <= 1:
            raise SettingsError(f"generator slope: got {self.slope}, expected a number from 0 to 1")
        if not self.scale > 0:
            raise SettingsError(f"generator scale: got {self.scale}, expected more than 0; are all codes zero?")

    @property
    def doublings(self) -> int:
        """Number of doublings: the smallest with which the grid has at most LARGEST_GRID rows and columns."""
        return max(0, math.ceil(math.log2(max(self.image) / LARGEST_GRID)))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid that is doubled."""
        return tuple(math.ceil(side / 2**self.doublings) for side in self.image)  # type: ignore[return-value]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the images."""
        return tuple(side * 2**self.doublings for side in self.grid)  # type: ignore[return-value]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the grid and of the map after each doubling except the last, whose result is the image."""
        return tuple(max(self.least_channels, self.grid_channels // 2**level) for level in range(self.doublings))


class DoublingConvolution(nn.Module):
    """Doubles rows and columns of (batch, channel, row, column): sub-pixel convolution, then a mean over 2 x 2 pixels.

    Each of the four pixels that replace one has its own 3 x 3 kernel. The four kernels are initialized alike. Whatever
    they become, the mean removes what alternates from pixel to pixel, that is, a checkerboard.
    Source: Shi et al. 2016, sub-pixel convolution; Aitken et al. 2017, the initialization; Sugawara et al. 2019,
    the mean.
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
        """Set random weights as Kaiming He et al. 2015 do, the same for all four pixels.

        slope : of the leaky ReLU after the layer.
        """
        with torch.no_grad():
            one = torch.empty(len(self.bias), *self.weight.shape[1:])
            self.weight.copy_(nn.init.kaiming_normal_(one, a=slope).repeat_interleave(4, 0))

    def even(self) -> None:
        """Replace each four kernels by their mean: the layer then convolves and interpolates."""
        with torch.no_grad():
            kernels = self.weight.unflatten(0, (-1, 4))
            self.weight.copy_(kernels.mean(1).repeat_interleave(4, 0))


class RepeatingConvolution(nn.Module):
    """Doubles rows and columns of (batch, channel, row, column): repeats each pixel 2 x 2 times, then convolves, 5 x 5.

    All pixels are treated alike, so a flat map stays flat (Odena et al. 2016). It is computed before the repetition, on
    a quarter of the pixels: each of the four pixels that replace one has a 3 x 3 kernel, made of sums of the taps.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 5, 5))
        self.bias = nn.Parameter(torch.zeros(outputs))
        sums = torch.zeros(2, 3, 5)  # (pixel of two, tap of three, tap of the 5 x 5 kernel)
        for place in range(2):
            for tap in range(5):
                sums[place, (place + tap - 2) // 2 + 1, tap] = 1
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        places = functional.conv2d(value, self.kernels(), self.bias.repeat_interleave(4), padding=1)
        return functional.pixel_shuffle(places, 2)

    def kernels(self) -> Tensor:
        """The kernels of the four pixels that replace one, (4 · output, input, 3, 3)."""
        outputs, inputs = self.weight.shape[:2]
        kernels = torch.einsum("pas,qbt,oist->opqiab", self.sums, self.sums, self.weight)
        return kernels.reshape(4 * outputs, inputs, 3, 3)

    def initialise(self, slope: float) -> None:
        """Set random weights as Kaiming He et al. 2015 do.

        slope : of the leaky ReLU after the layer.
        """
        nn.init.kaiming_normal_(self.weight, a=slope)

    def even(self) -> None:
        """Remove from the kernels what responds to values that alternate along rows or along columns."""
        with torch.no_grad():
            alternating = self.weight.new_tensor([1, -1, 1, -1, 1])
            keep = torch.eye(5).to(self.weight) - alternating[:, None] * alternating / 5
            self.weight.copy_(keep @ self.weight @ keep)


def without_checkerboard(images: Tensor) -> Tensor:
    """Return images without the alternation between pixels in both directions, by a notch filter of 3 x 3 taps.

    The filter multiplies the frequency (u, v) by 1 − sin²(u/2) sin²(v/2): by 0 at (π, π), where photos have almost no
    power, and by 1 along the axes.

    images : (batch, channel, row, column).
    """
    channels = images.shape[1]
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(padded, checkerboard_taps(images).expand(channels, 1, 3, 3), groups=channels)


def checkerboard_taps(images: Tensor) -> Tensor:
    """The taps of `without_checkerboard`, (3, 3), in the images' type and on their device."""
    alternate = images.new_tensor([-0.25, 0.5, -0.25])
    taps = images.new_zeros(3, 3)
    taps[1, 1] = 1
    return taps - alternate[:, None] * alternate


class Generator(nn.Module):
    """A generator: inner products (convolutions, if the code is a map) give a small grid, which is doubled to an image.

    Source: Dosovitskiy & Brox 2016, section 3.
    Departures: other doublings than transposed convolutions, whose kernels overlap unevenly and produce checkerboards
    (Odena et al. 2016); a tanh at the end. The notch filter is applied only in evaluation mode: in training, the losses
    have to measure the checkerboard in order to reduce it.
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
        """Return images in (-1, 1), (batch, 3, row, column), for codes (batch, *shape.code)."""
        shape = self.shape
        value = self._activated(self.first(code / shape.scale))
        value = self._activated(self.second(value))
        if len(shape.code) == 1:
            value = value.unflatten(1, (shape.channels[0], *shape.grid))
        elif tuple(value.shape[-2:]) != shape.grid:
            value = functional.interpolate(value, shape.grid, mode="bilinear", align_corners=False)
        for up, second in zip(self.ups, self.seconds, strict=True):
            value = self._activated(up(value))
            if not isinstance(second, nn.Identity):
                value = self._activated(second(value))
        image = self.last(value)
        if self.shape.notch and not self.training:
            image = without_checkerboard(image)
        return torch.tanh(image)

    def even(self) -> None:
        """Let all doublings treat their pixels alike, so that none adds a mesh to what is smooth.

        A doubling repeats the spectrum of its map, mirrored at half the new resolution. What is strong and slow, such
        as an object, so returns as a fine mesh along the axes, unless the kernels suppress it.
        """
        for doubling in (*self.ups, self.last):
            doubling.even()  # type: ignore[operator]

    def _activated(self, value: Tensor) -> Tensor:
        return functional.leaky_relu(value, self.shape.slope)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=self.shape.slope)
                nn.init.zeros_(module.bias)
            elif isinstance(module, DoublingConvolution | RepeatingConvolution):
                module.initialise(self.shape.slope)
        with torch.no_grad():
            self.last.weight *= 0.3  # otherwise the tanh is saturated at the start


class Lowered(nn.Module):
    """A generator that computes in bfloat16; codes and images are float32."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator.bfloat16()

    def forward(self, code: Tensor) -> Tensor:
        return self.generator(code.bfloat16()).float()
