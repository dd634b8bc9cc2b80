"""The publishers in their order: the form that a model option states → how such a network is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.nets.publishers.published import Published
from pipeline.nets.publishers.timm_models import open_timm
from pipeline.nets.publishers.torchvision_models import open_torchvision
from pipeline.nets.publishers.transformers_models import open_huggingface
from pipeline.settings import ModelSettings

PUBLISHERS: Mapping[str, Callable[[ModelSettings, Path | None], Published]] = {
    "timm": open_timm,
    "torchvision": open_torchvision,
    "huggingface": open_huggingface,
}


def open_published(settings: ModelSettings, weights: Path | None) -> Published:
    """The module and the card of the network that the settings name.

    weights : file to load in place of the published weights, or None.
    Raises an AtlasError that names the setting.
    """
    return PUBLISHERS[settings.form](settings, weights)
