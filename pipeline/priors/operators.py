"""The operators of the project's own generators that networks do not have, each computing any part of its map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from pipeline.nets.interval import Interval, Part
from pipeline.nets.operators import Operator
from pipeline.nets.sliding import Sliding
from pipeline.priors.generator import checkerboard_taps


class SubPixels(Operator):
    """Four channels as the 2 x 2 pixels that replace one: (4 · channel, row, column) → (channel, 2 · row, 2 · column).

    Source: Shi et al. 2016, sub-pixel convolution.
    """

    kind = "resize"
    regular = False

    def needed(self, wanted: Interval, axis: int, size: int) -> Interval:
        return Interval(wanted.start // 2, (wanted.stop + 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(x, 2)

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        doubled = self(inputs[0])
        top, left = (part.wanted.start - 2 * part.given.start for part in (rows, columns))
        return doubled[:, :, top : top + len(rows.wanted), left : left + len(columns.wanted)]

    def alignment(self, part: Part, axis: int) -> tuple[int, ...]:
        return (part.wanted.start - 2 * part.given.start,)


class _Repeating(Sliding):
    """An operator of stride 1 whose map keeps its size; beyond a border is the border's value."""

    kind = "function"

    def forward(self, x: Tensor) -> Tensor:
        whole = tuple(Part(Interval(0, size), Interval(0, size), size) for size in x.shape[2:])
        return self.on_part([x], *whole)

    def bordered(self, x: Tensor, rows: Part, columns: Part) -> Tensor:
        """The inputs of the wanted outputs, those beyond the map included."""
        (top, bottom), (left, right) = self.margins(rows, columns)
        return functional.pad(x, (left, right, top, bottom), mode="replicate") if top or bottom or left or right else x


class NeighbourMean(_Repeating):
    """The mean of each value and its neighbours above, to the left, and above to the left.

    Source: Sugawara et al. 2019, against checkerboards of sub-pixel convolutions.
    """

    def __init__(self) -> None:
        super().__init__(kernel=(2, 2), stride=(1, 1), padding=(1, 1))

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        return functional.avg_pool2d(self.bordered(inputs[0], rows, columns), 2, stride=1)


class Notch(_Repeating):
    """`generator.without_checkerboard` as an operator."""

    def __init__(self) -> None:
        super().__init__(kernel=(3, 3), stride=(1, 1), padding=(1, 1))

    def on_part(self, inputs: Sequence[Tensor], rows: Part, columns: Part) -> Tensor:
        x = inputs[0]
        taps = checkerboard_taps(x).expand(x.shape[1], 1, 3, 3)
        return functional.conv2d(self.bordered(x, rows, columns), taps, groups=x.shape[1])
