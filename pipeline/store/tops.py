"""The dataset side as a stored result: hits and statistics of every layer asked for, put together from all blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.cuts import Hit, image_tasks, mine_tasks
from pipeline.plan import Plan, runs
from pipeline.records import Record, record_digest
from pipeline.store.shard import ShardFolder, encode_shard
from pipeline.tasks import ImagesTask

TOPS_REVISION = 1


@dataclass(frozen=True)
class TopArrays:
    """A layer's hits and statistics, over all its units.

    hits : kind → field name → array, axes (unit, rank, …): activation, image (number in the dataset, −1 none),
    position, window, frame. statistics : field name → array. frame : height and width of a back-projection.
    """

    hits: Mapping[str, Mapping[str, np.ndarray]]
    statistics: Mapping[str, np.ndarray]
    frame: tuple[int, int]


@dataclass(frozen=True)
class KnownImage:
    """What an atlas says of an image of the dataset. hash : SHA-256 of its file. label : class number, −1 for none."""

    key: str
    hash: bytes
    label: int


@dataclass(frozen=True)
class Tops:
    """All layers, and what is known of the images that are hits: numbers (rising), keys, hashes (image, 32), labels.

    skipped : (key, reason) of the images that were left out. packages : the versions that computed it.
    """

    layers: Mapping[str, TopArrays]
    numbers: tuple[int, ...]
    keys: tuple[str, ...]
    hashes: np.ndarray
    labels: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]

    def images(self) -> dict[int, KnownImage]:
        """Number → what is known of each image that is a hit."""
        known = zip(self.keys, self.hashes, self.labels.tolist(), strict=True)
        return {
            number: KnownImage(key, content.tobytes(), label)
            for number, (key, content, label) in zip(self.numbers, known, strict=True)
        }


def hit_images(plan: Plan, layers: Mapping[str, TopArrays]) -> tuple[int, ...]:
    """Every image that is a hit of a unit asked for, rising."""
    found: set[int] = set()
    for name, arrays in layers.items():
        units = list(plan.tops.get(name, ()))
        for fields in arrays.hits.values():
            found.update(np.unique(fields["image"][units]).tolist())
    return tuple(sorted(found - {-1}))


def best_hits(plan: Plan, layers: Mapping[str, TopArrays]) -> dict[str, dict[int, Sequence[Hit]]]:
    """The largest hits of the units asked for: layer → unit → hits, best first."""
    found: dict[str, dict[int, Sequence[Hit]]] = {}
    for name, arrays in layers.items():
        best = arrays.hits["largest"]
        image, position, activation = best["image"], best["position"], best["activation"]
        found[name] = {}
        for unit in plan.tops[name]:
            hits = tuple(
                (unit, int(image[unit, rank]), *map(int, position[unit, rank]), float(activation[unit, rank]))
                for rank in np.flatnonzero(image[unit] >= 0)
            )
            if hits:
                found[name][unit] = hits
    return found


def all_image_tasks(plan: Plan, tops: Tops, further: Iterable[int]) -> tuple[ImagesTask, ...]:
    """The pixels of every hit, and of further images; the hits' tasks do not depend on these."""
    return *image_tasks(plan, tops.numbers), *image_tasks(plan, sorted(set(further) - set(tops.numbers)))


def tops_record(plan: Plan) -> Record:
    """Everything that decides the dataset side of a plan."""
    return {
        "method": "tops",
        "revision": TOPS_REVISION,
        "mined": record_digest({"ids": [task.id for task in mine_tasks(plan)]}),
        "units": {layer: runs(plan.tops[layer]) for layer in sorted(plan.tops)},
    }


def encode_tops(plan: Plan, tops: Tops) -> bytes:
    """The shard of the dataset side."""
    arrays = {"hashes": tops.hashes, "labels": tops.labels, "numbers": np.array(tops.numbers, np.int64)}
    for name, layer in tops.layers.items():
        for kind, fields in layer.hits.items():
            arrays |= {f"{name}|hits|{kind}|{field}": values for field, values in fields.items()}
        arrays |= {f"{name}|statistics|{field}": values for field, values in layer.statistics.items()}
    facts = {
        "frames": {name: layer.frame for name, layer in tops.layers.items()},
        "keys": list(tops.keys),
        "skipped": [list(bad) for bad in tops.skipped],
        "packages": list(tops.packages),
    }
    return encode_shard(tops_record(plan), arrays, facts)


def read_tops(plan: Plan, shards: ShardFolder, problems: list[str]) -> Tops | None:
    """The dataset side that a plan asks for, or None where it is not there (yet). problems : gets a line if damaged."""
    if plan.mining is None:
        return None
    record = tops_record(plan)
    shard = shards.take(record_digest(record), record, problems)
    if shard is None:
        return None
    hits: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    statistics: dict[str, dict[str, np.ndarray]] = {}
    for path in shard.names:
        name, _, rest = path.partition("|")
        if rest.startswith("hits|"):
            _, kind, field = rest.split("|")
            hits.setdefault(name, {}).setdefault(kind, {})[field] = shard.array(path)
        elif rest:
            statistics.setdefault(name, {})[rest.partition("|")[2]] = shard.array(path)
    frames = shard.facts["frames"]
    return Tops(
        layers={name: TopArrays(hits[name], statistics[name], tuple(frames[name])) for name in frames},
        numbers=tuple(shard.array("numbers").tolist()),
        keys=tuple(shard.facts["keys"]),
        hashes=shard.array("hashes"),
        labels=shard.array("labels"),
        skipped=tuple((key, reason) for key, reason in shard.facts["skipped"]),
        packages=tuple(shard.facts["packages"]),
    )
