"""Batched DGN-AM on the cone against the original's loop: one image at a time, full forward passes."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from jobs.bench.ascent_on_cones import CPU, compare, convolution_peak, macs_of_a_step, micro_batch, precisions
from jobs.bench.figures import Figures
from jobs.bench.shapes import caffenet_shaped, generator_shaped
from jobs.console import compose_config
from jobs.request import read_config
from pipeline.card import PriorCard
from pipeline.climb.attempts import Climbed, Item, climb_items
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.codes import CodeRange, Codes
from pipeline.methods.dgn.request import read_dgn
from pipeline.methods.dgn.settings import RunRecord
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network
from pipeline.priors.card import generator_costs
from pipeline.priors.generator import Lowered

QUESTION = (
    "unit-steps of DGN-AM per CPU second of one thread, the published fc6 generator's and CaffeNet's shape, the "
    "planner's micro-batches; a layer's rates in turn"
)
LAYERS, ENTRIES = ("conv3", "fc8"), 4096


def measure(short: bool) -> Figures:
    """Measure a hidden layer and the classes in float32 and, where auto takes it, in bf16."""
    torch.set_num_threads(1)
    network, prior = caffenet_shaped(), generator_shaped()
    prior.generator.to(memory_format=torch.channels_last)  # as in a task on a CPU
    lowered = SimpleNamespace(**{**vars(prior), "generator": Lowered(copy.deepcopy(prior.generator))})
    config = read_config(compose_config("atlas", ["dgn.trace_points=2", "dgn.fresh_starts=0", "device=cpu"]))
    settings = read_dgn(config).settings[""]
    real_codes = CodeRange(np.full(ENTRIES, 0.6, np.float32), np.full(ENTRIES, 3.7, np.float32), rectified=True)
    prior_macs, prior_bytes = generator_costs(prior.generator, prior.code_shape)
    card = PriorCard(
        "bench", "", "", "", "fc6", (ENTRIES,), True, 256, 256, "BGR", macs=prior_macs, bytes=prior_bytes
    )  # fmt: skip
    run, figures = RunRecord("bench", card, settings, None, 0, config.device), Figures()
    peaks = {one: convolution_peak(one) for one in precisions(config.device, 1 << 60)}
    for layer in LAYERS:
        cone = layer_cone(network, layer, "window")
        macs = cone.macs() + prior_macs
        side = max(cone.window.height / prior.height, cone.window.width / prior.width)
        maps, units = cone.map_bytes() + side * prior_bytes, network.layer(layer).channels
        batches = {one: micro_batch(config.device, macs, maps, units, one) for one in precisions(config.device, macs)}
        full, half = (
            Adapter(one, network.preprocessing, cone.window, CPU, torch.float32)  # type: ignore[arg-type]
            for one in (prior, lowered)
        )
        codes = Codes(full, layer, run, real_codes, None, lowered=half)
        upper = real_codes.bounds(settings)[1]  # type: ignore[index]

        def climbed(
            precision: str, iterations: int, batch: int | None = None, cone=cone, codes=codes, batches=batches
        ) -> Climbed:
            batch = batches[precision] if batch is None else batch
            chosen = replace(run, settings=replace(settings, iterations=iterations))
            items = [Item(((unit, 1.0),), 0, chosen) for unit in range(batch)]
            return climb_items(
                cone, codes, items, fresh_starts=0, trace_points=2, batch=batch, device=CPU, log_odds=True,
                lowered=precision == "bf16",
            )  # fmt: skip

        compare(
            figures, layer, batches, climbed,
            lambda layer=layer, upper=upper: original_loop(network, prior.generator, layer, 0, 1, upper),
            macs_of_a_step(partial(climbed, "float32", batch=1), 1), peaks, 2 if short else 5,
        )  # fmt: skip
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
