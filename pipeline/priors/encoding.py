"""The code of an image: what the network that a prior inverts says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline.data.decoding import BadImage, decode
from pipeline.errors import SettingsError
from pipeline.nets.network import Network
from pipeline.priors.prior import Prior


def file_code(prior: Prior, network: Network, path: Path) -> np.ndarray:
    """The code of an image file, float32 (entry,): resized to the network's input whatever its shape.

    network : the one that the prior inverts. Raises SettingsError if the file cannot be read, or the network has no
    such codes.
    Source: Nguyen et al. 2016, the authors' program.
    """
    try:
        pixels = decode(path.read_bytes(), reduced_to=None).pixels
    except (OSError, BadImage) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"dgn.image {path}: cannot be read ({reason}); give an image file") from None
    code = codes(prior, network, network.preprocessing.fitted(pixels[None]))[0]
    return code.reshape(-1)


def codes(prior: Prior, network: Network, pixels: np.ndarray) -> np.ndarray:
    """Codes of RGB uint8 pixels (picture, row, column, rgb) of the network's input size, float32 (picture, …)."""
    layer = network.layer(prior.code_layer)
    with torch.no_grad():
        centred = torch.from_numpy(network.preprocessing.centred(pixels))
        value = network.run(centred, [layer.name])[layer.name]
    if tuple(value.shape[1:]) != tuple(prior.code_shape):
        raise SettingsError(
            f"prior {prior.name}: codes of shape {tuple(prior.code_shape)}, but {layer.name} of {network.name} has "
            f"{tuple(value.shape[1:])}; the prior is for another code"
        )
    return (value.clamp(min=0) if prior.rectified else value).numpy()
