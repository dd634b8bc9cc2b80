"""What a plan would take, in words, before any work starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from jobs.driver import Task
from pipeline.cuts import ascent_tasks, layer_rules, mine_tasks
from pipeline.plan import Plan
from pipeline.search_cuts import combination_tasks, dgn_tasks
from pipeline.settings import ClusterSettings, DeviceSettings
from pipeline.store.memorisation_groups import test_macs, tested_searches

COMPRESSED = 0.75  # of raw pixels, what deflate leaves of such pictures


def describe(plan: Plan, cluster: ClusterSettings, device: DeviceSettings, out: Path) -> str:
    """Units, tasks, pictures, estimated time and bytes of a plan, a line for each layer and style."""
    tasks, searched, mined = ascent_tasks(plan), dgn_tasks(plan), mine_tasks(plan)
    combined = combination_tasks(plan)
    lines = [f"{plan.card.name}@{plan.card.digest[:12]} into {out}/"]
    lines.append(
        f"{'layer':24} {'style':16} {'units':>6} {'pictures':>9} {'tasks':>6} {'size':>9} {'time':>9} {'bytes':>9}"
    )
    total_bytes = 0
    for layer in plan.layers():
        groups = [(name, [task for task in tasks if task.layer == layer.name and task.style.name in styles],
                   layer.picture(plan.styles[styles[0]].ascent.canvas, plan.card.image), 0)
                  for name, styles in _lines(plan, layer.name)]  # fmt: skip
        groups += [(search, [task for task in searched if (task.layer, task.search.name) == (layer.name, search)],
                    layer.picture("window", plan.card.image), plan.searches[search].prior.entries)
                   for search in plan.layer_searches(layer.name)]  # fmt: skip
        for name, own, picture, entries in groups:
            size = _picture_bytes(own, picture, entries)
            total_bytes += size
            lines.append(_line(layer.name, name, len(plan.layer_units(layer.name)), own, picture, size))
    for name, asked in sorted(plan.combinations.items()):
        picture = plan.card.layer(asked.layer).picture("window", plan.card.image)
        size = _picture_bytes(combined[name], picture, asked.search.prior.entries) // 2  # the last iterate alone
        total_bytes += size
        lines.append(_line(asked.layer, name, len(asked.items), combined[name], picture, size))
    if plan.mining is not None:
        dataset = plan.mining.dataset
        total_bytes += _dataset_bytes(plan)
        lines.append(
            f"{'all layers':24} {'best images':16} {sum(map(len, plan.tops.values())):6} {dataset.images:9} "
            f"{len(mined):6} {'':9} {_time(mined):>9}   and back-projections of the best images"
        )
    compared = {search: len(plan.dgn[plan.card.class_layer, search, 0]) for search in tested_searches(plan)}
    test_seconds = test_macs(plan) / plan.mining.device.macs_per_second if compared else 0.0
    for search, classes in compared.items():
        lines.append(
            f"{plan.card.class_layer:24} {search:16} {classes:6} {'':9} {classes:6} {'':9} "
            f"{tqdm.format_interval(classes * test_seconds):>9}   and the nearest real images"
        )
    workers = 1 if cluster.kind == "serial" else cluster.workers
    pictured = [*tasks, *searched, *(task for own in combined.values() for task in own)]
    seconds = sum(task.seconds for task in (*pictured, *mined)) + test_seconds * sum(compared.values())
    units = sum(len(plan.layer_units(layer.name)) for layer in plan.layers())
    pictures = sum(task.pictures for task in pictured)
    shared = "" if workers is None else f", {tqdm.format_interval(seconds / workers)} with {workers} workers"
    lines.append(
        f"units: {units}; tasks: {len(pictured) + len(mined) + sum(compared.values())}; pictures: {pictures}; about "
        f"{tqdm.format_interval(seconds)} of one {device.kind} worker{shared}; about {_bytes(total_bytes)} in atlas.h5 "
        f"and as much in shards, {_bytes(_free(out))} free"
    )
    return "\n".join(lines)


def _line(layer: str, name: str, units: int, tasks: Sequence[Task], picture: tuple[int, int], size: int) -> str:
    pictures = sum(task.pictures for task in tasks)
    height, width = picture
    return (
        f"{layer:24} {name:16} {units:6} {pictures:9} {len(tasks):6} {f'{width}x{height}':>9} {_time(tasks):>9} "
        f"{_bytes(size):>9}"
    )


def _picture_bytes(tasks: Sequence[Task], picture: tuple[int, int], entries: int) -> int:
    """Bytes of the tasks' pictures; with codes of so many entries, of the last and of the best iterate."""
    pixels = sum(task.pictures for task in tasks) * picture[0] * picture[1] * 3 * COMPRESSED
    codes = sum(task.pictures for task in tasks) * entries * 4
    return int(2 * (pixels + codes) if entries else pixels)


def _lines(plan: Plan, layer: str) -> list[tuple[str, list[str]]]:
    """The styles of a layer, each a line of its own; the settings of a style search share one."""
    styles = plan.layer_styles(layer)
    swept = [style for style in styles if style in plan.sweep]
    lines = [(style, [style]) for style in styles if style not in plan.sweep]
    return [*lines, (f"search of {len(swept)}", swept)] if swept else lines


def _dataset_bytes(plan: Plan) -> int:
    """Bytes of the hits' images and of the best ones' back-projections, at most."""
    top, (height, width) = plan.mining.top, plan.card.image
    hits = top.k * sum(map(len, plan.tops.values()))
    total = min(plan.mining.dataset.images, 4 * hits) * height * width * 3 if top.pixels == "stored" else 0
    for layer in plan.layers():
        rows, columns = (min(size, whole) for size, whole in zip(layer.window_size, plan.card.image, strict=True))
        pictures = top.k * len(layer_rules(plan, layer)) * len(plan.tops.get(layer.name, ()))
        total += pictures * rows * columns * 3
    return int(total * COMPRESSED)


def _time(tasks: Iterable[Task]) -> str:
    return tqdm.format_interval(sum(task.seconds for task in tasks))


def _bytes(count: float) -> str:
    return tqdm.format_sizeof(count, suffix="B", divisor=1000)


def _free(out: Path) -> int:
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free
