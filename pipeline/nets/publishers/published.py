"""A module as its publisher gives it, with the facts of its card."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import nn

from pipeline.errors import AtlasError, DefinitionError, SettingsError

SEED = 0  # of random weights, so that a network without trained weights has one digest


@dataclass(frozen=True)
class Published:
    """A module and what its card states; None for what the card does not state.

    size : (height, width) of the input, in pixels.
    order : channel order, "RGB", "BGR" or "L".
    mean : (channel,), in pixel levels 0…255 and the network's channel order.
    gain : (channel,), network units a pixel level.
    interpolation : the filter that resizes images, a name of INTERPOLATIONS.
    labels : names of the classes, in their order; empty if none are stated.
    class_layer : path of the module whose units are the classes.
    output : which of several results is the network's output, as for `torch_network`.
    kept_in : folder in which the package keeps what it fetches; None if nothing was fetched.
    """

    module: nn.Module
    size: tuple[int, int] | None = None
    order: str | None = None
    mean: tuple[float, ...] | None = None
    gain: tuple[float, ...] | None = None
    interpolation: str | None = None
    labels: tuple[str, ...] = ()
    class_layer: str | None = None
    output: str | None = None
    kept_in: str | None = None


def levels(
    mean: Sequence[float], deviation: Sequence[float], scale: float = 1 / 255
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean in pixel levels and gain of a network that reads (level · scale − mean) / deviation.

    mean, deviation : (channel,), for scaled levels.
    scale : factor from pixel levels to the scale of `mean`.
    """
    return tuple(part / scale for part in mean), tuple(scale / part for part in deviation)


def package(name: str, extra: str) -> ModuleType:
    """The package of a publisher.

    extra : of visualization-atlas, which installs the package.
    Raises SettingsError with the command that installs it.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except Exception as error:  # a package that does not fit the torch at hand raises whatever it likes
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        problem = "is not installed" if missing else f"cannot be imported ({type(error).__name__}: {first_line(error)})"
        raise SettingsError(
            f"model={extra}: the package {name} {problem}; "
            f"install it by {sys.executable} -m pip install 'visualization-atlas[{extra}]'"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of packages about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def seeded() -> Iterator[None]:
    """Draw random weights from SEED; the caller's random numbers are not touched."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(SEED)
        yield


@contextmanager
def refusing(setting: str, given: str, arguments: Sequence[tuple[str, object]]) -> Iterator[None]:
    """Turn whatever a package raises about the user's arguments into one line.

    setting, given : "model.timm" and its value.
    arguments : of the user, model.build_arguments.
    """
    try:
        yield
    except AtlasError:
        raise
    except Exception as error:  # the package's own code, with the user's arguments
        with_them = "".join(f", {name}={value!r}" for name, value in arguments)
        todo = "correct model.build_arguments" if arguments else "choose another, or report it to its publisher"
        raise DefinitionError(
            f"{setting}={given}{with_them}: cannot be built ({type(error).__name__}: {first_line(error)}); {todo}"
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the error's type if it has none."""
    text = str(error).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__
