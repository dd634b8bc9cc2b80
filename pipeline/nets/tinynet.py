"""The project's networks for small photos: tinynet, and its judge tinyjudge."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from pipeline.nets.doodlenet import ResidualBlock

SIZE = 64  # pixels, both ways
# Both networks read (pixel - MEAN) * GAIN of RGB pixels in 0…255: -1 is black, 1 is white.
MEAN: tuple[float, float, float] = (127.5, 127.5, 127.5)
GAIN: tuple[float, float, float] = (1 / 127.5, 1 / 127.5, 1 / 127.5)


def tinynet(*, classes: int, normalised: bool = False) -> nn.Sequential:
    """A CaffeNet for small photos, untrained, with its layers, names and order; reads (batch, 3, 64, 64).

    classes : units of fc8.
    normalised : the form for training. A batch normalisation `bn1` … `bn7`, to be folded later, follows each
        convolution and fc6 and fc7. It has neither scale nor shift: a learned shift becomes negative and leaves only a
        quarter of a layer's values above zero, too few for a prior to reconstruct the photo. `pool5` pools a map of
        any size to 4 × 4, so that training can begin with smaller photos.
    Source: Krizhevsky et al. 2012, in Caffe's order; without response normalisation and groups.
    """
    layers: list[tuple[str, nn.Module]] = []

    def bend(number: int, channels: int, norm: type[nn.BatchNorm1d | nn.BatchNorm2d]) -> None:
        if normalised:
            layers.append((f"bn{number}", norm(channels, affine=False)))
        layers.append((f"relu{number}", nn.ReLU()))

    def convolve(number: int, inputs: int, outputs: int, **window: int) -> None:
        layers.append((f"conv{number}", nn.Conv2d(inputs, outputs, **window)))
        bend(number, outputs, nn.BatchNorm2d)

    def connect(number: int, inputs: int, outputs: int, dropped: float) -> None:
        layers.append((f"fc{number}", nn.Linear(inputs, outputs)))
        bend(number, outputs, nn.BatchNorm1d)
        layers.append((f"drop{number}", nn.Dropout(dropped)))

    convolve(1, 3, 64, kernel_size=5, stride=2, padding=2)  # 32 x 32
    layers.append(("pool1", nn.MaxPool2d(3, 2, padding=1)))  # 16 x 16
    convolve(2, 64, 160, kernel_size=3, padding=1)
    layers.append(("pool2", nn.MaxPool2d(3, 2, padding=1)))  # 8 x 8
    convolve(3, 160, 256, kernel_size=3, padding=1)
    convolve(4, 256, 256, kernel_size=3, padding=1)
    convolve(5, 256, 192, kernel_size=3, padding=1)
    layers.append(("pool5", nn.AdaptiveMaxPool2d(4) if normalised else nn.MaxPool2d(2, 2)))  # 4 x 4
    layers.append(("flatten", nn.Flatten()))
    connect(6, 192 * 4 * 4, 1024, 0.3)
    connect(7, 1024, 512, 0.3)
    layers.append(("fc8", nn.Linear(512, classes)))
    layers.append(("prob", nn.Softmax(dim=1)))
    return nn.Sequential(OrderedDict(layers))


def tinyjudge(*, classes: int) -> nn.Sequential:
    """A residual network, untrained; reads (batch, 3, 64, 64) and ends with `fc` and `prob`.

    Its architecture differs from tinynet's in every part, so that the two share few blind spots.

    classes : units of fc.
    Source: He et al. 2016, identity mappings (pre-activation), with SiLU.
    """
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 32, 3, stride=2, padding=1),  # 32 x 32
            block1=ResidualBlock(32, 64, stride=2),  # 16 x 16
            block2=ResidualBlock(64, 64, stride=1),
            block3=ResidualBlock(64, 128, stride=2),  # 8 x 8
            block4=ResidualBlock(128, 256, stride=2),  # 4 x 4
            norm=nn.BatchNorm2d(256),
            bend=nn.SiLU(),
            mean=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            drop=nn.Dropout(0.2),
            fc=nn.Linear(256, classes),
            prob=nn.Softmax(dim=1),
        )
    )
