"""The memorisation test as stored results: the pictures that are tested, what was found, and its groups of an atlas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.format import DGN, MEMORISATION, Status
from pipeline.card import SHOWN_KINDS
from pipeline.plan import Plan
from pipeline.search_cuts import dgn_tasks
from pipeline.search_tasks import DgnTask
from pipeline.store.score_groups import pictures_digest
from pipeline.store.shard import Shard, ShardFolder
from pipeline.store.tops import KnownImage
from pipeline.tasks import MemorisationTask


@dataclass(frozen=True)
class MemorisationTest:
    """What was found of one search. Arrays begin with (unit,), samples are those that were compared.

    nearest : numbers of images, −1 for none; distance, both (unit, sample, space). typical : (unit, space). images :
    (unit,) how many were compared. known : number → every image that is nearest to something.
    """

    search: str
    spaces: tuple[str, ...]
    units: tuple[int, ...]
    images: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray
    typical: np.ndarray
    known: Mapping[int, KnownImage]
    packages: frozenset[str]


def tested_searches(plan: Plan) -> tuple[str, ...]:
    """The searches whose pictures of the classes are compared with real images, sorted."""
    if plan.memorisation is None or plan.mining is None or not plan.mining.dataset.ordered:
        return ()
    return plan.layer_searches(plan.card.class_layer)


def memorisation_tasks(plan: Plan, search: str, shards: ShardFolder, problems: list[str]) -> Iterator[MemorisationTask]:
    """A task for every unit of the class layer of which there is a picture by the search, read from its shards.

    The layers are the convolutional and fully connected ones and the class layer. problems : gets a line for every bad
    shard.
    """
    mining, card, settings = plan.mining, plan.card, plan.memorisation
    layer = card.layer(card.class_layer)
    layers = tuple(part.name for part in card.layers if part.has_units and (part.kind in SHOWN_KINDS or part == layer))
    macs = test_macs(plan)
    for unit, pixels, shown in _class_pictures(plan, search, settings.samples, shards, problems):
        yield MemorisationTask(
            model=card.digest,
            mining=mining,
            settings=settings,
            search=search,
            layer=layer.name,
            layers=layers,
            unit=unit,
            window=layer.window,
            digest=pictures_digest(pixels),
            shown=shown,
            macs=macs,
            pixels=pixels,
        )


def test_macs(plan: Plan) -> int:
    """Multiply-accumulates of the test of one class, if all have equally many images."""
    dataset, settings = plan.mining.dataset, plan.memorisation
    images = min(settings.images, max(1, dataset.images // len(dataset.classes)))
    return max(1, max(layer.macs["image"] for layer in plan.card.layers)) * (images + settings.samples)


def _class_pictures(
    plan: Plan, search: str, samples: int, shards: ShardFolder, problems: list[str]
) -> Iterator[tuple[int, np.ndarray, tuple[bool, ...]]]:
    """(unit, pixels (sample, y, x, rgb), which of them there are), units rising; units without any left out."""
    layer = plan.card.layer(plan.card.class_layer)
    samples = min(samples, plan.search_samples(layer.name, search))
    places: dict[int, list[tuple[DgnTask, int]]] = {}
    for task in dgn_tasks(plan):
        if (task.layer, task.search.name) == (layer.name, search) and task.sample < samples:
            for row, (member,) in enumerate(task.items):
                places.setdefault(member[0], []).append((task, row))
    size = (*layer.picture("window", plan.card.image), 3)
    opened: dict[str, Shard | None] = {}
    for unit in sorted(places):
        needed = {task.id: task for task, _ in places[unit]}
        opened = {key: opened[key] if key in opened else shards.take(key, task.record(), problems)
                  for key, task in needed.items()}  # fmt: skip
        pixels, shown = np.zeros((samples, *size), np.uint8), [False] * samples
        for task, row in places[unit]:
            shard = opened[task.id]
            if shard is not None and shard.array("status")[row] in (Status.ok, Status.never_active):
                chunk = DGN["pixels"].decode(shard.chunk("pixels", row), (1, 1, *size))
                pixels[task.sample], shown[task.sample] = chunk[0, 0], True
        if any(shown):
            yield unit, pixels, tuple(shown)


def read_tests(plan: Plan, shards: ShardFolder, problems: list[str]) -> tuple[MemorisationTest, ...]:
    """Every test that a plan asks for, of the units whose shards are there; the pictures decide which shards they are.

    problems : gets a line for every bad shard.
    """
    found = []
    for search in tested_searches(plan):
        own = []
        for task in memorisation_tasks(plan, search, shards, problems):
            shard = shards.take(task.id, task.record(), problems)
            if shard is not None:
                own.append(_of_class(search, task.unit, shard))
        if own:
            found.append(_joined(own))
    return tuple(found)


def _of_class(search: str, unit: int, shard: Shard) -> MemorisationTest:
    images = zip(shard.array("numbers").tolist(), shard.facts["keys"], shard.array("hashes"), strict=True)
    return MemorisationTest(
        search=search,
        spaces=tuple(shard.facts["spaces"]),
        units=(unit,),
        images=np.array([shard.facts["images"]], np.int32),
        nearest=shard.array("nearest")[None],
        distance=shard.array("distance")[None],
        typical=shard.array("typical")[None],
        known={number: KnownImage(key, content.tobytes(), unit) for number, key, content in images},
        packages=frozenset(shard.facts["packages"]),
    )


def _joined(own: Sequence[MemorisationTest]) -> MemorisationTest:
    """The tests of one search's classes as one."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in own])
        for name in ("images", "nearest", "distance", "typical")
    }
    return MemorisationTest(
        search=own[0].search,
        spaces=own[0].spaces,
        units=tuple(unit for part in own for unit in part.units),
        known=further_images(own),
        packages=frozenset().union(*(part.packages for part in own)),
        **arrays,
    )


def further_images(tests: Iterable[MemorisationTest]) -> dict[int, KnownImage]:
    """Number → every image that is nearest to a picture in some space."""
    return {number: image for test in tests for number, image in test.known.items()}


def write_tests(
    file: h5py.File,
    plan: Plan,
    tests: Iterable[MemorisationTest],
    groups: Mapping[str, str],
    rows: Mapping[int, int],
) -> None:
    """Write the tests of searches whose pictures are in the file. rows : number of an image → its row."""
    layer = plan.card.class_layer
    names = format.group_names(plan.layer_searches(layer)) if layer is not None else {}
    for test in tests:
        pictures = file[DGN.at(layer=groups[layer], search=names[test.search])]["pixels"]
        about = {
            "search": test.search,
            "pictures": pictures_digest(pictures),
            "layer": layer,
            "samples": test.nearest.shape[1],
            "most_images": plan.memorisation.images,
            "most_typical": plan.memorisation.typical,
        }
        group = MEMORISATION.create(file, about, search=names[test.search])
        grid = (len(test.units), pictures.shape[1], len(test.spaces))
        nearest, distance = np.full(grid, -1, np.int32), np.full(grid, np.nan, np.float32)
        nearest[:, : test.nearest.shape[1]] = np.vectorize(lambda number: rows.get(number, -1))(test.nearest)
        distance[:, : test.distance.shape[1]] = test.distance
        arrays = {
            "spaces": list(test.spaces),
            "unit": np.array(test.units, np.int32),
            "images": test.images,
            "nearest": nearest,
            "distance": distance,
            "typical": test.typical,
        }
        for name, values in arrays.items():
            MEMORISATION[name].write(group, values)
