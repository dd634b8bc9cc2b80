"""Access to hubs: what is in the cache needs no network, and an unreachable hub is found out at once."""

from __future__ import annotations

import importlib
import logging
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.errors import AtlasError

TIMEOUT = 10.0  # seconds until an address counts as unreachable
_LOGGERS = ("huggingface_hub", "transformers", "timm")

T = TypeVar("T")


def cached_first(build: Callable[[], T]) -> T:
    """What `build` returns from the cache of huggingface_hub; only if that fails it is called again with the network.

    Raises Unreachable if the hub cannot be reached, without the retries of huggingface_hub, which take most of a
    minute; and what `build` raises.
    """
    constants = importlib.import_module("huggingface_hub.constants")
    with _silent():
        try:
            with _offline(constants):
                return build()
        except AtlasError:
            raise
        except OSError:  # not in the cache, or not at the hub at all: the second call tells
            if constants.HF_HUB_OFFLINE:
                raise Unreachable(f"{constants.ENDPOINT} (HF_HUB_OFFLINE is set)") from None
            check_reachable(constants.ENDPOINT)
            return build()


class Unreachable(Exception):
    """An address that cannot be reached; its text names the address and the reason."""


def check_reachable(url: str) -> None:
    """Raise Unreachable if nothing answers at the host of an address; any answer counts, refusals included."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):  # a matter of certificates, which other clients bring themselves
            return
        if isinstance(reason, OSError):
            raise Unreachable(f"{url} ({str(reason).strip() or type(reason).__name__})") from None


def is_offline() -> bool:
    """Whether huggingface_hub may only look into its cache."""
    return bool(importlib.import_module("huggingface_hub.constants").HF_HUB_OFFLINE)


def cache_of_hub() -> str:
    """The folder in which huggingface_hub keeps what it fetches."""
    return str(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)


@contextmanager
def _offline(constants: object) -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE  # type: ignore[attr-defined]
    constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before  # type: ignore[attr-defined]


@contextmanager
def _silent() -> Iterator[None]:
    """Keep packages from logging what the one line of an error says."""
    before = [(logger, logger.level) for logger in map(logging.getLogger, _LOGGERS)]
    for logger, _ in before:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
