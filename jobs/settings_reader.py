"""Settings out of Hydra's nodes: the last place that sees them. Below, a configuration is plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf

from pipeline import request
from pipeline.request import check_sample_count, typed

__all__ = ["check_sample_count", "names", "plain", "read_settings", "typed"]

T = TypeVar("T")


def plain(node: object) -> object:
    """A node of a configuration as plain values, its references resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def read_settings(kind: type[T], config: DictConfig | Mapping[str, object], where: str) -> T:
    """A settings value of a configuration's node, every number as the type that its field declares."""
    return request.read_settings(kind, plain(config), where)


def names(value: object) -> tuple[str, ...]:
    """A list of names, or a single one."""
    return request.names(plain(value))
