"""The residual block that the project's judges are built of."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """Two convolutions beside a shortcut that is averaged down and widened where the sizes differ.

    Source: He et al. 2016, identity mappings (normalise and bend before each convolution), with SiLU.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.bend1 = nn.SiLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.bend2 = nn.SiLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        shortcut: list[nn.Module] = [] if stride == 1 else [nn.AvgPool2d(stride)]
        if inputs != outputs:
            shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, image: Tensor) -> Tensor:
        inner = self.conv1(self.bend1(self.norm1(image)))
        return self.conv2(self.bend2(self.norm2(inner))) + self.shortcut(image)
