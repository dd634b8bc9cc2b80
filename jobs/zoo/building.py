"""A publisher's architecture as a torch module with random weights whose values tell one layer from another."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from jobs.zoo.architectures import CONFIGURATIONS, Architecture

_CALIBRATION = 8  # images
_SHIFT = 1.0  # standard deviations
_FLOOR = 0.1  # of the mean variance: channels that are off in all the images would blow up in others
_SMALL = 0.5  # a gain with which signals die out


def built(architecture: Architecture) -> nn.Module:
    """The architecture in evaluation mode. Its weights are the same in every run.

    Raises whatever the publisher's package raises.
    """
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = _PUBLISHERS[architecture.publisher](architecture.name, architecture.size)
    module.eval().requires_grad_(False)
    enliven(module)
    images = torch.randn(_CALIBRATION, 3, architecture.size, architecture.size)
    images[-1], images[-2] = 0, 1  # statistics of noise alone make a flat image blow up from layer to layer
    calibrate(module, images)
    return module


def _from_torchvision(name: str, size: int) -> nn.Module:
    from jobs.zoo.packages import torchvision

    options: dict[str, object] = {"image_size": size} if name.startswith("vit_") else {}
    options |= {"input_size": (size, size)} if name.startswith("maxvit") else {}
    options |= {"weights_backbone": None} if name.startswith(("fcn", "deeplab", "lraspp")) else {}
    return torchvision.models.get_model(name, weights=None, **options)


def _from_timm(name: str, size: int) -> nn.Module:
    from jobs.zoo.packages import timm

    published = timm.get_pretrained_cfg(name)
    side = published.input_size[-1] if published is not None else None
    options = {"img_size": size} if side != size and published.fixed_input_size else {}
    return timm.create_model(name, pretrained=False, **options)


def _from_transformers(name: str, size: int) -> nn.Module:
    from jobs.zoo.packages import transformers

    kind = getattr(transformers, name)
    return kind(kind.config_class(**CONFIGURATIONS[name]))


def _from_pytorchcv(name: str, size: int) -> nn.Module:
    from jobs.zoo.packages import pytorchcv

    options = {} if name.endswith("cifar10") else {"in_size": (size, size)}
    return pytorchcv.model_provider.get_model(name, pretrained=False, **options)


_PUBLISHERS = {
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "transformers": _from_transformers,
    "pytorchcv": _from_pytorchcv,
}


@torch.no_grad()
def enliven(module: nn.Module) -> None:
    """Draw the parameters at random that an initialization leaves constant, and enlarge matrices that it leaves small.

    Scales of normalizations begin as 1 or 0, biases as 0, scales of layers as 1e-6, matrices of transformers with a
    spread of 0.02: residual branches that begin near 0 would hide whatever goes wrong in them.
    """
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        first = parameter.flatten()[:1]
        if not len(first) or not parameter.is_floating_point():
            continue
        if bool((parameter != first).any()):
            gain = float(parameter.std()) * (parameter.numel() / len(parameter)) ** 0.5  # of a matrix: output / input
            if parameter.dim() > 1 and gain < _SMALL:
                parameter.div_(gain)
        elif bool(first != 0):
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        else:
            spread = 0.1 if parameter.dim() == 1 else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)


@torch.no_grad()
def calibrate(module: nn.Module, images: Tensor) -> None:
    """Set the statistics of batch normalizations to those of the images, so that values neither vanish nor explode.

    Their shifts are raised, so that most units above a ReLU are on: otherwise every layer enlarges rounding errors by a
    fifth, as in no trained network.
    """
    normalizations = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    momenta = [one.momentum for one in normalizations]
    for one in normalizations:
        one.reset_running_stats()
        one.momentum = None  # the mean over all batches
        one.train()
        if one.bias is not None:
            one.bias.add_(_SHIFT)
    if normalizations:
        module(images)
    for one, momentum in zip(normalizations, momenta, strict=True):
        one.momentum = momentum
        if one.running_var is not None:
            one.running_var.clamp_(min=_FLOOR * float(one.running_var.mean()))
        one.eval()
