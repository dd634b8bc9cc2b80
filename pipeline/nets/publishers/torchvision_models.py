"""Networks of torchvision by name, with the facts of their weights: transforms() and meta."""

from __future__ import annotations

import inspect
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import ModuleType

import torch
from torch import nn

from pipeline.errors import DefinitionError, WeightsError, nearest
from pipeline.nets.publishers.hub import Unreachable, check_reachable
from pipeline.nets.publishers.published import Published, first_line, levels, package, refusing, seeded
from pipeline.nets.torch_modules import load_state, read_state
from pipeline.settings import ModelSettings

# Subpackages of torchvision.models whose networks do not read one image and give one value a class and position.
_OTHER_TASKS = {"detection": "object detection", "video": "video", "optical_flow": "optical flow"}


def open_torchvision(settings: ModelSettings, weights: Path | None) -> Published:
    """The network `settings.torchvision`, such as "resnet50" (its default weights) or "resnet50:IMAGENET1K_V1".

    weights : file to load in place of the published weights; None for those, unless settings.pretrained is False.
    Raises DefinitionError with the nearest names for an unknown network or unknown weights, WeightsError if the weights
    cannot be fetched, SettingsError if torchvision is not installed.
    """
    torchvision = package("torchvision", "torchvision")
    given = settings.torchvision or ""
    name, _, choice = given.partition(":")
    builder = _builder(torchvision, name)
    entry = _entry(torchvision, name, builder, choice)
    pretrained = weights is None and settings.pretrained is not False
    if pretrained and entry is None:
        raise WeightsError(
            f"model.torchvision={given}: torchvision has no weights for it; give a file by model.weights=PATH, or take "
            "random weights by model.pretrained=false"
        )
    arguments = dict(settings.build_arguments)
    with refusing("model.torchvision", given, settings.build_arguments), seeded():
        if pretrained:
            _fetch(entry, given)
        if not pretrained and "weights_backbone" in _parameters(builder):
            arguments.setdefault("weights_backbone", None)
        module = builder(weights=entry if pretrained else None, **arguments)
        if weights is not None:
            load_state(module, read_state(weights), weights, settings.weights_key)
    return _with_card(module, builder, entry, pretrained)


def _with_card(module: nn.Module, builder: Callable, entry: object, pretrained: bool) -> Published:
    kept_in = f"{torch.hub.get_dir()}/checkpoints" if pretrained else None
    segmentation = ".segmentation" in getattr(builder, "__module__", "")
    output = "out" if segmentation else None
    if entry is None:
        return Published(module, order="RGB", output=output, kept_in=kept_in)
    reads = entry.transforms()  # type: ignore[attr-defined]
    height, width = _pair(getattr(reads, "crop_size", None)) or _pair(getattr(reads, "resize_size", None)) or (0, 0)
    mean, gain = levels(reads.mean, reads.std)
    filter_name = getattr(getattr(reads, "interpolation", None), "value", None)
    return Published(
        module=module,
        size=(height, width) if height else None,
        order="RGB",
        mean=mean,
        gain=gain,
        interpolation=filter_name,
        labels=tuple(str(label) for label in entry.meta.get("categories") or ()),  # type: ignore[attr-defined]
        output=output,
        kept_in=kept_in,
    )


def _pair(side: object) -> tuple[int, int] | None:
    """(height, width) of a side or of a list of one or two."""
    if side is None:
        return None
    sides = [int(part) for part in side] if isinstance(side, list | tuple) else [int(side)]  # type: ignore[call-overload]
    return sides[0], sides[-1]


def _fetch(entry: object, given: str) -> None:
    """Bring the weights into torch's cache, checked against the digest in their name."""
    url: str = entry.url  # type: ignore[attr-defined]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        if not (folder / PurePosixPath(urllib.parse.urlsplit(url).path).name).is_file():
            check_reachable(url)
        entry.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)  # type: ignore[attr-defined]
    except (Unreachable, OSError) as error:
        problem = str(error) if isinstance(error, Unreachable) else f"{url} ({first_line(error)})"
        raise WeightsError(
            f"model.torchvision={given}: its weights are not in the cache, and cannot be fetched: {problem}; run make "
            f"fetch MODEL=torchvision ARGS=model.torchvision={given} where there is a network, put the file into "
            f"{folder}, give it by model.weights=PATH, or take random weights by model.pretrained=false"
        ) from None
    except Exception as error:  # a hash that differs, or a file that torch cannot read
        raise WeightsError(
            f"model.torchvision={given}: the weights of {url} are damaged ({first_line(error)}); remove the file from "
            f"{folder} to fetch it again"
        ) from None


# Names -----------------------------------------------------------------------------------------------


def _builder(torchvision: ModuleType, name: str) -> Callable[..., nn.Module]:
    """The function that builds a network. Raises DefinitionError for a name or a task that is none of ours."""
    names = torchvision.models.list_models()
    if name not in names:
        raise DefinitionError(
            f"model.torchvision={name}: torchvision {torchvision.__version__} has no such network"
            f"{nearest(name, names)}; choose one of the {len(names)} of torchvision.models.list_models()"
        )
    builder = torchvision.models.get_model_builder(name)
    for part, task in _OTHER_TASKS.items():
        if f".{part}" in builder.__module__:
            raise DefinitionError(
                f"model.torchvision={name}: a network for {task}, which does not read one image and return one tensor; "
                "wrap its backbone in a function of yours and give that by MODEL=torch model.build=module:callable"
            )
    return builder


def _entry(torchvision: ModuleType, name: str, builder: Callable, choice: str) -> object | None:
    """The chosen weights, or the default ones; None if the network has none. Raises DefinitionError for others."""
    try:
        offered = torchvision.models.get_model_weights(builder)
    except ValueError:
        offered = ()
    names = list(getattr(offered, "__members__", ()))
    if choice and choice not in names:
        offers = ", ".join(each for each in names if each != "DEFAULT") or "none"
        raise DefinitionError(
            f"model.torchvision={name}:{choice}: torchvision {torchvision.__version__} has no such weights"
            f"{nearest(choice, names)}; choose one of: {offers}"
        )
    if not names:
        return None
    return offered[choice or ("DEFAULT" if "DEFAULT" in names else names[0])]  # type: ignore[index]


def _parameters(builder: Callable) -> tuple[str, ...]:
    return tuple(inspect.signature(builder).parameters)
