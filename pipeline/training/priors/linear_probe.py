"""A linear probe on the codes: the share of other layers' variance that they explain, before any training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pipeline.data.training_images import Pictures
from pipeline.training.priors.comparator import Comparator, real_images

_BATCH = 100  # images
_FITTED, _MEASURED = 4000, 1000  # images at most
_VALUES = 512  # values of a layer at most, evenly spaced: their share is close to the whole layer's
_RIDGE = 0.01  # ridge penalty, as a share of the codes' mean square


def explained_variance(
    encoder: Comparator, comparator: Comparator, train: Pictures, held_out: Pictures, device: torch.device
) -> dict[str, float]:
    """Fit ridge regression from codes to each compared layer; return the explained shares of variance, by layer.

    The shares are measured on held-out images. They predict how closely a prior of these codes can reconstruct: below
    one half of an early layer, its images follow the original only roughly, whatever the training.

    encoder : the value of its single layer is the code.
    train, held_out : images of the network's input size.
    device : where the network computes.
    """
    codes, values = _codes_and_values(encoder, comparator, train, _FITTED, device)
    new_codes, new_values = _codes_and_values(encoder, comparator, held_out, _MEASURED, device)
    means = [value.mean(0) for value in values]
    centre = codes.mean(0)
    codes, new_codes = codes - centre, new_codes - centre
    # In its dual form the regression has as many unknowns as images, however many entries a code has.
    kernel = codes @ codes.T
    kernel += _RIDGE * np.trace(kernel) / codes.shape[1] * np.eye(len(kernel))
    weights = np.linalg.solve(kernel, np.hstack([value - mean for value, mean in zip(values, means, strict=True)]))
    together = new_codes @ codes.T @ weights
    predictions = np.split(together, np.cumsum([value.shape[1] for value in values])[:-1], axis=1)
    shares = {}
    for name, prediction, mean, target in zip(comparator.layers, predictions, means, new_values, strict=True):
        variance = np.square(target - mean).sum()
        shares[name] = float(1 - np.square(target - mean - prediction).sum() / variance) if variance else 0.0
    return shares


def probe_text(layer: str, shares: Mapping[str, float]) -> str:
    """Return the explained shares as a sentence without a full stop; "" if no layer but the code itself is compared.

    layer : name of the code's layer.
    shares : as explained_variance returns.
    """
    parts = ", ".join(f"{name} {100 * max(share, 0):.0f} %" for name, share in shares.items() if name != layer)
    text = f"a linear probe on {layer} explains these shares of variance: {parts}; a prior reconstructs about as much"
    return text if parts else ""


def _codes_and_values(
    encoder: Comparator, comparator: Comparator, pictures: Pictures, most: int, device: torch.device
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Codes (image, entry) and values of each layer (image, value) of at most `most` evenly spaced images, float64."""
    rows = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)
    codes, values = [], []
    for at in range(0, len(rows), _BATCH):
        images = real_images(pictures, rows[at : at + _BATCH]).to(device)
        with torch.no_grad():
            codes.append(encoder.values(images)[0].flatten(1).double().cpu().numpy())
            whole = [value.flatten(1).double().cpu().numpy() for value in comparator.values(images)]
        values.append([value[:, :: -(-value.shape[1] // _VALUES)] for value in whole])
    return np.vstack(codes), [np.vstack(layer) for layer in zip(*values, strict=True)]
