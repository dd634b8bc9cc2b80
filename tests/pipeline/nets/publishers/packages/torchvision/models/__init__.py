import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from inspect import signature
from typing import Any, Optional, get_args

import torch
from torch import nn


class InterpolationMode(Enum):
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class ImageClassification(nn.Module):
    def __init__(
        self,
        *,
        crop_size: int,
        resize_size: int = 20,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        self.crop_size, self.resize_size = [crop_size], [resize_size]
        self.mean, self.std = list(mean), list(std)
        self.interpolation = interpolation


@dataclass
class Weights:
    url: str
    transforms: Callable
    meta: dict[str, Any]


class WeightsEnum(Enum):
    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return torch.hub.load_state_dict_from_url(self.url, *args, **kwargs)

    @property
    def url(self) -> str:
        return os.environ.get("TINY_HUB", "http://no-such-host.invalid") + self.value.url

    @property
    def transforms(self) -> Callable:
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        return self.value.meta


_CATEGORIES = {"categories": ["tench", "goldfish", "shark"]}


class Tiny_Weights(WeightsEnum):
    IMAGENET1K_V1 = Weights("/tiny-00000001.pth", partial(ImageClassification, crop_size=16), _CATEGORIES)
    IMAGENET1K_V2 = Weights(
        "/tiny-00000002.pth",
        partial(ImageClassification, crop_size=18, resize_size=21, interpolation=InterpolationMode.BICUBIC),
        _CATEGORIES,
    )
    DEFAULT = IMAGENET1K_V2


class Tiny(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def tiny(*, weights: Optional[Tiny_Weights] = None, progress: bool = True, **kwargs: Any) -> Tiny:  # noqa: UP045
    model = Tiny(**kwargs)
    if weights is not None:
        model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
    return model


def untrained(*, weights: Optional[WeightsEnum] = None, progress: bool = True) -> Tiny:  # noqa: UP045
    return Tiny()


def tiny_rcnn(*, weights: Optional[Tiny_Weights] = None, progress: bool = True) -> Tiny:  # noqa: UP045
    return Tiny()


tiny_rcnn.__module__ = "torchvision.models.detection.tiny_rcnn"
BUILTIN_MODELS = {"tiny": tiny, "untrained": untrained, "tiny_rcnn": tiny_rcnn}


def list_models() -> list[str]:
    return sorted(BUILTIN_MODELS)


def get_model_builder(name: str) -> Callable[..., nn.Module]:
    return BUILTIN_MODELS[name.lower()]


def get_model_weights(name: Callable | str) -> type[WeightsEnum]:
    builder = get_model_builder(name) if isinstance(name, str) else name
    for part in get_args(signature(builder).parameters["weights"].annotation):
        if isinstance(part, type) and issubclass(part, WeightsEnum) and part is not WeightsEnum:
            return part
    raise ValueError("The WeightsEnum class for the specific method couldn't be retrieved.")
