"""The generator of DGN-AM on a unit's window against the whole image, cropped: steps through generator and cone."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.bench.shapes import caffenet_shaped, generator_shaped
from jobs.console import compose_config
from jobs.request import read_model
from pipeline.methods.dgn.adapter import ImagePrior
from pipeline.nets.cone import Cone, layer_cone
from pipeline.nets.interval import Interval
from pipeline.nets.network import Network
from pipeline.nets.open_network import open_network
from pipeline.priors.open import prior_folder
from pipeline.priors.prior import read_prior
from pipeline.priors.windowed import windowed
from pipeline.resources import placed_prior

QUESTION = "steps of DGN-AM per CPU second, generator on the unit's window or as a whole, one thread, same run"
BATCH = 8


def measure(short: bool) -> Figures:
    """Measure both variants in turn; the ratio is the median of the pairs."""
    torch.set_num_threads(1)
    figures = Figures()
    doodlenet = open_network(read_model(compose_config("atlas", ["model=doodlenet"]).model))
    shipped = placed_prior(read_prior(prior_folder("package:doodlenet_fc6", "bench")), torch.device("cpu"))
    _compare(figures, doodlenet, shipped, ("conv1", "conv2", "conv3"), 8 if short else 24)
    published = generator_shaped()
    published.generator.to(memory_format=torch.channels_last)  # as in a task on a CPU
    _compare(figures, caffenet_shaped(), published, ("conv1", "conv3", "conv5"), 2 if short else 7)
    return figures


def _compare(figures: Figures, network: Network, prior: ImagePrior, layers: tuple[str, ...], runs: int) -> None:
    code = torch.randn(BATCH, *prior.code_shape, generator=torch.Generator().manual_seed(0))
    top = (prior.height - network.preprocessing.height) // 2
    for layer in layers:
        cone = layer_cone(network, layer, "window")
        at = cone.window
        rows, columns = Interval(top + at.top, top + at.bottom), Interval(top + at.left, top + at.right)
        inside = (slice(None), slice(None), rows.as_slice(), columns.as_slice())
        part = windowed(prior.generator, tuple(prior.code_shape), rows, columns)

        def whole(code: Tensor, inside=inside) -> Tensor:
            return prior.generator(code)[inside]

        ways = [lambda draw=draw, cone=cone: _step(draw, cone, code) for draw in (part, whole)]
        fast, slow = seconds_in_turn(runs, *ways, clock=time.process_time)
        name = f"{network.name} {layer}, {at.height} x {at.width} of {prior.height} pixels"
        figures.add_median(f"{name}, on the window", [BATCH / each for each in fast], "steps/s")
        figures.add_median(f"{name}, whole", [BATCH / each for each in slow], "steps/s")
        figures.add(f"{name}, ratio", median_ratio(slow, fast), "")


def _step(draw: Callable[[Tensor], Tensor], cone: Cone, code: Tensor) -> Tensor:
    """The gradient of the first units at codes."""
    leaf = code.clone().requires_grad_()
    image = draw(leaf).contiguous(memory_format=torch.channels_last)
    (gradient,) = torch.autograd.grad(cone.activations(image, torch.arange(len(code))).sum(), leaf)
    return gradient
