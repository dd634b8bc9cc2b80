"""What a code knows of an image: how much of a network's layers a linear map tells from it, before any training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.data.training_images import Pictures
from pipeline.training.comparator import Comparator
from pipeline.training.reconstructions import real_images

_BATCH = 100
_LEARNED, _MEASURED = 4000, 1000  # images at most
_VALUES = 512  # of a layer at most, evenly spaced: their share is the layer's but for a little
_RIDGE = 0.01  # of the codes' mean square, added to it


def shares_told(
    encoder: Comparator, comparator: Comparator, train: Pictures, held_out: Pictures, device: torch.device
) -> dict[str, float]:
    """The share of each compared layer's variance over held-out images that ridge regression tells from the codes.

    encoder : its single layer's value is the code. A prior draws about what a linear map tells: below half of an
    early layer its pictures follow the image only roughly, whatever the training.
    """
    codes, values = _seen(encoder, comparator, train, _LEARNED, device)
    new_codes, new_values = _seen(encoder, comparator, held_out, _MEASURED, device)
    means = [value.mean(0) for value in values]
    centre = codes.mean(0)
    codes, new_codes = codes - centre, new_codes - centre
    # In its dual form: as many unknowns as images, however many entries a code has.
    kernel = codes @ codes.T
    kernel += _RIDGE * np.trace(kernel) / codes.shape[1] * np.eye(len(kernel))
    weights = np.linalg.solve(kernel, np.hstack([value - mean for value, mean in zip(values, means, strict=True)]))
    told = np.split(new_codes @ codes.T @ weights, np.cumsum([value.shape[1] for value in values])[:-1], axis=1)
    shares = {}
    for name, found, mean, wanted in zip(comparator.layers, told, means, new_values, strict=True):
        variance = np.square(wanted - mean).sum()
        shares[name] = float(1 - np.square(wanted - mean - found).sum() / variance) if variance else 0.0
    return shares


def knowledge_text(layer: str, shares: Mapping[str, float]) -> str:
    """The shares in words."""
    told = ", ".join(f"{100 * max(share, 0):.0f} % of {name}" for name, share in shares.items() if name != layer)
    return f"a linear map tells {told} from {layer}; a prior draws about as much" if told else ""


def _seen(
    encoder: Comparator, comparator: Comparator, pictures: Pictures, most: int, device: torch.device
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Codes (image, entry) and values of each layer (image, value) of evenly spaced images, float64."""
    rows = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)
    codes, values = [], []
    for at in range(0, len(rows), _BATCH):
        images = real_images(pictures, rows[at : at + _BATCH]).to(device)
        with torch.no_grad():
            codes.append(encoder.values(images)[0].flatten(1).double().cpu().numpy())
            found = [value.flatten(1).double().cpu().numpy() for value in comparator.values(images)]
        values.append([value[:, :: -(-value.shape[1] // _VALUES)] for value in found])
    return np.vstack(codes), [np.vstack(layer) for layer in zip(*values, strict=True)]
