"""The dataset side as stored results: hits and statistics of every mined layer, assembled from all blocks.

A shard a layer holds all its units, and one more shard all images that are hits. So further units, or another layer,
need no second pass over the dataset, the blocks are not needed again, and memory holds one layer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.tops.stored_blocks import FoldedNames
from pipeline.methods.tops.task import Hit, MineTask, top_units
from pipeline.plan import Plan, to_ranges
from pipeline.records import Record, record_digest
from pipeline.store.shard import Shard, ShardFolder, encode_shard
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
    """The results of the requested layers, and a description of the images that are hits of requested units.

    layers : name → hits and statistics; they may be read when asked for.
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
    for name in layers:
        units = list(top_units(plan, name))
        for fields in layers[name].hits.values():
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
    """Everything that decides the dataset side of a plan, as earlier versions stored it: only what was requested.

    mined : the tasks of the blocks.
    """
    layers = sorted({layer for method, layer, _, _ in plan.parts if method == "tops"})
    return {
        "method": "tops",
        "revision": TOPS_REVISION,
        "mined": _mined(mined),
        "units": {layer: to_ranges(top_units(plan, layer)) for layer in layers},
    }


def layer_record(mined: Sequence[MineTask], layer: str) -> Record:
    """Everything that decides the result of a layer, whatever units are requested."""
    return {"method": "tops", "revision": TOPS_REVISION, "mined": _mined(mined), "layer": layer}


def images_record(mined: Sequence[MineTask]) -> Record:
    """Everything that decides which images are hits of any unit."""
    return {"method": "tops", "revision": TOPS_REVISION, "mined": _mined(mined), "images": "hits"}


def encode_layer(mined: Sequence[MineTask], name: str, layer: LayerArrays) -> bytes:
    """The shard of a layer."""
    return encode_shard(layer_record(mined, name), _named(name, layer), {"frame": list(layer.frame)})


def encode_images(mined: Sequence[MineTask], result: DatasetResult) -> bytes:
    """The shard of all images that are hits, without the layers. It is stored last: with it, the result is complete."""
    arrays = {
        "hashes": result.hashes,
        "labels": result.labels,
        "numbers": np.array(result.numbers, np.int64),
        "keys": np.frombuffer("\0".join(result.keys).encode(), np.uint8),
    }
    facts = {"skipped": [list(bad) for bad in result.skipped], "packages": list(result.packages)}
    return encode_shard(images_record(mined), arrays, facts)


def result_ids(mined: Sequence[MineTask]) -> list[str]:
    """The shards of the dataset side: those of the layers, and that of the images."""
    layers = mined[0].layers if mined else ()
    return [*(record_digest(layer_record(mined, name)) for name in layers), record_digest(images_record(mined))]


def settled(plan: Plan, mined: Sequence[MineTask], shards: ShardFolder) -> list[str]:
    """Ids of the shards that are not needed again, because the assembled result is stored: those of the blocks.

    Empty while the result is incomplete.
    """
    blocks = (*(task.id for task in mined), *FoldedNames(mined).every())
    there = [block for block in blocks if shards.path(block).is_file()]
    if not there or not all(shards.path(one).is_file() for one in result_ids(mined)):
        return []
    return [] if read_tops(plan, mined, shards, []) is None else there


def read_tops(plan: Plan, mined: Sequence[MineTask], shards: ShardFolder, problems: list[str]) -> DatasetResult | None:
    """The stored dataset side of a plan, or None. A line about a damaged shard is added to `problems`.

    Layers are verified here and read when asked for.
    """
    asked = [layer.name for layer in plan.layers() if top_units(plan, layer.name)]
    for name in asked:
        record = layer_record(mined, name)
        if shards.take(record_digest(record), record, problems) is None:
            return _read_together(plan, mined, shards, problems)
    record = images_record(mined)
    shard = shards.take(record_digest(record), record, problems)
    if shard is None:
        return _read_together(plan, mined, shards, problems)
    layers = _StoredLayers(asked, mined, shards)
    numbers, chosen = shard.array("numbers"), hit_images(plan, layers)
    rows, keys = np.searchsorted(numbers, chosen), shard.array("keys").tobytes().decode().split("\0")
    return DatasetResult(
        layers=layers,
        numbers=chosen,
        keys=tuple(keys[row] for row in rows),
        hashes=shard.array("hashes")[rows],
        labels=shard.array("labels")[rows],
        skipped=tuple((key, reason) for key, reason in shard.facts["skipped"]),
        packages=tuple(shard.facts["packages"]),
    )


class _StoredLayers(Mapping[str, LayerArrays]):
    """The requested layers of a stored result; each is read when asked for, and nothing of it is kept here."""

    def __init__(self, names: Sequence[str], mined: Sequence[MineTask], shards: ShardFolder) -> None:
        self._names, self._mined, self._shards = tuple(names), mined, shards

    def __getitem__(self, name: str) -> LayerArrays:
        if name not in self._names:
            raise KeyError(name)
        record = layer_record(self._mined, name)
        shard = self._shards.read(record_digest(record), record, verified=True)
        if shard is None:
            raise KeyError(name)
        return _layer_of(shard, name, shard.facts["frame"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _StoredArrays(Mapping[str, np.ndarray]):
    """Arrays of a shard, decoded when asked for. names : field → name in the shard."""

    def __init__(self, shard: Shard, names: Mapping[str, str]) -> None:
        self._shard, self._names = shard, names

    def __getitem__(self, field: str) -> np.ndarray:
        return self._shard.array(self._names[field])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _mined(mined: Sequence[MineTask]) -> str:
    return record_digest({"ids": [task.id for task in mined]})


def _named(name: str, layer: LayerArrays) -> dict[str, np.ndarray]:
    """The arrays of a layer by their names in shards."""
    arrays: dict[str, np.ndarray] = {}
    for kind, fields in layer.hits.items():
        arrays |= {f"{name}|hits|{kind}|{field}": values for field, values in fields.items()}
    for field, values in layer.statistics.items():
        arrays[f"{name}|statistics|{OLDER_NAMES.get(field, field)}"] = values
    return arrays


def _layer_of(shard: Shard, layer: str, frame: Sequence[int]) -> LayerArrays:
    """A layer of a shard. The inverse of `_named`."""
    named = {spelled: field for field, spelled in OLDER_NAMES.items()}
    hits: dict[str, dict[str, str]] = {}
    statistics: dict[str, str] = {}
    for path in shard.names:
        name, _, rest = path.partition("|")
        if name == layer and rest.startswith("hits|"):
            _, kind, field = rest.split("|")
            hits.setdefault(kind, {})[field] = path
        elif name == layer and rest:
            field = rest.partition("|")[2]
            statistics[named.get(field, field)] = path
    height, width = frame
    kinds = {kind: _StoredArrays(shard, fields) for kind, fields in hits.items()}
    return LayerArrays(kinds, _StoredArrays(shard, statistics), (height, width))


def _read_together(
    plan: Plan, mined: Sequence[MineTask], shards: ShardFolder, problems: list[str]
) -> DatasetResult | None:
    """The stored dataset side of a plan as earlier versions stored it: one shard with the requested layers."""
    record = tops_record(plan, mined)
    shard = shards.take(record_digest(record), record, problems)
    if shard is None:
        return None
    return DatasetResult(
        layers={name: _layer_of(shard, name, frame) for name, frame in shard.facts["frames"].items()},
        numbers=tuple(shard.array("numbers").tolist()),
        keys=tuple(shard.facts["keys"]),
        hashes=shard.array("hashes"),
        labels=shard.array("labels"),
        skipped=tuple((key, reason) for key, reason in shard.facts["skipped"]),
        packages=tuple(shard.facts["packages"]),
    )
