"""The project's small networks for drawings: doodlenet, its judge doodlejudge, and doodlevgg."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

SIZE = 96  # pixels, both ways
# All three read (pixel - MEAN) * GAIN of RGB pixels in 0…255. The mean is that of the drawings, rounded.
MEAN: tuple[float, float, float] = (140.0, 135.0, 130.0)
GAIN: tuple[float, float, float] = (1 / 64, 1 / 64, 1 / 64)


def doodlenet(*, classes: int, normalised: bool = False) -> nn.Sequential:
    """A small CaffeNet, untrained, with its layers, names, groups and order; reads (batch, 3, 96, 96).

    classes : units of fc8.
    normalised : the form for training. A batch normalisation `bn1` … `bn5`, to be folded later, follows each
        convolution. `norm1` and `norm2` are left out: at activations near 1, Caffe's constants make them the identity
        within a few parts in ten thousand, and they take a third of the time of a step.
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
    """A small residual network, untrained; reads (batch, 3, 96, 96) and ends with `fc` and `prob`.

    Its architecture differs from doodlenet's in every part, so that the two share few blind spots.

    classes : units of fc.
    Source: He et al. 2016, identity mappings (pre-activation), with SiLU.
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
    """The residual block of the project's judges: two convolutions and a shortcut, added.

    The shortcut is average-pooled for a stride, and has a 1 × 1 convolution where the channels differ.
    Source: He et al. 2016, identity mappings (pre-activation), with SiLU.
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
    """A small VGG, untrained; reads (batch, 3, 96, 96): pairs of 3 × 3 convolutions, a mean, one inner product.

    It serves to show how far the prior of another network (doodlenet) reaches; it judges nothing.

    classes : units of fc.
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
