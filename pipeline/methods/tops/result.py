"""The dataset side as a stored result: hits and statistics of every requested layer, assembled from all blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.tops.task import Hit, MineTask, top_units
from pipeline.plan import Plan, to_ranges
from pipeline.records import Record, record_digest
from pipeline.store.shard import ShardFolder, encode_shard
from pipeline.work import KnownImage

TOPS_REVISION = 1
OLDER_NAMES = {
    "redundant_unit": "twin",
    "redundant_correlation": "twin_correlation",
}  # array → its older name in shards


@dataclass(frozen=True)
class LayerArrays:
    """Hits and statistics of all units of a layer.

    hits : kind → field → array (unit, rank, …): activation, image (number in the dataset, −1 for none), position,
        window, frame.
    statistics : field → array.
    frame : height and width of a back-projection.
    """

    hits: Mapping[str, Mapping[str, np.ndarray]]
    statistics: Mapping[str, np.ndarray]
    frame: tuple[int, int]


@dataclass(frozen=True)
class DatasetResult:
    """The results of all layers, and a description of the images that are hits.

    layers : name → hits and statistics.
    numbers : numbers of the hit images, ascending.
    keys, labels : of each of these images.
    hashes : uint8 (image, 32), SHA-256 of each of these images.
    skipped : (key, reason) of the images that were left out.
    packages : versions that computed the result.
    """

    layers: Mapping[str, LayerArrays]
    numbers: tuple[int, ...]
    keys: tuple[str, ...]
    hashes: np.ndarray
    labels: np.ndarray
    skipped: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]

    def images(self) -> dict[int, KnownImage]:
        """Number → image, for all images that are hits."""
        columns = zip(self.numbers, self.keys, self.hashes, self.labels.tolist(), strict=True)
        return {number: KnownImage(key, content.tobytes(), label) for number, key, content, label in columns}


def hit_images(plan: Plan, layers: Mapping[str, LayerArrays]) -> tuple[int, ...]:
    """All images that are hits of requested units, ascending."""
    images: set[int] = set()
    for name, arrays in layers.items():
        units = list(top_units(plan, name))
        for fields in arrays.hits.values():
            images.update(np.unique(fields["image"][units]).tolist())
    return tuple(sorted(images - {-1}))


def best_hits(plan: Plan, layers: Mapping[str, LayerArrays]) -> dict[str, dict[int, Sequence[Hit]]]:
    """The largest hits of the requested units: layer → unit → hits, best first."""
    layer_hits: dict[str, dict[int, Sequence[Hit]]] = {}
    for name, arrays in layers.items():
        best = arrays.hits["largest"]
        image, position, activation = best["image"], best["position"], best["activation"]
        layer_hits[name] = {}
        for unit in top_units(plan, name):
            hits = tuple(
                (unit, int(image[unit, rank]), *map(int, position[unit, rank]), float(activation[unit, rank]))
                for rank in np.flatnonzero(image[unit] >= 0)
            )
            if hits:
                layer_hits[name][unit] = hits
    return layer_hits


def tops_record(plan: Plan, mined: Sequence[MineTask]) -> Record:
    """Everything that decides the dataset side of a plan. mined : the tasks of the blocks."""
    layers = sorted({layer for method, layer, _, _ in plan.parts if method == "tops"})
    return {
        "method": "tops",
        "revision": TOPS_REVISION,
        "mined": record_digest({"ids": [task.id for task in mined]}),
        "units": {layer: to_ranges(top_units(plan, layer)) for layer in layers},
    }


def encode_tops(plan: Plan, mined: Sequence[MineTask], result: DatasetResult) -> bytes:
    """The shard of the dataset side."""
    arrays = {"hashes": result.hashes, "labels": result.labels, "numbers": np.array(result.numbers, np.int64)}
    for name, layer in result.layers.items():
        for kind, fields in layer.hits.items():
            arrays |= {f"{name}|hits|{kind}|{field}": values for field, values in fields.items()}
        arrays |= {
            f"{name}|statistics|{OLDER_NAMES.get(field, field)}": values for field, values in layer.statistics.items()
        }
    facts = {
        "frames": {name: layer.frame for name, layer in result.layers.items()},
        "keys": list(result.keys),
        "skipped": [list(bad) for bad in result.skipped],
        "packages": list(result.packages),
    }
    return encode_shard(tops_record(plan, mined), arrays, facts)


def read_tops(plan: Plan, mined: Sequence[MineTask], shards: ShardFolder, problems: list[str]) -> DatasetResult | None:
    """The stored dataset side of a plan, or None. A line about a damaged shard is added to `problems`."""
    record = tops_record(plan, mined)
    shard = shards.take(record_digest(record), record, problems)
    if shard is None:
        return None
    named = {spelled: field for field, spelled in OLDER_NAMES.items()}
    hits: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    statistics: dict[str, dict[str, np.ndarray]] = {}
    for path in shard.names:
        name, _, rest = path.partition("|")
        if rest.startswith("hits|"):
            _, kind, field = rest.split("|")
            hits.setdefault(name, {}).setdefault(kind, {})[field] = shard.array(path)
        elif rest:
            field = rest.partition("|")[2]
            statistics.setdefault(name, {})[named.get(field, field)] = shard.array(path)
    frames = shard.facts["frames"]
    return DatasetResult(
        layers={name: LayerArrays(hits[name], statistics[name], tuple(frames[name])) for name in frames},
        numbers=tuple(shard.array("numbers").tolist()),
        keys=tuple(shard.facts["keys"]),
        hashes=shard.array("hashes"),
        labels=shard.array("labels"),
        skipped=tuple((key, reason) for key, reason in shard.facts["skipped"]),
        packages=tuple(shard.facts["packages"]),
    )
