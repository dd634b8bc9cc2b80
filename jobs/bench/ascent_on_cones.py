"""Micro-batched ascent on the cone against the original's loop: one image at a time, full forward passes."""

from __future__ import annotations

import statistics

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.bench.shapes import caffenet_shaped
from jobs.console import compose_config
from jobs.request import read_settings
from pipeline.climb.attempts import Item, climb_items
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import Cone
from pipeline.nets.network import Network

QUESTION = "unit-steps per second for conv3 of CaffeNet's shape, low_frequency, one thread each, in the same run"
LAYER, BATCH = "conv3", 32


def measure(short: bool) -> Figures:
    """Measure both variants in turn; the ratio is the median of the pairs."""
    torch.set_num_threads(1)
    network = caffenet_shaped()
    config = compose_config("atlas", [])
    style = read_settings(StyleSettings, {**config.style.low_frequency, "max_iter": 21}, "style")
    settings = read_settings(AscentSettings, config.ascent, "ascent")
    cone = Cone(network, LAYER)
    items = [Item(((unit, 1.0),), 0, style) for unit in range(BATCH)]
    loop_steps, runs = (6, 3) if short else (20, 7)

    def ours() -> None:
        pixels, shared = Pixels(cone, LAYER, 0, settings), {"trace_points": settings.trace_points, "batch": BATCH}
        climb_items(cone, pixels, items, fresh_starts=settings.fresh_starts, device=torch.device("cpu"), **shared)

    fast, slow = seconds_in_turn(runs, ours, lambda: original_loop(network, LAYER, 0, loop_steps))
    per_fast = [seconds / (BATCH * style.max_iter) for seconds in fast]
    per_slow = [seconds / loop_steps for seconds in slow]
    figures = Figures()
    figures.add("on the cone, micro-batches of 32", 1 / statistics.median(per_fast), "unit-steps/s")
    figures.add("one image at a time, fc8 included", 1 / statistics.median(per_slow), "unit-steps/s")
    figures.add("ratio", median_ratio(per_slow, per_fast), "(target: at least 10)")
    return figures


def original_loop(network: Network, layer: str, unit: int, steps: int) -> np.ndarray:
    """Gradient ascent as the authors' program runs it: a full forward pass, fc8 included, backward from the layer.

    Source: Yosinski et al. 2015, the Deep Visualization Toolbox's optimizer, style low_frequency.
    """
    row, column = network.layer(layer).centre
    size = network.preprocessing
    image = np.random.RandomState(0).normal(0, 10, (3, size.height, size.width))
    for step in range(steps):
        image = np.minimum(255.0, np.maximum(0.0, image + size.full_mean)) - size.full_mean
        given = torch.from_numpy(image[None].astype(np.float32)).requires_grad_()
        values = network.run(given, [layer, "prob"])
        (gradient,) = torch.autograd.grad(values[layer][0, unit, row, column], given)
        image = image + 100.0 * gradient[0].numpy()
        image *= 1 - 0.0001
        if step % 4 == 0:
            image = np.stack([gaussian_filter(plane, 1.0) for plane in image])
    return image
