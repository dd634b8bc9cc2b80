"""Networks of the Hugging Face hub by repository, with the facts of their image processor and configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image
from torch import nn

from pipeline.errors import AtlasError, DefinitionError, WeightsError, nearest
from pipeline.nets.publishers.hub import Unreachable, cache_of_hub, cached_first, is_offline
from pipeline.nets.publishers.published import Published, first_line, levels, package, quiet, refusing, seeded
from pipeline.nets.torch_modules import load_state, read_state
from pipeline.settings import ModelSettings, is_path

CLASSIFIER = "ForImageClassification"
_SIDES = (256, 320)  # of square test images; equal results mean a fixed input size
_COLOUR = (20, 100, 220)  # red, green and blue of a test image that tells RGB from BGR
_DEFAULT_NAME = re.compile(r"LABEL_\d+")  # what transformers calls classes without names


def open_huggingface(settings: ModelSettings, weights: Path | None) -> Published:
    """The network of the repository or folder `settings.repo`, such as "microsoft/resnet-50"; @revision chooses one.

    weights : file to load in place of the repository's weights; None for those, unless settings.pretrained is False.
    Raises DefinitionError if the repository or folder holds no network that reads images, WeightsError if its files are
    at neither the hub nor in its cache, or do not fit, SettingsError if transformers is not installed.
    """
    transformers = package("transformers", "huggingface")
    given = settings.repo or ""
    repo, where = _located(given)
    arguments = dict(settings.build_arguments)
    pretrained = weights is None and settings.pretrained is not False
    build = partial(_built, transformers, given, repo, where, arguments, pretrained)
    with refusing("model.repo", given, settings.build_arguments), seeded(), _no_bars(transformers):
        try:
            module, processor = build() if Path(repo).is_dir() else cached_first(build)
        except Unreachable as error:
            raise WeightsError(
                f"model.repo={given}: its files are not in the cache, and cannot be fetched: {error}; run make fetch "
                f"MODEL=huggingface ARGS=model.repo={given} where there is a network (it fills {cache_of_hub()}), or "
                "give a local folder with config.json, preprocessor_config.json and the weights by model.repo=PATH"
            ) from None
        except AtlasError:
            raise
        except (OSError, ValueError) as error:
            raise _refusal(given, repo, error) from None
        if weights is not None:
            load_state(module, read_state(weights), weights, settings.weights_key)
        return _with_card(module, processor, cache_of_hub() if pretrained and not Path(repo).is_dir() else None)


def _built(
    transformers: ModuleType, given: str, repo: str, where: dict[str, str], arguments: dict, pretrained: bool
) -> tuple[nn.Module, object | None]:
    """The module, and its image processor or None."""
    config = transformers.AutoConfig.from_pretrained(repo, **where, **arguments)
    names = getattr(config, "architectures", None) or ()
    classifies = any(name.endswith(CLASSIFIER) for name in names)
    kind = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
    if pretrained:
        module, about = kind.from_pretrained(repo, config=config, output_loading_info=True, **where)
        missing = sorted(about["missing_keys"])
        if missing:
            further = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise WeightsError(
                f"model.repo={given}: its weights lack {missing[0]}{further} of {type(module).__name__}; choose a "
                "repository with trained weights, or take random ones by model.pretrained=false"
            )
    else:
        module = kind.from_config(config)
    reads = getattr(module, "main_input_name", "pixel_values")
    if reads != "pixel_values":
        raise DefinitionError(f"model.repo={given}: {type(module).__name__} reads {reads}, not images; choose another")
    try:
        return module, transformers.AutoImageProcessor.from_pretrained(repo, **where)
    except (OSError, ValueError, KeyError, ImportError):  # none is there; the user's settings can stand in for it
        if is_offline() and not Path(repo).is_dir():  # or it is only not in the cache
            raise
        return module, None


def _with_card(module: nn.Module, processor: object | None, kept_in: str | None) -> Published:
    config = module.config
    names = {int(number): str(name) for number, name in (getattr(config, "id2label", None) or {}).items()}
    labels = tuple(names[number] for number in sorted(names))
    side = getattr(config, "image_size", None)
    side = tuple(side) if isinstance(side, list | tuple) else (side, side)
    size = (int(side[0]), int(side[1])) if all(isinstance(part, int) for part in side) and len(side) == 2 else None
    channels = getattr(config, "num_channels", 3)
    order, mean, gain, interpolation = ("L" if channels == 1 else "RGB"), None, None, None
    if processor is not None:
        measured = _measured(processor, "L" if channels == 1 else "RGB")
        size = measured[0] if measured[0] is not None else size
        order, mean, gain = measured[1:]
        interpolation = _filter(getattr(processor, "resample", None))
    return Published(
        module=module,
        size=size,
        order=order,
        mean=mean,
        gain=gain,
        interpolation=interpolation,
        labels=() if all(_DEFAULT_NAME.fullmatch(label) for label in labels) else labels,
        output="logits" if type(module).__name__.endswith(CLASSIFIER) else None,
        kept_in=kept_in,
    )


# The image processor ---------------------------------------------------------------------------------


def _measured(
    processor: Callable, mode: str
) -> tuple[tuple[int, int] | None, str, tuple[float, ...], tuple[float, ...]]:
    """Input size (None if it follows the image's), channel order, mean and gain of an image processor.

    They are measured on images of one colour, because processors differ in their settings and steps; numbers that the
    processor states and that agree with the measured ones are taken as stated.

    mode : of the images, as Pillow names it: "RGB" or "L".
    Raises DefinitionError if the processor does more than scale and shift each channel.
    """
    grey = mode == "L"

    def read(colour: tuple[int, ...], side: int) -> np.ndarray:
        """(channel, row, column) of a square image of one colour."""
        image = Image.new(mode, (side, side), colour[0] if grey else colour)
        with quiet():
            values = processor(images=image, return_tensors="pt")["pixel_values"]
        return values[0].float().numpy().astype(np.float64)

    sizes = [read((0, 0, 0), side).shape[1:] for side in _SIDES]
    centre = (slice(None), sizes[0][0] // 2, sizes[0][1] // 2)  # away from padding
    dark, bright, mixed = (read(colour, _SIDES[0])[centre] for colour in ((0, 0, 0), (255, 255, 255), _COLOUR))
    gain = (bright - dark) / 255
    mean = -dark / gain
    colours = {"L": _COLOUR[:1]} if grey else {"RGB": _COLOUR, "BGR": _COLOUR[::-1]}
    orders = [
        order
        for order, colour in colours.items()
        if gain.shape == (len(colour),) and np.allclose(mixed, gain * (np.array(colour) - mean), atol=1e-3, rtol=1e-3)
    ]
    if not orders:
        raise DefinitionError(
            f"model.repo: its image processor {type(processor).__name__} does more than scale and shift each channel; "
            "load the network by a function of yours, MODEL=torch model.build=module:callable"
        )
    stated = _stated(processor, len(gain))
    if stated is not None and np.allclose(stated[0], mean, atol=0.05) and np.allclose(stated[1], gain, rtol=1e-3):
        mean, gain = (np.array(part) for part in stated)
    size = (int(sizes[0][0]), int(sizes[0][1])) if sizes[0] == sizes[1] else None
    return size, orders[0], tuple(mean.tolist()), tuple(gain.tolist())


def _stated(processor: object, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and gain as the processor's attributes state them; None if they do not."""
    scale = float(getattr(processor, "rescale_factor", 1) or 1) if getattr(processor, "do_rescale", True) else 1.0
    mean, deviation = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    if not getattr(processor, "do_normalize", False) or mean is None or deviation is None:
        return (0.0,) * channels, (scale,) * channels
    mean, deviation = (
        list(part) if isinstance(part, list | tuple) else [part] * channels for part in (mean, deviation)
    )
    if len(mean) != channels or len(deviation) != channels:
        return None
    return levels(mean, deviation, scale)


def _filter(resample: object) -> str | None:
    """The name of a filter that Pillow numbers or torchvision names."""
    value = getattr(resample, "value", resample)
    try:
        return Image.Resampling(value).name.lower() if isinstance(value, int) else value  # type: ignore[return-value]
    except ValueError:
        return None


# Places ----------------------------------------------------------------------------------------------


def _located(given: str) -> tuple[str, dict[str, str]]:
    """The folder or repository that is given, and the arguments that state its revision.

    Raises DefinitionError for a folder without a configuration.
    """
    folder = Path(given).expanduser()
    if is_path(given) or folder.is_dir():
        if not folder.is_dir():
            names = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise DefinitionError(
                f"model.repo={given}: no such folder{nearest(folder.name, names)}; give the folder that "
                "save_pretrained wrote, or a repository of the hub such as microsoft/resnet-50"
            )
        if not (folder / "config.json").is_file():
            raise DefinitionError(
                f"model.repo={given}: the folder has no config.json; save model and image processor there by "
                "save_pretrained"
            )
        return str(folder), {}
    repo, _, revision = given.partition("@")
    return repo, {"revision": revision} if revision else {}


def _refusal(given: str, repo: str, error: Exception) -> DefinitionError | WeightsError:
    """What the user can do about an error of transformers."""
    text = str(error)
    if isinstance(error, ValueError) and "model_type" in text:
        timm = f"MODEL=timm ARGS=model.timm={'local-dir' if Path(repo).is_dir() else 'hf-hub'}:{given}"
        return DefinitionError(
            f"model.repo={given}: its config.json names no network of transformers; one of timm opens by {timm}"
        )
    if "valid model identifier" in text or "is not a local folder" in text:
        return DefinitionError(
            f"model.repo={given}: the hub has no such repository, or it asks you to log in (hf auth login); correct "
            "the name, as owner/name"
        )
    if isinstance(error, OSError):
        return WeightsError(
            f"model.repo={given}: cannot be read ({first_line(error)}); complete the folder or fetch it again"
        )
    return DefinitionError(f"model.repo={given}: cannot be opened ({first_line(error)}); choose another")


@contextmanager
def _no_bars(transformers: ModuleType) -> Iterator[None]:
    """Hide the progress bars of transformers; those of downloads stay."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
