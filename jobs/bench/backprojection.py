"""Back-projections of several rules, batched on cones, against one full pass for every rule and image."""

from __future__ import annotations

import numpy as np
import torch

from jobs.bench.figures import Figures, median_ratio, seconds_in_turn
from jobs.bench.shapes import caffenet_shaped
from pipeline.methods.tops.backproject import back_project
from pipeline.nets.backward import RULES
from pipeline.nets.network import Network

QUESTION = "three back-projections of the top 9 of conv5 units of CaffeNet's shape, one thread each, in the same run"
LAYER, TOP, BATCH = "conv5", 9, 16


def measure(short: bool) -> Figures:
    """Measure the variants in turn; a ratio is the median of the pairs."""
    torch.set_num_threads(1)
    network = caffenet_shaped()
    units, runs, loops = (8, 3, 4) if short else (64, 7, 12)
    images = noise_images(network, TOP)
    spread = top_hits(network, images, units)
    centred = np.full_like(spread[1], network.layer(LAYER).centre[0])
    chosen = np.tile(np.arange(TOP), units)

    def ours(positions: np.ndarray) -> None:
        cpu = torch.device("cpu")
        hits = [images[image] for image in chosen]
        back_project(network, LAYER, hits, spread[0], positions, lrn="derivative", batch=BATCH, device=cpu)

    def theirs() -> None:
        for hit in range(loops):
            full_passes(network, images[chosen[hit]], int(spread[0][hit]), spread[1][hit])

    fast, inside, slow = seconds_in_turn(runs, lambda: ours(spread[1]), lambda: ours(centred), theirs)
    hits = units * TOP
    per_slow = [seconds / loops for seconds in slow]
    figures = Figures()
    for name, seconds in (("at the images' maxima", fast), ("all at the centre, the largest cone", inside)):
        per_hit = [second / hits for second in seconds]
        figures.add_median(f"{hits} hits {name}", [1e3 * each for each in per_hit], "ms/hit")
        figures.add("  three full passes are slower by", median_ratio(per_slow, per_hit), "(target: at least 6)")
    figures.add_median("three full passes", [1e3 * each for each in per_slow], "ms/hit")
    return figures


def noise_images(network: Network, count: int) -> np.ndarray:
    """Smooth noise, centred float32 (image, channel, row, column): speed does not depend on the content."""
    size = network.preprocessing
    coarse = torch.from_numpy(np.random.RandomState(0).normal(0, 60, (count, size.channels, 24, 24)))
    smooth = torch.nn.functional.interpolate(coarse, (size.height, size.width), mode="bilinear")
    return smooth.float().numpy()


@torch.no_grad()
def top_hits(network: Network, images: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """The hits of the first units, every image once for each: units (hit,) and positions (hit, 2)."""
    values = network.run(torch.from_numpy(images), [LAYER])[LAYER][:, :units].transpose(0, 1)
    best = values.flatten(2).argmax(dim=2).flatten().numpy()
    width = network.layer(LAYER).width
    return np.repeat(np.arange(units), len(images)), np.column_stack([best // width, best % width])


def full_passes(network: Network, image: np.ndarray, unit: int, position: np.ndarray) -> list[np.ndarray]:
    """One forward and one backward pass of the whole image for each rule, as the original program runs them.

    All three are plain gradients, because the rules differ only in a comparison at the rectifiers.
    """
    signals = []
    for _ in RULES:
        given = torch.from_numpy(image[None]).requires_grad_()
        value = network.run(given, [LAYER])[LAYER]
        (signal,) = torch.autograd.grad(value[0, unit, position[0], position[1]], given)
        signals.append(signal[0].numpy())
    return signals
