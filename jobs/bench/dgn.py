"""Batched DGN-AM on the cone against the original's loop: one image at a time, full forward passes."""

from __future__ import annotations

import statistics

import numpy as np
import torch
from torch import nn

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.bench.shapes import caffenet_shaped, generator_shaped
from jobs.console import compose_config
from jobs.request import read_config
from pipeline.card import PriorCard
from pipeline.climb.attempts import Item, climb_items
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.codes import CodeRange, Codes
from pipeline.methods.dgn.request import read_dgn
from pipeline.methods.dgn.settings import RunRecord
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network

QUESTION = "unit-steps per second of DGN-AM, the published fc6 generator's and CaffeNet's shape, one thread, same run"
LAYERS, BATCH, ENTRIES = ("conv3", "fc8"), 8, 4096


def measure(short: bool) -> Figures:
    """Measure both variants in turn, for a hidden layer and the classes; the ratio is the median of the pairs."""
    torch.set_num_threads(1)
    network, prior = caffenet_shaped(), generator_shaped()
    prior.generator.to(memory_format=torch.channels_last)  # as in a task on a CPU
    wanted = ["dgn.iterations=4", "dgn.trace_points=2", "dgn.fresh_starts=0", "device=cpu"]
    config = read_config(compose_config("atlas", wanted))
    settings, cpu = read_dgn(config).settings[""], torch.device("cpu")
    real_codes = CodeRange(np.full(ENTRIES, 0.6, np.float32), np.full(ENTRIES, 3.7, np.float32), rectified=True)
    card = PriorCard("bench", "", "", "", "fc6", (ENTRIES,), True, 256, 256, "BGR", macs=1, bytes=1)
    run = RunRecord("bench", card, settings, None, 0, config.device)
    items = [Item(((unit, 1.0),), 0, run) for unit in range(BATCH)]
    figures = Figures()
    for layer in LAYERS:
        cone = layer_cone(network, layer, "window")
        codes = Codes(
            Adapter(prior, network.preprocessing, cone.window, cpu, torch.float32), layer, run, real_codes, None
        )
        upper = real_codes.bounds(settings)[1]

        def ours(cone=cone, codes=codes) -> None:
            climb_items(cone, codes, items, fresh_starts=0, trace_points=2, batch=BATCH, device=cpu, log_odds=True)

        def theirs(layer=layer, upper=upper) -> None:
            original_loop(network, prior.generator, layer, 0, settings.iterations, upper)

        fast, slow = seconds_in_turn(1 if short else 5, ours, theirs)
        per_fast = [seconds / (BATCH * settings.iterations) for seconds in fast]
        per_slow = [seconds / settings.iterations for seconds in slow]
        figures.add(f"{layer}, on the cone, micro-batches of {BATCH}", 1 / statistics.median(per_fast), "unit-steps/s")
        figures.add(f"{layer}, one image at a time", 1 / statistics.median(per_slow), "unit-steps/s")
        figures.add(f"{layer}, ratio", median_ratio(per_slow, per_fast), "")
    return figures


def original_loop(
    network: Network, generator: nn.Module, layer: str, unit: int, steps: int, upper: np.ndarray
) -> np.ndarray:
    """DGN-AM as the authors' program runs it; returns the last code.

    Source: Nguyen et al. 2016: the image in a frame of 256, the layer's whole map, the gradient at the image, and its
    normalized step sent back through the generator.
    """
    row, column = network.layer(layer).centre
    code, high = torch.from_numpy(np.random.RandomState(0).normal(0, 1, (1, len(upper)))).float(), torch.tensor(upper)
    offset = (256 - network.preprocessing.height) // 2
    inside = (slice(None), slice(None), *[slice(offset, offset + network.preprocessing.height)] * 2)
    for iteration in range(steps):
        step = 8.0 + (1e-10 - 8.0) * iteration / steps
        given = code.clone().requires_grad_()
        frame = generator(given)
        image = frame[inside].detach().requires_grad_()
        value = network.run(image, [layer])[layer]
        value = value[0, unit] if value.dim() == 2 else value[0, unit, row, column]
        (slope,) = torch.autograd.grad(value, image)
        pushed = torch.zeros_like(frame)
        pushed[inside] = step * slope / slope.abs().mean().clamp(min=1e-30)
        (back,) = torch.autograd.grad(frame, given, grad_outputs=pushed)
        code = code + step * back / back.abs().mean().clamp(min=1e-30)
        code = torch.minimum(code.clamp(min=0), high.float()) * 0.99
    return code.numpy()
