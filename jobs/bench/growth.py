"""How time and memory grow: with the units of an atlas, the images of a dataset, the image's size, the micro-batch.

Networks have generated weights. Every atlas and every size of the image has a process of its own.
"""

from __future__ import annotations

import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

from jobs.atlas import requested
from jobs.bench.ascent_on_cones import CPU, STEPS, macs_of_a_step
from jobs.bench.figures import Figures, seconds_in_turn
from jobs.bench.mining import Measurement
from jobs.bench.shapes import shaped, wide
from jobs.cluster import Serial
from jobs.console import compose_config
from jobs.execution import Execution
from jobs.folder import merge_atlas, open_work, write_plan
from jobs.opening import OpenedPriors, open_images
from jobs.request import read_model, read_request, read_settings
from jobs.site import build_pages, read_site
from pipeline.climb.attempts import Item, climb_items
from pipeline.costs import Pass
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import layer_cone
from pipeline.nets.network import Network
from pipeline.nets.network_card import network_card
from pipeline.nets.open_network import open_network
from pipeline.request import Request
from pipeline.resources import Resources
from pipeline.store.publishing import size_of
from pipeline.units import select_units

QUESTION = (
    "CPU seconds and memory against units, images, the image's size and the micro-batch, one thread; a stage grows as "
    "their number to the power that is given, 1 in proportion"
)
UNITS, FEW_UNITS = (8, 32, 128, 512), (8, 64)
IMAGES, FEW_IMAGES = (256, 1024, 4096), (64, 256)
SIDES, FEW_SIDES = (64, 128, 227), (64, 128)
BATCHES, FEW_BATCHES = (1, 2, 4, 8, 16, 32), (1, 4, 16)
CONVNET, CLASSES, HIDDEN = "squeezenet_v1_1", "conv10", "fire5/concat"  # it takes images of any size
CLIMBED, MINED = 4, 8  # images of a micro-batch where the image grows
_UNITS_OF = ("methods=[ascent]", "styles=[low_frequency]", "style.low_frequency.max_iter=4", "samples=1")
_IMAGES_OF = ("methods=[tops]", "units=[conv3:0-7]", "dataset=doodles")

T = TypeVar("T")


@dataclass
class Made:
    """What an atlas took. seconds : stage → CPU seconds, of child processes too."""

    seconds: dict[str, float] = field(default_factory=dict)
    atlas: int = 0
    pages: int = 0
    memory: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage."""
        before = sum(os.times()[:4])
        yield
        self.seconds[name] = sum(os.times()[:4]) - before


def measure(short: bool) -> Figures:
    """Measure all four."""
    figures = Figures(live=not short)
    sizes = FEW_UNITS if short else UNITS
    _add_atlases(figures, "units", "units", {units: _alone(make_wide, units) for units in sizes})
    sizes = FEW_IMAGES if short else IMAGES
    _add_atlases(figures, "images", "images", {images: _alone(make_mined, images) for images in sizes})
    for side in FEW_SIDES if short else SIDES:
        for curve, (value, measure) in _alone(rates, side, 2 if short else 5).items():
            figures.add_point(f"image size: {curve}", side, "pixels", value, measure)
    sizes = FEW_BATCHES if short else BATCHES
    for batch, rate in zip(sizes, _alone(batch_rates, sizes, 2 if short else 5), strict=True):
        figures.add_point(f"micro-batch: climb of {HIDDEN}", batch, "items", rate, "unit-steps/s")
    return figures


def _add_atlases(figures: Figures, what: str, along: str, made: dict[int, Made]) -> None:
    """Add the stages of atlases, and with which power each grew from the last but one to the last."""
    before, last = list(made)[-2:]
    for stage in made[last].seconds:
        for at, one in made.items():
            figures.add_point(f"{what}: {stage}", at, along, one.seconds[stage], "s")
        low, high = (made[at].seconds[stage] for at in (before, last))
        if low >= 0.05:  # the clock counts hundredths
            figures.add(f"{what}: {stage}, power", math.log(high / low) / math.log(last / before), "")
    for at, one in made.items():
        figures.add_point(f"{what}: the atlas", at, along, one.atlas / 1e6, "MB")
        figures.add_point(f"{what}: its pages", at, along, one.pages / 1e6, "MB")
        figures.add_point(f"{what}: most memory", at, along, one.memory, "GB")


def make_wide(units: int) -> Made:
    """An atlas of a layer of so many units, a picture each, of climbs of four steps."""
    return _make(wide(units), f"units=[wide:0-{units - 1}]", *_UNITS_OF)


def make_mined(images: int) -> Made:
    """An atlas of doodlenet, mined in so many drawings, with the best images of few units."""
    network = open_network(read_model(compose_config("atlas", ["model=doodlenet"]).model))
    return _make(network, f"dataset.count={images}", *_IMAGES_OF)


def _make(network: Network, *overrides: str) -> Made:
    """Make an atlas as `make atlas` does, in this process, stage by stage."""
    torch.set_num_threads(1)
    made = Made()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        config = compose_config("atlas", ["experiment=null", "device=cpu", f"out={out}", "site.workers=1", *overrides])
        asked, card = read_request(config), network_card(network)
        tops = asked.section("tops")
        with made.stage("plan"):
            source = open_images(None if tops is None else tops.dataset, asked.model, card)
            opened = {"priors": OpenedPriors(), "source": source}
            plan = requested(Request(asked.config, card, select_units(card, asked.units), asked.asked, opened))
            write_plan(plan, out)
            work = open_work(plan, out, Resources(network, source))
        with made.stage("tasks"):
            Execution(work, Serial).compute_all()
        with made.stage("merge"):
            merge_atlas(work, out)
        with made.stage("pages"):
            build_pages(out, read_site(config))
        made.atlas = size_of(out / "atlas.h5")
        made.pages = sum(path.stat().st_size for path in (out / "site").rglob("*") if path.is_file())
        made.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return made


def rates(side: int, runs: int) -> dict[str, tuple[float, str]]:
    """Curve → value and measure, for images of this side: climbs of a class at the centre, and mining."""
    torch.set_num_threads(1)
    network = shaped(CONVNET, side)
    card = network_card(network)
    climb = climbing(network, CLASSES, CLIMBED)
    work = Measurement(network, None, MINED, MINED)
    decoded = list(work.decoded())
    works = [partial(climb, 1), partial(climb, 1 + STEPS), lambda: work.mine(iter(decoded), 1 / 8)]
    first, more, mined = (min(taken) for taken in seconds_in_turn(runs, *works, clock=time.process_time))
    step, image = (more - first) / (STEPS * CLIMBED), mined / MINED
    macs = {"a step": macs_of_a_step(climb, CLIMBED), "mining an image": Pass.whole(card).macs}
    found = {name: (count / 1e6, "million multiply-accumulates") for name, count in macs.items()}
    for name, seconds, what in (("a step", step, "unit-steps/s"), ("mining an image", image, "images/s")):
        found[f"{name}, rate"] = 1 / seconds, what
        found[f"{name}, work"] = macs[name] / seconds / 1e9, "billion multiply-accumulates/s"
    return found


def batch_rates(batches: tuple[int, ...], runs: int) -> list[float]:
    """Unit-steps per CPU second of a hidden layer in micro-batches of these sizes, in turn."""
    torch.set_num_threads(1)
    network = shaped(CONVNET)
    works = []
    for batch in batches:
        climb = climbing(network, HIDDEN, batch)
        works += [partial(climb, 1), partial(climb, 1 + STEPS)]
    taken = [min(each) for each in seconds_in_turn(runs, *works, clock=time.process_time)]
    return [STEPS * batch / (more - first) for batch, first, more in zip(batches, taken[::2], taken[1::2], strict=True)]


def climbing(network: Network, layer: str, batch: int) -> Callable[[int], object]:
    """Iterations → a climb of the first units of a layer, as one micro-batch."""
    config = compose_config("atlas", [])
    style = read_settings(StyleSettings, config.style.low_frequency, "style")
    settings = read_settings(AscentSettings, config.ascent, "ascent")
    cone = layer_cone(network, layer, "window")
    pixels = Pixels(cone, layer, 0, settings)

    def climb(iterations: int) -> object:
        items = [Item(((unit, 1.0),), 0, replace(style, max_iter=iterations)) for unit in range(batch)]
        return climb_items(
            cone, pixels, items, fresh_starts=0, trace_points=settings.trace_points, batch=batch, device=CPU, last=False
        )

    return climb


def _alone(work: Callable[..., T], *given: object) -> T:
    """The result of some work in a process of its own, so that memory is not that of the work before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *given).result()
