"""The code of an image: the value of a prior's code layer in the network that the prior inverts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pipeline.data.decoding import BadImage, decode
from pipeline.errors import SettingsError
from pipeline.nets.network import Network
from pipeline.priors.prior import Prior


def file_code(prior: Prior, network: Network, path: Path) -> np.ndarray:
    """Return the code of an image file, float32 (entry,). The image is resized to the network's input size.

    network : the network that the prior inverts.
    path : of an image file, of any shape.
    Raises SettingsError if the file cannot be read, or the network's codes have another shape.
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
    """Return the codes of images, float32 (image, …).

    network : the network that the prior inverts.
    pixels : RGB uint8 (image, row, column, rgb), of the network's input size.
    Raises SettingsError if the network's codes have another shape.
    """
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
