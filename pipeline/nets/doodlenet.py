"""The project's own small networks for drawings: doodlenet, the judge that looks at its pictures, and a third one."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

SIZE = 96  # pixels, both ways
# All three see (pixel - MEAN) * GAIN of RGB pixels in 0..255. The mean is that of drawings, rounded.
MEAN: tuple[float, float, float] = (140.0, 135.0, 130.0)
GAIN: tuple[float, float, float] = (1 / 64, 1 / 64, 1 / 64)


def doodlenet(*, classes: int, normalised: bool = False) -> nn.Sequential:
    """Return CaffeNet in small, untrained: its layers, names, groups and order, for (batch, 3, 96, 96).

    normalised : the form for training, with a batch normalisation `bn1` … `bn5` behind each convolution,
        to be folded into it, and without `norm1` and `norm2`: on activations near one Caffe's constants
        make them the identity to a few parts in ten thousand, at a third of the time of a step.
    Source: Krizhevsky et al. 2012, in Caffe's order of pooling before normalisation.
    """
    layers: list[tuple[str, nn.Module]] = []

    def convolve(number: int, inputs: int, outputs: int, **window: int) -> None:
        layers.append((f"conv{number}", nn.Conv2d(inputs, outputs, **window)))
        if normalised:
            layers.append((f"bn{number}", nn.BatchNorm2d(outputs)))
        layers.append((f"relu{number}", nn.ReLU()))

    def pool(number: int) -> None:
        layers.append((f"pool{number}", nn.MaxPool2d(3, 2, ceil_mode=True)))

    def respond(number: int) -> None:
        if not normalised:
            layers.append((f"norm{number}", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)))

    convolve(1, 3, 20, kernel_size=6, stride=3)  # 31 x 31, to the last pixel of 96
    pool(1)  # 15 x 15
    respond(1)
    convolve(2, 20, 40, kernel_size=5, padding=2, groups=2)
    pool(2)  # 7 x 7
    respond(2)
    convolve(3, 40, 64, kernel_size=3, padding=1)
    convolve(4, 64, 64, kernel_size=3, padding=1, groups=2)
    convolve(5, 64, 48, kernel_size=3, padding=1, groups=2)
    pool(5)  # 3 x 3
    layers += [
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(48 * 3 * 3, 256)),
        ("relu6", nn.ReLU()),
        ("drop6", nn.Dropout(0.2)),
        ("fc7", nn.Linear(256, 128)),
        ("relu7", nn.ReLU()),
        ("drop7", nn.Dropout(0.2)),
        ("fc8", nn.Linear(128, classes)),
        ("prob", nn.Softmax(dim=1)),
    ]
    return nn.Sequential(OrderedDict(layers))


def doodlejudge(*, classes: int) -> nn.Sequential:
    """Return a small residual network, untrained, for (batch, 3, 96, 96); it ends with `fc` and `prob`.

    It is built unlike doodlenet throughout, so that the two share as few blind spots as can be.
    Source: He et al. 2016, identity mappings (normalise and bend before each convolution), with SiLU.
    """
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 16, 5, stride=2, padding=2),  # 48 x 48
            block1=ResidualBlock(16, 32, stride=2),  # 24 x 24
            block2=ResidualBlock(32, 64, stride=2),  # 12 x 12
            block3=ResidualBlock(64, 64, stride=1),
            block4=ResidualBlock(64, 96, stride=2),  # 6 x 6
            norm=nn.BatchNorm2d(96),
            bend=nn.SiLU(),
            mean=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            drop=nn.Dropout(0.2),
            fc=nn.Linear(96, classes),
            prob=nn.Softmax(dim=1),
        )
    )


class ResidualBlock(nn.Module):
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


def doodlevgg(*, classes: int) -> nn.Sequential:
    """Return VGG in small, untrained, for (batch, 3, 96, 96): pairs of 3 x 3 convolutions, a mean, one inner product.

    Its pictures show what the codes of another network (doodlenet) can say of it; it judges nothing.
    Source: Simonyan & Zisserman 2014, with batch normalisation and a mean over positions before the class layer.
    """
    layers: list[tuple[str, nn.Module]] = []
    inner = 3
    for block, outer in enumerate((16, 32, 64, 96), 1):
        for part in (1, 2):
            stride = 2 if (block, part) == (1, 1) else 1
            layers.append((f"conv{block}_{part}", nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)))
            layers.append((f"bn{block}_{part}", nn.BatchNorm2d(outer)))
            layers.append((f"relu{block}_{part}", nn.ReLU()))
            inner = outer
        if block < 4:
            layers.append((f"pool{block}", nn.MaxPool2d(2, 2)))  # 24, 12, 6 pixels
    layers += [
        ("mean", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("drop", nn.Dropout(0.2)),
        ("fc", nn.Linear(inner, classes)),
        ("prob", nn.Softmax(dim=1)),
    ]
    return nn.Sequential(OrderedDict(layers))
