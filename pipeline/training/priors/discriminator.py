"""Discriminators, which separate photos from images that a generator makes of the photos' codes; when they learn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import SettingsError

_SMALLEST = 35  # pixels: on smaller images the published discriminator's last convolution has no input


class PatchDiscriminator(nn.Module):
    """Logits that an image is real: a map for its patches, and one for the whole image with its code.

    Real and generated images must be passed in separate batches: in a mixed batch, batch normalization makes the two
    easy to separate. Each process of a group normalizes its own share.
    Source: Isola et al. 2017 for the map; Dosovitskiy & Brox 2016 for the code.
    """

    def __init__(self, entries: int, *, channels: int, size: int, scale: float) -> None:
        """
        entries : numbers in a code.
        channels : channels of the first convolution.
        size : rows and columns of the images, the smaller number, pixels.
        scale : codes are divided by this, about their root mean square.
        """
        super().__init__()
        self.scale = scale
        widths = [channels, 2 * channels, 4 * channels]
        depth = max(3, round(math.log2(size / 8)))  # halvings until the map of patches has about 8 rows
        widths += [4 * channels] * (depth - 3)
        layers: list[nn.Module] = []
        inner = 3
        for place, width in enumerate(widths):
            layers.append(nn.Conv2d(inner, width, 4, stride=2, padding=1))
            if place > 0:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(0.2))
            inner = width
        self.body = nn.Sequential(*layers)
        self.patches = nn.Conv2d(inner, 1, 3, padding=1)
        top = 6 * channels
        self.top = nn.Sequential(nn.Conv2d(inner, top, 4, stride=2, padding=1), nn.BatchNorm2d(top), nn.LeakyReLU(0.2))
        self.code = nn.Linear(entries, top)
        self.joint = nn.Sequential(nn.Linear(2 * top, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))

    def forward(self, image: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of patches, (batch, row, column), and of whole images, (batch,).

        image : (batch, 3, row, column) in (-1, 1).
        code : (batch, …).
        """
        body = self.body(image)
        top = self.top(body).mean(dim=(2, 3))
        code = functional.leaky_relu(self.code(code.flatten(1) / self.scale), 0.2)
        return self.patches(body)[:, 0], self.joint(torch.cat([top, code], 1))[:, 0]


class PublishedDiscriminator(nn.Module):
    """The published discriminator: five convolutions, their spatial mean joined with the code, two inner products.

    It has the interface of PatchDiscriminator; its map of patches is the single logit of the whole image.
    Source: Dosovitskiy & Brox 2016, supplement; sizes as in reference implementations.
    Departure: one logit instead of a two-way softmax, which is the same function.
    Raises SettingsError if the images are too small.
    """

    def __init__(self, entries: int, *, channels: int, size: int, scale: float) -> None:
        super().__init__()
        check_size("published", size)
        self.scale = scale
        first = 4 if size >= 192 else 2  # stride
        plan = [(channels, 7, first), (2 * channels, 5, 1), (4 * channels, 3, 2), (8 * channels, 3, 1),
                (8 * channels, 3, 2)]  # fmt: skip
        layers: list[nn.Module] = []
        inner = 3
        for width, kernel, stride in plan:
            layers += [nn.Conv2d(inner, width, kernel, stride=stride), nn.ReLU()]
            inner = width
        self.body = nn.Sequential(*layers)
        self.code = nn.Sequential(nn.Linear(entries, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU())
        self.joint = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(inner + 512, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 1)
        )
        for place, module in enumerate(part for part in self.body if isinstance(part, nn.Conv2d)):
            fan = module.weight[0].numel()
            nn.init.normal_(module.weight, std=(0.1 if place == 0 else 1.0) * math.sqrt(2 / fan))
            nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        top = self.body(image).mean(dim=(2, 3))
        logit = self.joint(torch.cat([top, self.code(code.flatten(1) / self.scale)], 1))
        return logit[:, :, None], logit[:, 0]


def check_size(kind: str, size: int) -> None:
    """Raise SettingsError if images are too small for a discriminator.

    kind : "patch" or "published".
    size : rows or columns of the images, the smaller number, pixels.
    """
    if kind == "published" and size < _SMALLEST:
        raise SettingsError(
            f"discriminator: published needs images of at least {_SMALLEST} pixels, these have {size}; "
            "use discriminator=patch"
        )


def build_discriminator(kind: str, entries: int, *, channels: int, size: int, scale: float) -> nn.Module:
    """Return an untrained discriminator.

    kind : "patch" or "published".
    entries : numbers in a code.
    channels : channels of the first convolution.
    size : rows or columns of the images, the smaller number, pixels.
    scale : codes are divided by this.
    """
    form = PatchDiscriminator if kind == "patch" else PublishedDiscriminator
    return form(entries, channels=channels, size=size, scale=scale)


class Balance:
    """Decides whether the discriminator learns, from its loss over the generator's adversarial loss.

    The discriminator is not trained once this ratio is below `skip_below`, until it is above `resume_above`.
    Source: Dosovitskiy & Brox 2016, section 4; the thresholds are settings.
    """

    def __init__(self, skip_below: float, resume_above: float) -> None:
        self.skip_below, self.resume_above = skip_below, resume_above
        self.learns = True

    def update(self, discriminator_loss: float, adversarial_loss: float) -> None:
        """Update `learns` with the losses of a step."""
        ratio = discriminator_loss / max(adversarial_loss, 1e-12)
        if ratio < self.skip_below:
            self.learns = False
        elif ratio > self.resume_above:
            self.learns = True
