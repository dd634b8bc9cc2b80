"""Networks of timm by name, with the facts of their pretrained_cfg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from pipeline.errors import DefinitionError, WeightsError, nearest
from pipeline.nets.publishers.hub import Unreachable, cache_of_hub, cached_first
from pipeline.nets.publishers.published import Published, first_line, levels, package, quiet, refusing, seeded
from pipeline.nets.torch_modules import load_state, read_state
from pipeline.settings import ModelSettings


def open_timm(settings: ModelSettings, weights: Path | None) -> Published:
    """The network `settings.timm`, such as "resnet50.a1_in1k", "hf-hub:timm/resnet50.a1_in1k" or "local-dir:PATH".

    weights : file to load in place of the published weights; None for those, unless settings.pretrained is False.
    Raises DefinitionError with the nearest names for an unknown network, WeightsError if its weights are at neither
    the hub nor in its cache, or if the file holds others, SettingsError if timm is not installed.
    """
    timm, name = package("timm", "timm"), settings.timm or ""
    _check_name(timm, name)
    arguments = dict(settings.build_arguments)
    if settings.size is not None and _fixed_size(timm, name):
        arguments.setdefault("img_size", settings.size)
    pretrained = weights is None and settings.pretrained is not False
    with refusing("model.timm", name, settings.build_arguments), seeded():
        try:
            if pretrained:
                module = cached_first(lambda: timm.create_model(name, pretrained=True, **arguments))
            elif ":" in name:  # the card is at the hub, or in a folder
                module = cached_first(lambda: timm.create_model(name, pretrained=False, **arguments))
            else:
                module = timm.create_model(name, pretrained=False, **arguments)
        except Unreachable as error:
            raise _unreachable(name, str(error)) from None
        except OSError as error:  # of a repository that is not there, or of a folder without weights
            raise WeightsError(
                f"model.timm={name}: its files cannot be read ({first_line(error)}); correct the name, or complete the "
                "folder"
            ) from None
        except RuntimeError as error:
            if "No pretrained weights" not in str(error):
                raise
            raise WeightsError(
                f"model.timm={name}: timm has no weights for it{nearest(name, timm.list_pretrained())}; choose one "
                "that has, give a file by model.weights=PATH, or take random weights by model.pretrained=false"
            ) from None
        if weights is not None:
            module = _loaded(timm, name, module, arguments, read_state(weights), weights)
    fetched = pretrained and not name.startswith("local-dir:")
    return _with_card(timm, module, cache_of_hub() if fetched else None)


def _with_card(timm: ModuleType, module: nn.Module, kept_in: str | None) -> Published:
    card: Mapping[str, object] = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {}
    with quiet():
        reading = timm.data.resolve_model_data_config(module)  # what the card leaves out as timm itself assumes it
    channels, height, width = reading["input_size"]
    mean, gain = levels(reading["mean"], reading["std"])
    one = int(channels) == 1
    classifier = card.get("classifier")
    classifier = classifier[0] if isinstance(classifier, list | tuple) else classifier  # a second one distils
    return Published(
        module=module,
        size=(int(height), int(width)),
        order="L" if one else "RGB",
        mean=mean[:1] if one else mean,
        gain=gain[:1] if one else gain,
        interpolation=str(reading["interpolation"]),
        labels=_labels(timm, card, getattr(module, "num_classes", None)),
        class_layer=classifier if isinstance(classifier, str) else None,
        kept_in=kept_in,
    )


def _labels(timm: ModuleType, card: Mapping[str, object], classes: object) -> tuple[str, ...]:
    """Names of the classes from the card, or of the ImageNet subset with as many classes; empty without either."""
    names = card.get("label_names")
    if isinstance(names, list | tuple) and len(names) == classes:
        described = card.get("label_descriptions") or {}
        return tuple(str(described.get(name, name)) for name in names)  # type: ignore[attr-defined]
    if classes != card.get("num_classes"):
        return ()
    subset = timm.data.infer_imagenet_subset({"num_classes": classes})
    return tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else ()


def _loaded(
    timm: ModuleType, name: str, module: nn.Module, arguments: dict, state: dict[str, Tensor], source: Path
) -> nn.Module:
    """The module with the weights of a file; of timm's own older forms, those that timm converts fit too."""
    try:
        load_state(module, state, source)
    except WeightsError as error:
        classes = getattr(module, "num_classes", None)
        as_published = {"state_dict": state, "num_classes": classes}  # timm drops a head of another number of classes
        try:
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=as_published, **arguments)
        except Exception:  # neither form: what does not fit the module is the better message
            raise error from None
    return module


# Names -----------------------------------------------------------------------------------------------


def _check_name(timm: ModuleType, name: str) -> None:
    """Raise DefinitionError with the nearest names unless timm knows the architecture and its tag."""
    if ":" in name:
        source, _, where = name.partition(":")
        if source == "local-dir" and not (Path(where).expanduser() / "config.json").is_file():
            raise DefinitionError(
                f"model.timm={name}: {where} has no config.json; give a folder that timm's save_for_hf wrote, or a "
                "name of timm.list_models()"
            )
        return
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        names = timm.list_models()
        tags = timm.list_pretrained() if "." in name else names
        raise DefinitionError(
            f"model.timm={name}: timm {timm.__version__} has no such network{nearest(name, tags)}; "
            f"choose one of the {len(names)} of timm.list_models()"
        )
    tagged = _tags(timm, architecture)
    if "." in name and name not in tagged:
        offers = ", ".join(tagged) if tagged else "none"
        raise DefinitionError(
            f"model.timm={name}: timm {timm.__version__} has no such weights of {architecture}; choose one of: {offers}"
        )


def _tags(timm: ModuleType, architecture: str) -> list[str]:
    listed: list[str] = timm.list_models(architecture, include_tags=True)
    return [one for one in listed if one.partition(".")[0] == architecture and "." in one]


def _fixed_size(timm: ModuleType, name: str) -> bool:
    """Whether the network is built for one size of input, which its argument img_size changes."""
    card = None if ":" in name else timm.get_pretrained_cfg(name)
    return bool(getattr(card, "fixed_input_size", False))


def _unreachable(name: str, reason: str) -> WeightsError:
    return WeightsError(
        f"model.timm={name}: its weights are not in the cache, and cannot be fetched: {reason}; run make fetch "
        f"MODEL=timm ARGS=model.timm={name} where there is a network (it fills {cache_of_hub()}), give a file by "
        "model.weights=PATH, or take random weights by model.pretrained=false"
    )
