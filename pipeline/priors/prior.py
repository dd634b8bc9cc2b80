"""A prior: a generator, the layer whose codes it turns into images, and the statistics of real images' codes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.errors import WeightsError
from pipeline.priors.generator import Generator, GeneratorShape
from pipeline.records import fits

FORMAT, VERSION = "dgn prior", 1
HEAD, WEIGHTS, STATISTICS, CARD = "prior.json", "generator.safetensors", "statistics.safetensors", "card.md"


@dataclass(frozen=True, eq=False)
class Prior:
    """A generator with its code layer."""

    name: str
    digest: str  # of everything that decides its images
    network: str  # name of the network whose codes it inverts
    network_digest: str  # "" if it is not known
    code_layer: str  # a code is the value of this layer …
    rectified: bool  # … after a ReLU, if true
    code_shape: tuple[int, ...]  # (entry,) or (channel, row, column)
    height: int  # of the images, pixels
    width: int
    order: str  # of the images' channels: RGB, BGR or L
    mean: np.ndarray = field(repr=False)  # pixel level 0…255 = output / gain + mean
    gain: np.ndarray = field(repr=False)  # like mean: (channel,) or (channel, height, width)
    generator: nn.Module = field(repr=False)  # code (batch, *code_shape) → (batch, channel, row, column)
    code_mean: np.ndarray = field(repr=False)  # over real images, float32 (entry,)
    code_deviation: np.ndarray = field(repr=False)  # standard deviation over real images, float32 (entry,)
    trained_on: Mapping[str, object] = field(repr=False)  # images, recipe and more; plain values
    licence: str
    card: str = field(repr=False)  # Markdown; "" if it has none

    def levels(self, code: Tensor) -> Tensor:
        """Return unclipped pixel levels, (batch, channel, row, column) in `order`.

        code : (batch, entry) or (batch, *code_shape).
        """
        image = self.generator(code.reshape(len(code), *self.code_shape))
        gain, mean = (torch.as_tensor(_plane(part)).to(image) for part in (self.gain, self.mean))
        return image / gain + mean

    def upper(self, sigmas: float) -> np.ndarray:
        """Return DGN-AM's upper bound of each entry of a code, float32 (entry,): mean + sigmas · deviation."""
        return self.code_mean + np.float32(sigmas) * self.code_deviation


def trained_prior(
    *,
    name: str,
    network: str,
    network_digest: str,
    code_layer: str,
    generator: Generator,
    code_mean: np.ndarray,
    code_deviation: np.ndarray,
    trained_on: Mapping[str, object],
    licence: str,
    card: str,
) -> Prior:
    """Return the prior of a generator that was trained by the project. The parameters are those of Prior."""
    shape = generator.shape
    mean, gain = np.full(3, 127.5), np.full(3, 1 / 127.5)
    head = _head(name, network, network_digest, code_layer, shape, trained_on, licence)
    return Prior(
        name=name,
        digest=_digest(head, generator, code_mean, code_deviation),
        network=network,
        network_digest=network_digest,
        code_layer=code_layer,
        rectified=True,
        code_shape=shape.code,
        height=shape.size[0],
        width=shape.size[1],
        order="RGB",
        mean=mean,
        gain=gain,
        generator=generator.eval(),
        code_mean=np.asarray(code_mean, np.float32),
        code_deviation=np.asarray(code_deviation, np.float32),
        trained_on=trained_on,
        licence=licence,
        card=card,
    )


def write_prior(folder: Path, prior: Prior, *, half: bool) -> None:
    """Write a prior that was trained by the project into a folder, each file atomically.

    The digest of the prior that is read back is that of the weights as they are stored.

    half : store the weights with 16 bits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape = prior.generator.shape  # type: ignore[union-attr]
    head = _head(
        prior.name, prior.network, prior.network_digest, prior.code_layer, shape, prior.trained_on, prior.licence
    )
    weights = {
        name: (value.half() if half else value).contiguous() for name, value in prior.generator.state_dict().items()
    }
    statistics = {"mean": torch.from_numpy(prior.code_mean), "deviation": torch.from_numpy(prior.code_deviation)}
    _replace(folder / WEIGHTS, save(weights))
    _replace(folder / STATISTICS, save(statistics))
    _replace(folder / CARD, prior.card.encode())
    _replace(folder / HEAD, (json.dumps(head, indent=1) + "\n").encode())


def read_prior(folder: Path) -> Prior:
    """Return the prior in a folder.

    Raises WeightsError, with the file's name, if a file is missing, is damaged, or does not fit the others.
    """
    head = _read_head(folder / HEAD)
    try:
        about = {key: _tuple(value) for key, value in head["generator"].items() if key != "form"}
        shape = GeneratorShape(**about)
        if head["generator"]["form"] != "upconv" or shape.code != tuple(head["code"]["shape"]):
            raise ValueError("a generator of another form, or for another code")
        for field, hint in get_type_hints(GeneratorShape).items():
            if not fits(hint, getattr(shape, field)):
                raise ValueError(f"{field} is {getattr(shape, field)!r}")
        names = {"name": head["name"], "network": head["network"]["name"], "network_digest": head["network"]["digest"]}
        layer, trained_on, licence = head["code"]["layer"], head["trained_on"], head["licence"]
        if not all(isinstance(text, str) for text in (*names.values(), layer, licence)):
            raise ValueError("a name that is no text")
        if not isinstance(trained_on, dict):
            raise ValueError("trained_on is no record")
        widths = (shape.code[0], shape.hidden, *shape.channels)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(
            f"prior {folder / HEAD}: does not describe a prior ({type(error).__name__}: {error}); restore the file"
        ) from None
    state = {name: value.float() for name, value in _tensors(folder / WEIGHTS).items()}
    stored = sum(value.numel() for value in state.values())
    if any(inputs * outputs > stored for inputs, outputs in zip(widths, widths[1:], strict=False)):  # before it is made
        raise WeightsError(
            f"prior {folder / WEIGHTS}: holds {stored} numbers, too few for layers of {widths} channels in {HEAD}; "
            "restore the folder"
        )
    generator = Generator(shape)
    expected, got = ({name: _shape(value) for name, value in each.items()} for each in (generator.state_dict(), state))
    for name in sorted(expected.keys() | got.keys()):
        if expected.get(name) != got.get(name):
            raise WeightsError(
                f"prior {folder / WEIGHTS}: does not fit {HEAD}: {name} is {got.get(name, 'missing')}, expected "
                f"{expected.get(name, 'none')}; restore the folder, or train an older prior again with make prior"
            )
    generator.load_state_dict(state)
    statistics = _tensors(folder / STATISTICS)
    entries = int(np.prod(shape.code))
    for part in ("mean", "deviation"):
        if part not in statistics or statistics[part].numel() != entries:
            raise WeightsError(
                f"prior {folder / STATISTICS}: expected {part} of {entries} numbers, one for each entry of a code; "
                "restore the folder"
            )
    card = folder / CARD
    return trained_prior(
        **names,
        code_layer=layer,
        generator=generator,
        code_mean=statistics["mean"].float().numpy().reshape(-1),
        code_deviation=statistics["deviation"].float().numpy().reshape(-1),
        trained_on=trained_on,
        licence=licence,
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
    )


def _head(
    name: str,
    network: str,
    network_digest: str,
    code_layer: str,
    shape: GeneratorShape,
    trained_on: Mapping[str, object],
    licence: str,
) -> dict:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "network": {"name": network, "digest": network_digest},
        "code": {"layer": code_layer, "rectified": True, "shape": list(shape.code)},
        "image": {"height": shape.size[0], "width": shape.size[1], "order": "RGB", "mean": 127.5, "gain": 1 / 127.5},
        "generator": {"form": "upconv", **json.loads(json.dumps(asdict(shape)))},
        "trained_on": dict(trained_on),
        "licence": licence,
    }


def _digest(head: dict, generator: nn.Module, mean: np.ndarray, deviation: np.ndarray) -> str:
    """SHA-256 of the generator, the form of codes and images, and the statistics; not of names, card or licence."""
    deciding = {key: head[key] for key in ("code", "image", "generator")}
    total = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
    for name, value in sorted(generator.state_dict().items()):
        total.update(f"{name} {tuple(value.shape)}".encode())
        total.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    for values in (mean, deviation):
        total.update(np.asarray(values, np.float32).tobytes())
    return total.hexdigest()


def _read_head(path: Path) -> dict:
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"prior {path.parent}: no {HEAD} in it; give the folder of a prior") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"prior {path}: cannot be read ({error}); restore the file") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT or head.get("version") != VERSION:
        raise WeightsError(f"prior {path}: expected format {FORMAT!r}, version {VERSION}; give the folder of a prior")
    return head


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"prior {path}: no such file; restore the folder, or make it with make prior") from None
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"prior {path}: cannot be read ({reason}); restore the file") from None


def _plane(values: np.ndarray) -> np.ndarray:
    """Reshape (channel,) to (channel, 1, 1); leave (channel, height, width)."""
    values = np.asarray(values, np.float64)
    return values.reshape(-1, 1, 1) if values.ndim == 1 else values


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape))
