"""A prior: a generator, the layer whose codes it turns into images, and what codes of real images look like."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.errors import WeightsError
from pipeline.priors.generator import Generator, GeneratorShape

FORMAT, VERSION = "dgn prior", 1
HEAD, WEIGHTS, STATISTICS, CARD = "prior.json", "generator.safetensors", "statistics.safetensors", "card.md"


@dataclass(frozen=True, eq=False)
class Prior:
    """A generator with its code layer.

    network, network_digest : whose codes it inverts. code_layer, rectified : a code is the layer's value, after a
    ReLU if `rectified`. code_shape : (entry,) or (channel, row, column). height, width, order : of the images.
    mean, gain : what the generator gives is turned into pixel levels 0…255 by output / gain + mean; (channel,) or
    (channel, height, width). generator : code (batch, *code_shape) → (batch, channel, row, column).
    code_mean, code_deviation : float32 (entry,), over real images. trained_on : what it learned from, plain values.
    """

    name: str
    digest: str
    network: str
    network_digest: str
    code_layer: str
    rectified: bool
    code_shape: tuple[int, ...]
    height: int
    width: int
    order: str
    mean: np.ndarray = field(repr=False)
    gain: np.ndarray = field(repr=False)
    generator: nn.Module = field(repr=False)
    code_mean: np.ndarray = field(repr=False)
    code_deviation: np.ndarray = field(repr=False)
    trained_on: Mapping[str, object] = field(repr=False)
    licence: str
    card: str = field(repr=False)

    def levels(self, code: Tensor) -> Tensor:
        """Pixel levels, unclipped, (batch, channel, row, column) in `order`, of codes (batch, …), flat or shaped."""
        image = self.generator(code.reshape(len(code), *self.code_shape))
        gain, mean = (torch.as_tensor(_plane(part)).to(image) for part in (self.gain, self.mean))
        return image / gain + mean

    def upper(self, sigmas: float) -> np.ndarray:
        """The largest value that a search allows each entry, float32 (entry,): mean + sigmas · deviation."""
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
    """The prior of a generator that was trained here."""
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
    """Write a prior that was trained here into a folder, each file whole. half : weights in 16 bits.

    The prior read back has the digest of the weights as they are stored.
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
    """The prior that a folder holds. WeightsError, naming the file, when one is missing, damaged or does not fit."""
    head = _read_head(folder / HEAD)
    try:
        shape = GeneratorShape(**{key: _tuple(value) for key, value in head["generator"].items() if key != "form"})
        if head["generator"]["form"] != "upconv" or shape.code != tuple(head["code"]["shape"]):
            raise ValueError("a generator of another form, or for another code")
        names = {"name": head["name"], "network": head["network"]["name"], "network_digest": head["network"]["digest"]}
        layer, trained_on, licence = head["code"]["layer"], head["trained_on"], head["licence"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"prior {folder / HEAD}: does not describe a prior ({type(error).__name__}: {error}); restore the file"
        ) from None
    generator = Generator(shape)
    state = {name: value.float() for name, value in _tensors(folder / WEIGHTS).items()}
    wanted, found = ({name: _shape(value) for name, value in each.items()} for each in (generator.state_dict(), state))
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise WeightsError(
                f"prior {folder / WEIGHTS}: does not fit {HEAD}: {name} is {found.get(name, 'missing')}, expected "
                f"{wanted.get(name, 'none')}; restore the folder, or train an older prior again with make prior"
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
    """SHA-256 of the generator, what codes are to it, and their statistics; of no name, card or licence."""
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
    except (OSError, ValueError) as error:
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
    """(channel,) as (channel, 1, 1); whole images as they are."""
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
