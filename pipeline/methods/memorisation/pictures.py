"""Make tasks from the stored pictures of a run, and assemble the test of a run from the shards of its classes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.field import Status
from pipeline.methods.memorisation.task import (
    MEMORISATION_REVISION,
    MemorisationTask,
    class_seconds,
    compared_layers,
    settings_of,
)
from pipeline.store.held import HeldAtlas
from pipeline.store.pictures import pictures_digest
from pipeline.store.shard import Shard
from pipeline.task import Task
from pipeline.work import KnownImage, Work


@dataclass(frozen=True)
class MemorisationTest:
    """The test of one run; samples are those that were compared.

    compared : (unit,), number of images that were compared.
    nearest : (unit, sample, space), numbers of the nearest images, −1 for none.
    distance : (unit, sample, space), distances of the nearest images.
    typical : (unit, space), typical distances.
    images : number → image, for all nearest images.
    """

    run: str
    spaces: tuple[str, ...]
    units: tuple[int, ...]
    compared: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray
    typical: np.ndarray
    images: Mapping[int, KnownImage]
    packages: frozenset[str]


def memorisation_tasks(work: Work, run: str, held: MemorisationTest | None) -> Iterator[MemorisationTask]:
    """Yield a task for every unit of the class layer that has pictures of the run, in the atlas or in shards.

    held : the test as far as it need not be made again.
    """
    plan, settings = work.plan, settings_of(work.plan)
    mining, layer = plan.settings["tops"]["dataset"], plan.card.layer(plan.card.class_layer)
    for unit, pixels, shown in _class_pictures(work, run, settings.samples, () if held is None else held.units):
        yield MemorisationTask(
            model=plan.card.digest,
            dataset=mining.dataset,
            device=mining.device,
            batch=mining.tops.batch,
            settings=settings,
            run=run,
            layer=layer.name,
            layers=compared_layers(plan),
            unit=unit,
            window=layer.window,
            digest=pictures_digest(pixels),
            shown=shown,
            seconds=class_seconds(plan),
            pixels=pixels,
        )


def _class_pictures(
    work: Work, run: str, samples: int, tested: Collection[int]
) -> Iterator[tuple[int, np.ndarray, tuple[bool, ...]]]:
    """Yield (unit, pixels (sample, y, x, rgb), which samples exist), units ascending, for units with samples.

    tested : units to leave out.
    """
    plan = work.plan
    layer = plan.card.layer(plan.card.class_layer)
    samples = min(samples, plan.samples("dgn", layer.name, run))
    places: dict[int, list[tuple[Task, int, int]]] = {}  # unit → task, row in its result, sample
    for task in work.tasks["dgn"]:
        if (task.layer, task.run.name) == (layer.name, run):
            for row, ((member,), sample) in enumerate(task.pictures):
                if sample < samples:
                    places.setdefault(member[0], []).append((task, row, sample))
    size = (*layer.picture("window", plan.card.image), 3)
    opened: dict[str, Shard | None] = {}
    with HeldAtlas.open(work.atlas) as atlas:
        held = atlas.pictures(layer.name, RUN, "run", run)
        for unit in sorted({unit for key in range(samples) for unit in plan.parts["dgn", layer.name, run, key]}):
            if unit in tested:
                continue
            needed = {task.id: task for task, _, _ in places.get(unit, ())}
            opened = {key: opened[key] if key in opened else work.shard(task) for key, task in needed.items()}
            pixels, shown = np.zeros((samples, *size), np.uint8), [False] * samples
            for sample in range(samples if held is not None else 0):
                pixels[sample], shown[sample] = held.picture(unit, sample, size)
            for task, row, sample in places.get(unit, ()):
                shard = opened[task.id]
                if shard is not None and shard.array("status")[row] in (Status.ok, Status.never_active):
                    chunk = RUN["pixels"].decode(shard.chunk("pixels", row), (1, 1, *size))
                    pixels[sample], shown[sample] = chunk[0, 0], True
            if any(shown):
                yield unit, pixels, tuple(shown)


def held_test(work: Work, run: str) -> MemorisationTest | None:
    """The test of a run as the atlas has it, for the classes whose pictures are the same; None without any."""
    plan, settings = work.plan, settings_of(work.plan)
    layer = plan.card.class_layer
    with HeldAtlas.open(work.atlas) as atlas:
        group = atlas.named("/memorisation", "run", run)
        about = {"revision": MEMORISATION_REVISION, "most_images": settings.images, "most_typical": settings.typical}
        samples = min(settings.samples, plan.samples("dgn", layer, run))
        if group is None or any(group.attrs.get(name) != value for name, value in about.items()):
            return None
        changed = {members[0][0] for task in work.tasks["dgn"] if (task.layer, task.run.name) == (layer, run)
                   for members in task.items}  # fmt: skip
        units = group["unit"][...]
        kept = np.flatnonzero(~np.isin(units, list(changed)))
        if group.attrs["samples"] != samples or not len(kept):
            return None
        numbers = atlas.group("/dataset/images")["number"][...]
        rows = group["nearest"][...][kept][:, :samples]
        nearest = np.where(rows >= 0, numbers[np.maximum(rows, 0)], -1).astype(np.int64)
        known = atlas.images
        return MemorisationTest(
            run=run,
            spaces=tuple(str(space) for space in group["space"].asstr()[...]),
            units=tuple(units[kept].tolist()),
            compared=group["images"][...][kept],
            nearest=nearest,
            distance=group["distance"][...][kept][:, :samples],
            typical=group["typical"][...][kept],
            images={int(number): known[int(number)] for number in np.unique(nearest[nearest >= 0])},
            packages=frozenset(atlas.packages),
        )


def read_test(
    work: Work, run: str, tasks: Sequence[MemorisationTask], held: MemorisationTest | None
) -> MemorisationTest | None:
    """The test of a run, for the classes that have shards or are held; None if none is."""
    shards = ((task.unit, work.shard(task)) for task in tasks)
    classes = [_class_test(run, unit, shard) for unit, shard in shards if shard is not None]
    classes += [] if held is None else [held]
    if not classes:
        return None
    units = [unit for one in classes for unit in one.units]
    order = np.argsort(units)
    arrays = {
        name: np.concatenate([getattr(one, name) for one in classes])[order]
        for name in ("compared", "nearest", "distance", "typical")
    }
    return MemorisationTest(
        run=run,
        spaces=classes[0].spaces,
        units=tuple(units[at] for at in order),
        images={number: image for one in classes for number, image in one.images.items()},
        packages=frozenset().union(*(one.packages for one in classes)),
        **arrays,
    )


def _class_test(run: str, unit: int, shard: Shard) -> MemorisationTest:
    images = zip(shard.array("numbers").tolist(), shard.facts["keys"], shard.array("hashes"), strict=True)
    return MemorisationTest(
        run=run,
        spaces=tuple(shard.facts["spaces"]),
        units=(unit,),
        compared=np.array([shard.facts["images"]], np.int32),
        nearest=shard.array("nearest")[None],
        distance=shard.array("distance")[None],
        typical=shard.array("typical")[None],
        images={number: KnownImage(key, content.tobytes(), unit) for number, key, content in images},
        packages=frozenset(shard.facts["packages"]),
    )
