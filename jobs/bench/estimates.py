"""Steps of layers of many networks, beside what `make plan` estimates for them on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch

from jobs.bench.ascent_on_cones import CPU
from jobs.bench.figures import Figures, seconds_in_turn
from jobs.bench.shapes import shaped
from jobs.console import compose_config
from jobs.request import read_device, read_model, read_settings
from pipeline.climb.attempts import Item, climb_items
from pipeline.costs import PASSES_PER_STEP, Pass, climb_seconds
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import layer_cone
from pipeline.nets.network_card import network_card
from pipeline.nets.open_network import open_network
from pipeline.task import Sizes

QUESTION = "CPU seconds of a step of low_frequency, one thread, the planner's micro-batches, float32; layers in turn"
# Networks that come with the project, and shapes of others. A row of the table of costs is fitted to these.
LAYERS = {
    "doodlenet": ("conv3", "conv5", "fc8"),
    "doodlevgg": ("bn3_1", "pool3", "bn4_1", "bn4_2", "fc"),
    "doodlejudge": ("block3", "block4", "fc"),
    "tinynet": ("conv3", "conv5", "fc8"),
    "squeezenet_v1_1": ("fire3/concat", "fire5/concat", "fire7/concat", "fire9/concat"),
    "caffenet": ("conv2", "conv3", "conv5", "fc8"),
    "googlenet": ("inception_3a/output", "inception_3b/output", "inception_4c/output", "inception_5b/output"),
    "resnet50": ("res2c", "res3a", "res3d", "res4a", "res4f"),
}
BUNDLED = ("doodlenet", "doodlevgg", "doodlejudge", "tinynet")
STEPS = 3


def measure(short: bool) -> Figures:
    """Measure every layer; the estimate as a share of the median."""
    torch.set_num_threads(1)
    config = compose_config("atlas", [])
    style = read_settings(StyleSettings, config.style.low_frequency, "style")
    settings, device = read_settings(AscentSettings, config.ascent, "ascent"), read_device(config, "cpu")
    names, works, passes = [], [], []
    for name, layers in {"doodlenet": LAYERS["doodlenet"]}.items() if short else LAYERS.items():
        given = compose_config("layers", [f"model={name}"]).model if name in BUNDLED else None
        network = shaped(name) if given is None else open_network(read_model(given))
        card = network_card(network)
        for layer in layers:
            cone, described = layer_cone(network, layer, "window"), card.layer(layer)
            macs = PASSES_PER_STEP * cone.macs() * style.max_iter
            batch = Sizes.of(device, macs, cone.map_bytes()).batch_of(described.channels)
            pixels = Pixels(cone, layer, 0, settings)

            def climbed(steps: int, cone=cone, batch=batch, pixels=pixels) -> None:
                items = [Item(((unit, 1.0),), 0, replace(style, max_iter=steps + 1)) for unit in range(batch)]
                climb_items(
                    cone, pixels, items, fresh_starts=0, trace_points=settings.trace_points, batch=batch, device=CPU,
                    last=False,
                )  # fmt: skip

            names.append(f"{name} {layer}, micro-batch of {batch}")
            works += [lambda climbed=climbed: climbed(0), lambda climbed=climbed: climbed(STEPS)]
            passes.append((Pass.of(described, "window", card), batch))
    taken = seconds_in_turn(3 if short else 9, *works, clock=time.process_time)
    figures = Figures()
    for place, (name, (one, batch)) in enumerate(zip(names, passes, strict=True)):
        pairs = zip(taken[2 * place], taken[2 * place + 1], strict=True)
        steps = [max(1e-6, (some - ends) / STEPS) for ends, some in pairs]
        few, more = (
            climb_seconds("cpu", "float32", one, items=batch, batch=batch, iterations=count) for count in (1, 2)
        )
        figures.add_median(name, [1e3 * each for each in steps], "ms a step")
        figures.add(f"{name}, estimated", (more - few) / statistics.median(steps), "of it")
        figures.add(f"{name}, of an item", one.macs / 1e6, "million multiply-accumulates")
        figures.add(f"{name}, its maps", one.bytes / 1e6, "MB that count")
        figures.add(f"{name}, its image", one.pixels, "pixels")
    return figures
