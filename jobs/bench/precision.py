"""What pictures lose that climb in bfloat16: the activation that they reach, and what a judge sees in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from jobs.bench.figures import Figures
from jobs.bench.mining import squeezenet
from jobs.console import compose_config
from jobs.request import read_config, read_model, read_settings
from pipeline.climb.attempts import Climbed, Item, climb_items
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.codes import CodeRange, Codes
from pipeline.methods.dgn.request import read_dgn
from pipeline.methods.dgn.settings import RunRecord
from pipeline.methods.scores.compute import Verdicts, judge_pictures
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network
from pipeline.nets.open_network import open_network
from pipeline.priors.card import prior_card
from pipeline.priors.prior import read_prior
from pipeline.resources import placed_prior

QUESTION = (
    "pictures that climbed in bf16 beside those from the same starts in float32, also where auto takes float32: "
    "activation, measured in float32, and a judge's verdict"
)
LAYERS = ("fire3/concat", "fire5/concat", "fire7/concat", "fire9/concat")  # of SqueezeNet
LABELS = "imagenet-labels.txt"  # of SqueezeNet's classes, in the folder ATLAS_TEST_DATA
PRECISIONS = ("float32", "bf16")
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Judged:
    """A network that names the classes of pictures. targets : of each class, its number there, or −1."""

    network: Network
    targets: Sequence[int]


def measure(short: bool) -> Figures:
    """Measure classes of the project's networks, and layers of SqueezeNet where its weights are at hand."""
    torch.set_num_threads(1)
    figures = Figures(live=not short)
    doodlenet, tinynet, tinyjudge = map(_shipped, ("doodlenet", "tinynet", "tinyjudge"))
    judge = _shipped("doodlejudge")
    _compare(
        figures, "doodlenet's classes through its prior", through_prior(doodlenet, 2 if short else 50),
        range(0, 28, 7 if short else 1), Judged(judge, _same_names(doodlenet.labels, judge.labels)),
    )  # fmt: skip
    _compare(
        figures, "tinynet's classes", by_ascent(tinynet, tinynet.class_layer or "", 2 if short else 60),
        range(1, 200, 50 if short else 2), Judged(tinyjudge, _same_names(tinynet.labels, tinyjudge.labels)),
    )  # fmt: skip
    folder = Path(os.environ.get("ATLAS_TEST_DATA", ""))
    weights = folder / "squeezenet_v1.1.caffemodel"
    if not weights.is_file():
        return figures
    network, iterations, count = squeezenet(weights), 2 if short else 100, 4 if short else 20
    for layer in LAYERS:
        units = np.random.RandomState(0).permutation(network.layer(layer).channels)[:count]
        _compare(figures, f"squeezenet {layer}", by_ascent(network, layer, iterations), units.tolist())
    names = [line.split(" ", 1)[1] for line in (folder / LABELS).read_text().splitlines()]
    targets = _same_names(names, tinyjudge.labels)
    known = [unit for unit, target in enumerate(targets) if target >= 0][:: 30 if short else 4]
    climbed = by_ascent(network, network.class_layer or "", iterations)
    _compare(figures, "squeezenet's classes", climbed, known, Judged(tinyjudge, targets))
    return figures


def by_ascent(network: Network, layer: str, iterations: int) -> Callable[[str, Sequence[int]], Climbed]:
    """A function of a precision and of units, which climbs once for each in the style low_frequency."""
    config = compose_config("atlas", [])
    style = replace(read_settings(StyleSettings, config.style.low_frequency, "style"), max_iter=iterations)
    cone = layer_cone(network, layer, "window")
    pixels = Pixels(cone, layer, 0, read_settings(AscentSettings, config.ascent, "ascent"))
    return partial(_climb, cone, pixels, style, log_odds=False)


def through_prior(network: Network, iterations: int) -> Callable[[str, Sequence[int]], Climbed]:
    """The same for DGN-AM through the network's own prior, for classes."""
    prior = read_prior(Path(str(files("pipeline"))) / "weights" / "priors" / f"{network.name}_fc6")
    config = read_config(compose_config("atlas", [f"model={network.name}", "device=cpu"]))
    settings = replace(read_dgn(config).settings[""], iterations=iterations)
    run, layer = RunRecord(prior.name, prior_card(prior), settings, None, 0, config.device), network.class_layer or ""
    cone = layer_cone(network, layer, "window")
    full, half = (
        Adapter(placed_prior(prior, _CPU, precision=one), network.preprocessing, cone.window, _CPU, torch.float32)
        for one in PRECISIONS
    )
    codes = CodeRange(prior.code_mean, prior.code_deviation, prior.rectified)
    return partial(_climb, cone, Codes(full, layer, run, codes, None, lowered=half), run, log_odds=True)


def _climb(cone, image, settings, precision: str, units: Sequence[int], *, log_odds: bool) -> Climbed:
    items = [Item(((unit, 1.0),), 0, settings) for unit in units]
    return climb_items(
        cone, image, items, fresh_starts=0, trace_points=8, batch=min(32, len(items)), device=_CPU, log_odds=log_odds,
        lowered=precision == "bf16",
    )  # fmt: skip


def _compare(
    figures: Figures,
    name: str,
    climb: Callable[[str, Sequence[int]], Climbed],
    units: Sequence[int],
    judged: Judged | None = None,
) -> None:
    """Climb in both precisions and add what the pictures reach, and what the judge sees in them."""
    first, second = (climb(precision, units) for precision in PRECISIONS)
    reached, lowered = (climbed.best.activation_float[:, 0] for climbed in (first, second))
    on = reached > 0
    figures.add(f"{name}: units that float32 activates", int(on.sum()), f"of {len(units)}")
    if on.any():
        figures.add_median(f"{name}: activation in bf16", (lowered[on] / reached[on]).tolist(), "of float32's")
    for precision, climbed in zip(PRECISIONS, (first, second), strict=True) if judged is not None else ():
        seen = _verdicts(judged, climbed, units)  # type: ignore[arg-type]
        for what, values in (
            (f"{judged.network.name} is right", seen.target_rank == 0),  # type: ignore[union-attr]
            ("probability of the class", seen.target_probability),
        ):
            row = f"{name}: {what}, {precision}"
            figures.add(row, float(np.mean(values)), "")
            figures.add(f"{row}, standard error", float(np.std(values) / np.sqrt(len(units))), "")


def _verdicts(judged: Judged, climbed: Climbed, units: Sequence[int]) -> Verdicts:
    pixels, shown = climbed.best.pixels[:, None], np.array(climbed.shown)[:, None]
    return judge_pictures(judged.network, pixels, shown, [judged.targets[unit] for unit in units])


def _same_names(labels: Sequence[str], known: Sequence[str]) -> list[int]:
    """For each label the number of the known one with the same first name, or −1."""
    numbers = {label.split(",")[0]: number for number, label in enumerate(known)}
    return [numbers.get(label.split(",")[0], -1) for label in labels]


def _shipped(name: str) -> Network:
    return open_network(read_model(compose_config("atlas", [f"model={name}"]).model))
