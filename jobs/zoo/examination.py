"""One architecture, opened and checked: its layers, their values, their windows, and an ascent."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from jobs.console import compose_config
from jobs.request import read_settings
from jobs.zoo.architectures import Architecture
from jobs.zoo.building import built
from jobs.zoo.hooks import Submodules, difference, layouts, seen_values, submodules
from jobs.zoo.page import PARITY
from pipeline.card import LayerCard, NetworkCard
from pipeline.climb.attempts import Item, climb_items
from pipeline.climb.loop import OK
from pipeline.methods.ascent.pixels import Pixels
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.nets.cone import Cone
from pipeline.nets.network import Network
from pipeline.nets.network_card import network_card
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.torch_modules import torch_network
from pipeline.records import neutral

PATCHES = "@patches"  # ends the name of the map of a sequence that has a class token too
SHARES = (1 / 6, 1 / 2, 5 / 6)  # where in the list of layers the early, the middle and the late one are
GRADIENT_IMAGES = 4
UNITS, STEPS = 4, 10  # of the ascent
STEP_START, STEP_END = 1.0, 0.1  # pixel levels; random weights make functions that are wilder than trained ones
MEAN, GAIN = 127.5, 1 / 64


def examine(architecture: Architecture, keep: Callable[[dict], None]) -> dict:
    """What was found, as plain values for JSON; `keep` gets it after each part. A part that fails says why.

    loads : seconds.
    modules : numbers of submodules, see `Submodules`.
    missing : names of the convolutions, linears and blocks among them that are no layers.
    left_out : names of others that are none, such as the softmax of an attention, a value for each pair of positions.
    parity : see the function; with `rounding`, where the worst difference is large.
    windows : status → number of layers.
    gradients, ascent : see the functions.
    """
    found: dict = {"key": architecture.key, "errors": {}}
    state: dict = {}

    def part(name: str, work: Callable[[], object]) -> None:
        found["running"] = name
        keep(found)
        try:
            work()
        except Exception as error:  # of the publisher's code or ours: it is the result
            found["errors"][name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        del found["running"]
        keep(found)

    def build() -> None:
        state["module"] = built(architecture)

    def load() -> None:
        size = architecture.size
        preprocessing = Preprocessing(size, size, "RGB", np.full(3, MEAN), np.full(3, GAIN))
        start = time.perf_counter()
        state["network"] = torch_network(architecture.name, state["module"], preprocessing)
        found["loads"] = round(time.perf_counter() - start, 1)

    def compare() -> None:
        network, images = state["network"], _images(architecture.size, 2, seed=7)
        state["ran"] = ran = submodules(state["module"], images * GAIN, _images(architecture.size, 2, seed=8) * GAIN)
        found["modules"] = {
            "layers": len(ran.layers), "idle": len(ran.idle), "unused": len(ran.unused), "fixed": len(ran.fixed)
        }  # fmt: skip
        absent = [name for name in ran.layers if name not in network.layers]
        essential = essential_layers(state["module"])
        found["missing"] = [name for name in absent if name.partition("#")[0] in essential]
        found["left_out"] = [name for name in absent if name not in found["missing"]]
        found["parity"] = parity(network, ran, images)
        state["forms"] = readings(network, ran, images)
        if not found["parity"]["worst"] <= PARITY:
            found["parity"]["rounding"] = rounding(state["module"], ran, images, found["parity"]["layer"])

    def tabulate() -> None:
        start = time.perf_counter()
        state["card"] = card = network_card(state["network"])
        found["tabulates"] = round(time.perf_counter() - start, 1)
        statuses = [layer.window_status for layer in card.layers if not layer.same_as]
        found["windows"] = {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    def reach() -> None:
        found["gradients"] = gradients(state["card"], state["module"], state["ran"], state["forms"])

    def climb() -> None:
        found["ascent"] = ascent(state["network"], state["card"])

    part("build", build)
    if "module" in state:
        part("load", load)
    if "network" in state:
        part("compare", compare)
        part("tabulate", tabulate)
    if "card" in state and "forms" in state:
        part("gradients", reach)
    if "card" in state:
        part("ascent", climb)
    return found


def readings(network: Network, ran: Submodules, images: Tensor) -> dict[str, int]:
    """Layer → which of the `layouts` of its submodule's value it is: sizes alone leave that open for a cube."""
    names = [name for name in network.layers if name.removesuffix(PATCHES) in ran.layers]
    with torch.no_grad():
        values = network.run(images, names)
    found = {}
    for name in names:
        ways = layouts(ran.layers[name.removesuffix(PATCHES)], tuple(values[name].shape[1:]), len(images))
        apart = [difference(values[name], way) for way in ways]
        if apart:
            found[name] = apart.index(min(apart))
    return found


def essential_layers(module: nn.Module) -> frozenset[str]:
    """The paths of the submodules that have weights of their own, or parts: convolutions, linears, blocks."""

    def essential(one: nn.Module) -> bool:
        return any(True for _ in one.parameters(recurse=False)) or any(True for _ in one.children())

    return frozenset(path for path, one in module.named_modules() if path and essential(one))


def parity(network: Network, ran: Submodules, images: Tensor) -> dict:
    """How far the values of the layers are from those of the submodules whose names they have.

    Returns compared : number of layers. worst, layer : the largest `difference`. unread : layers of a form that
    cannot be read in what the submodule returned.
    """
    names = [name for name in network.layers if name.removesuffix(PATCHES) in ran.layers]
    with torch.no_grad():
        values = network.run(images, names)
    worst, layer, unread = 0.0, "", []
    for name in names:
        ways = layouts(ran.layers[name.removesuffix(PATCHES)], tuple(values[name].shape[1:]), len(images))
        if not ways:
            unread.append(name)
            continue
        apart = min(difference(values[name], way) for way in ways)
        if apart >= worst:
            worst, layer = apart, name
    return {"compared": len(names) - len(unread), "worst": worst, "layer": layer, "unread": unread}


def rounding(module: nn.Module, ran: Submodules, images: Tensor, layer: str) -> float:
    """How far the module's own value of a layer is from the one in double precision."""
    name = layer.removesuffix(PATCHES)
    with torch.no_grad():
        _, seen = seen_values(copy.deepcopy(module).double(), (images * GAIN).double(), only=frozenset({name}))
    return difference(ran.layers[name].double(), seen[name].value)


def chosen_layers(card: NetworkCard, ran: Submodules) -> list[LayerCard]:
    """An early, a middle and a late one of the layers that are named after submodules."""
    named = [one for one in card.layers if one.name.removesuffix(PATCHES) in ran.layers and not one.same_as]
    places = dict.fromkeys(int(share * len(named)) for share in SHARES) if named else ()
    return [named[place] for place in places]


def gradients(card: NetworkCard, module: nn.Module, ran: Submodules, forms: Mapping[str, int]) -> list[dict]:
    """Of three layers: the box of the pixels that have a gradient from the centre position, beside the window.

    The gradient is the module's own, in double precision, of a random mixture of channels; pixels of several images
    are taken together, because a maximum or a ReLU passes the gradient to some of them only. forms : see `readings`.
    Each has layer, status, window and support (top, left, bottom, right), inside (support within the window) and
    equal (the same box).
    """
    layers = chosen_layers(card, ran)
    double = copy.deepcopy(module).double()
    images = (_images(card.height, GRADIENT_IMAGES, seed=9) * GAIN).double().requires_grad_()
    wanted = frozenset(layer.name.removesuffix(PATCHES) for layer in layers)
    _, seen = seen_values(double, images, keep=False, only=wanted)
    found = []
    for layer in layers:
        flat = layer.height * layer.width == 1
        shapes = [(layer.channels,), (layer.channels, 1, 1)] if flat else [(layer.channels, layer.height, layer.width)]
        value = seen[layer.name.removesuffix(PATCHES)].value
        ways = [way for shape in shapes for way in layouts(value, shape, len(images))]
        if not ways:
            continue
        way = ways[min(forms.get(layer.name, 0), len(ways) - 1)]
        centre = way if way.dim() == 2 else way[:, :, layer.centre[0], layer.centre[1]]
        mixture = torch.randn(layer.channels, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        (slope,) = torch.autograd.grad((centre * mixture).sum(), images, retain_graph=True)
        support = box((slope != 0).any(dim=0).any(dim=0))
        top, left, bottom, right = layer.window
        inside = support[0] >= top and support[1] >= left and support[2] <= bottom and support[3] <= right
        found.append(
            {
                "layer": layer.name, "status": layer.window_status, "window": list(layer.window),
                "support": list(support), "inside": inside, "equal": support == tuple(layer.window),
            }
        )  # fmt: skip
    return found


def box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the smallest box of all that is true in (row, column); zeros if nothing is."""
    rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def ascent(network: Network, card: NetworkCard) -> dict:
    """Ten steps, without regularizers, for the first units of the middle one of the layers shown by default.

    Returns layer, units, ok : of status ok, raised : whose activation rose.
    """
    shown = [layer for layer in card.layers if layer.shown]
    layer = shown[len(shown) // 2]
    config = compose_config("atlas", [])
    steps = {"max_iter": STEPS + 1, "policy": "scale_free", "step_start": STEP_START, "step_end": STEP_END}
    numbers = {**config.style.low_frequency, **neutral(StyleSettings), **steps}
    style = read_settings(StyleSettings, numbers, "style")
    settings = read_settings(AscentSettings, config.ascent, "ascent")
    cone = Cone(network, layer.name)
    items = [Item(((unit, 1.0),), 0, style) for unit in range(min(UNITS, layer.channels))]
    climbed = climb_items(
        cone,
        Pixels(cone, layer.name, 0, settings),
        items,
        fresh_starts=settings.fresh_starts,
        trace_points=settings.trace_points,
        batch=len(items),
        device=torch.device("cpu"),
    )
    good = climbed.status == OK
    raised = good & (climbed.best.activation_float[:, 0] > climbed.trace[:, 0])
    return {"layer": layer.name, "units": len(items), "ok": int(good.sum()), "raised": int(raised.sum())}


def _images(side: int, count: int, seed: int) -> Tensor:
    """Centred noise with the spread of pixel levels."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 50


def examine_into(architecture: Architecture, path: Path) -> None:
    """Examine an architecture and keep in a file what is found, part by part: a crash loses the rest only."""
    torch.set_num_threads(1)
    examine(architecture, lambda found: path.write_text(json.dumps(found)))
