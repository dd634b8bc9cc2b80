"""Draw stored codes again, as the pictures of a run were drawn from them."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.methods.dgn.adapter import Adapter, ImagePrior
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.window import Window


def render_codes(
    prior: ImagePrior, preprocessing: Preprocessing, window: Window, codes: np.ndarray, device: torch.device
) -> np.ndarray:
    """The pictures of codes, uint8 (picture, y, x, rgb): the generator's image, cropped to the input, then the window.

    prior : with its generator on the device.
    preprocessing : of the network that the pictures were made for.
    window : part of the network's input that a picture shows.
    codes : float32 (picture, entry).
    """
    draw = Adapter(prior, preprocessing, window, device, torch.float32)
    with torch.no_grad():
        centred = draw(torch.from_numpy(codes).to(device)).cpu().numpy()
    inside = (slice(None), slice(window.top, window.bottom), slice(window.left, window.right))
    return preprocessing.pixels(centred, preprocessing.full_mean[inside])
