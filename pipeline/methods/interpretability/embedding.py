"""Embeddings of pictures: the values of a network's layer, by which pictures are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from pipeline.errors import SettingsError
from pipeline.nets.network import Network

BATCH = 64  # pictures embedded at a time; they do not affect one another
_WEIGHTED = ("conv", "deconv", "fc")


def embedding_layer(judge: Network) -> str:
    """The layer that the judge's class scores are computed from. Raises SettingsError if it has no class layer."""
    if judge.class_layer is None:
        raise SettingsError(f"judge {judge.name}: has no class layer; name the layer that is compared by embedding=…")
    node, names = judge.layer(judge.class_layer).node, {layer.node: name for name, layer in judge.layers.items()}
    while judge.operator(node).kind not in _WEIGHTED:
        node = judge.parents(node)[0]
    below = judge.parents(node)[0]
    while below not in names:
        below = judge.parents(below)[0]
    return names[below]


def embed(judge: Network, layer: str, pictures: Iterable[np.ndarray], device: torch.device) -> np.ndarray:
    """The embeddings of pictures, float32 (picture, entry): the layer's values; of a map, their means over positions.

    judge : on the device.
    pictures : uint8 (row, column, rgb) each, of any sizes; they are resized to the judge's input.
    """
    found = [_values(judge, layer, np.concatenate(chunk), device) for chunk in _chunks(judge, pictures)]
    return np.concatenate(found) if found else np.zeros((0, judge.layer(layer).channels), np.float32)


def _chunks(judge: Network, pictures: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    size, chunk = judge.preprocessing, []
    for picture in pictures:
        fits = picture.shape[:2] == (size.height, size.width)
        chunk.append(picture[None] if fits else size.fitted(picture[None]))
        if len(chunk) == BATCH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _values(judge: Network, layer: str, pixels: np.ndarray, device: torch.device) -> np.ndarray:
    with torch.inference_mode():
        given = torch.from_numpy(judge.preprocessing.centred(pixels)).to(device)
        value = judge.run(given, [layer])[layer]
    return (value.flatten(2).mean(dim=2) if value.dim() == 4 else value).cpu().numpy()


def directions(embeddings: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The embeddings as seen from a centre, with length 1; zero where they are the centre. Axes (…, entry)."""
    seen = embeddings.astype(np.float64) - centre
    length = np.linalg.norm(seen, axis=-1, keepdims=True)
    return np.divide(seen, length, out=np.zeros_like(seen), where=length > 0)
