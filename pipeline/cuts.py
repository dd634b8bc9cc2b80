"""A plan cut into tasks, on fixed grids and by static costs: never by a clock, a probe or the number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.card import LayerCard, NetworkCard
from pipeline.plan import Plan
from pipeline.records import StyleRecord
from pipeline.tasks import AscentTask, BackprojectTask, ImagesTask, MineTask

PASSES_PER_STEP = 3  # a step of ascent is a forward pass and about two more for the gradient
IMAGES_PER_TASK = 256
_NEARLY_WHOLE = 0.9  # share of the image from which a window counts as the whole image

Hit = tuple[int, int, int, int, float]  # unit, image, row, column, activation


def ascent_tasks(plan: Plan) -> tuple[AscentTask, ...]:
    """All tasks of gradient ascent, sample by sample, so that every unit soon has a first picture."""
    order = {layer.name: place for place, layer in enumerate(plan.card.layers)}
    keys = sorted(plan.units, key=lambda key: (key[2], key[1], order[key[0]]))
    return tuple(
        task
        for layer, style, sample in keys
        for task in _cut_ascent(
            plan.card, plan.card.layer(layer), plan.styles[style], sample, plan.units[layer, style, sample]
        )
    )


def _cut_ascent(
    card: NetworkCard, layer: LayerCard, style: StyleRecord, sample: int, asked: Sequence[int]
) -> list[AscentTask]:
    """Blocks of units on a fixed grid, so that a later request for more units keeps whole blocks."""
    device, canvas = style.device, style.ascent.canvas
    macs = max(1, layer.macs[canvas]) * PASSES_PER_STEP * style.style.max_iter
    most = max(1, min(device.max_batch, device.batch_bytes // (PASSES_PER_STEP * layer.bytes[canvas])))
    batches = max(1, int(device.task_seconds * device.macs_per_second / (macs * most)))
    tasks = []
    for units in blocks(asked, min(layer.channels, most * batches)):
        rounds = -(-len(units) // most)
        batch = -(-len(units) // rounds)  # rounds of equal size: hardly an item is padding
        tasks.append(AscentTask(card.digest, layer.name, units, sample, style, batch, macs * len(units)))
    return tasks


def mine_tasks(plan: Plan) -> tuple[MineTask, ...]:
    """One pass over the dataset: a task a block of images, all layers at once whatever units are asked for."""
    mining, card = plan.mining, plan.card
    if mining is None:
        return ()
    layers = tuple(layer.name for layer in card.layers if layer.has_units)
    macs = max(layer.macs["image"] for layer in card.layers)
    blocks = range(0, mining.dataset.images, mining.dataset.block)
    stops = [min(start + mining.dataset.block, mining.dataset.images) for start in blocks]
    return tuple(
        MineTask(card.digest, mining, layers, start, stop, mining.top.batch, max(1, macs) * (stop - start))
        for start, stop in zip(blocks, stops, strict=True)
    )


def image_tasks(plan: Plan, numbers: Sequence[int]) -> tuple[ImagesTask, ...]:
    """The pixels of these images of the dataset, in blocks of their places in it."""
    mining = plan.mining
    if mining is None or mining.top.pixels == "pointers":
        return ()
    return tuple(
        ImagesTask(mining, plan.card.image, ground(plan.card.order, plan.card.mean), block)
        for block in blocks(numbers, IMAGES_PER_TASK)
    )


def backproject_tasks(plan: Plan, hits: Mapping[str, Mapping[int, Sequence[Hit]]]) -> tuple[BackprojectTask, ...]:
    """The back-projections of every unit's best images. hits : layer → unit → its hits, best first."""
    mining, card, tasks = plan.mining, plan.card, []
    if mining is None:
        return ()
    for layer in plan.layers():
        rules = layer_rules(plan, layer)
        own = hits.get(layer.name, {})
        if not own or not rules:
            continue
        device, canvas = mining.device, "image" if _sees_all(card, layer) else "window"
        macs = max(1, layer.macs[canvas]) * (1 + 2 * len(rules))
        most = max(1, min(device.max_batch, device.batch_bytes // (PASSES_PER_STEP * layer.bytes[canvas])))
        per_unit = mining.top.k * macs
        block = max(1, int(device.task_seconds * device.macs_per_second / per_unit))
        for units in blocks(sorted(own), min(block, layer.channels)):
            chosen = tuple(hit for unit in units for hit in own[unit])
            tasks.append(
                BackprojectTask(
                    card.digest,
                    mining,
                    ground(card.order, card.mean),
                    layer.name,
                    units,
                    chosen,
                    rules,
                    most,
                    macs * len(chosen),
                )
            )
    return tuple(tasks)


def layer_rules(plan: Plan, layer: LayerCard) -> tuple[str, ...]:
    """Which back-projections the layer's best images get."""
    if plan.mining is None:
        return ()
    top = plan.mining.top
    return top.whole_image_rules if _sees_all(plan.card, layer) else top.rules


def ground(order: str, mean: object) -> tuple[int, int, int]:
    """The mean colour, RGB, of what a picture does not cover. mean : (channel, row, column), channels in `order`."""
    levels = np.array([np.mean(plane) for plane in mean])  # type: ignore[attr-defined]
    colour = {"RGB": levels, "BGR": levels[::-1], "L": np.repeat(levels, 3)}[order]
    red, green, blue = (int(round(float(level))) for level in np.clip(colour, 0, 255))
    return red, green, blue


def _sees_all(card: NetworkCard, layer: LayerCard) -> bool:
    top, left, bottom, right = layer.window
    return (bottom - top) * (right - left) >= _NEARLY_WHOLE * card.height * card.width


def blocks(numbers: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Rising numbers, cut where a grid of `size` cuts; empty blocks left out."""
    found: dict[int, list[int]] = {}
    for number in numbers:
        found.setdefault(number // size, []).append(number)
    return [tuple(found[block]) for block in sorted(found)]
