"""Read settings from Hydra's nodes. Only jobs/ handles these nodes; all other code gets plain values."""

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
    """Read settings from a node, and convert every number to the type of its field. where : the node, for errors."""
    return request.read_settings(kind, plain(config), where)


def names(value: object) -> tuple[str, ...]:
    """The names of a list, or a single name."""
    return request.names(plain(value))
