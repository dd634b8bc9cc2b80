"""The result of mining one block of images, and its conversion to named arrays and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.methods.tops import histogram, moments, topk
from pipeline.methods.tops.moments import Moments
from pipeline.methods.tops.topk import Hits

RELU, JOIN = "relu", "join"  # rules by which a layer's numbers follow from those of other layers


@dataclass(frozen=True)
class LayerBlock:
    """One layer over one block of images.

    width : width of the map.
    gated : whether a unit with zero or less is off.
    largest, smallest, own_class : hits by their maxima. The last two are None if not requested; own_class also for
        every layer but the class layer.
    not_a_number : int64 (unit,), number of images that were left out because of NaN.
    active : int64 (unit,), number of images whose maximum is above zero.
    maxima : moments of the per-image maxima.
    positions : moments of the values at all positions; None if not requested.
    maxima_counts, position_counts : int64 (unit, bin).
    classes : int64 (class,), the classes that occur, ascending.
    class_counts : int64 (class, unit), or (class, 1) if it is the same for all units.
    class_sums : float64 (class, unit), sums of the maxima.
    sample_images : int64 (image,), ascending.
    sample_values : float32 (image, unit), their maxima.
    sample_places : integers (image, unit), row · width + column.
    """

    width: int
    gated: bool
    largest: Hits
    smallest: Hits | None
    own_class: Hits | None
    not_a_number: np.ndarray
    active: np.ndarray
    maxima: Moments
    positions: Moments | None
    maxima_counts: np.ndarray
    position_counts: np.ndarray | None
    classes: np.ndarray
    class_counts: np.ndarray
    class_sums: np.ndarray
    sample_images: np.ndarray
    sample_values: np.ndarray
    sample_places: np.ndarray

    @property
    def units(self) -> int:
        return len(self.active)


@dataclass(frozen=True)
class Source:
    """How a layer that is not measured itself follows from others: as the ReLU of one, or as several joined."""

    rule: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class BlockResult:
    """All layers over one block of images. sources : for layers that follow from others, wholly or in part."""

    layers: Mapping[str, LayerBlock]
    sources: Mapping[str, Source]

    def arrays(self) -> dict[str, np.ndarray]:
        """Named arrays: "layers", and "LAYER/FIELD" for the fields that do not follow from other layers."""
        arrays: dict[str, np.ndarray] = {"layers": np.array(list(self.layers))}
        for name, block in self.layers.items():
            arrays |= layer_arrays(name, block, self.sources.get(name))
        return arrays

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> BlockResult:
        """The inverse of `arrays`."""
        get = arrays.__getitem__
        names = [str(name) for name in get("layers")]
        sources = {name: source for name in names if (source := source_of(get, name)) is not None}
        return cls({name: read_layer(get, name) for name in names}, sources)


def layer_arrays(name: str, block: LayerBlock, source: Source | None) -> dict[str, np.ndarray]:
    """The block of one layer as "LAYER/FIELD" → array, without what follows from its source."""
    if source is None:
        fields = _layer_arrays(block)
    elif source.rule == JOIN:
        fields = {"about": _about(block)}
    else:
        fields = _layer_arrays(replace(block, **_derived_away(block)))
    if source is not None:
        fields["source"] = np.array([source.rule, *source.layers])
    return {f"{name}/{field}": array for field, array in fields.items()}


def read_layer(get: Callable[[str], np.ndarray], layer: str) -> LayerBlock:
    """The block of one layer. get : returns the array of a name, or raises KeyError."""
    source = source_of(get, layer)
    if source is None:
        return _of_layer_arrays(get, layer, None)
    blocks = [read_layer(get, name) for name in source.layers]
    if source.rule == JOIN:
        return joined(blocks, gated=bool(get(f"{layer}/about")[1]))
    return _of_layer_arrays(get, layer, rectified_parts(blocks[0]))


def source_of(get: Callable[[str], np.ndarray], layer: str) -> Source | None:
    """From which layers a layer follows, as a block has it stored; None if it was measured itself."""
    try:
        rule, *layers = (str(part) for part in get(f"{layer}/source"))
    except KeyError:
        return None
    return Source(rule, tuple(layers))


def joined(parts: list[LayerBlock], *, gated: bool) -> LayerBlock:
    """The block of a layer whose units are those of several layers, one after the other."""
    first = parts[0]
    several = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=axis)
        for name, axis in _UNIT_AXES.items()
        if getattr(first, name) is not None
    }
    widest = [np.broadcast_to(part.class_counts, part.class_sums.shape) for part in parts]
    return replace(
        first,
        gated=gated,
        largest=Hits.join([part.largest for part in parts]),
        smallest=None if first.smallest is None else Hits.join([part.smallest for part in parts]),
        own_class=None,
        maxima=Moments.join([part.maxima for part in parts]),
        positions=None if first.positions is None else Moments.join([part.positions for part in parts]),
        class_counts=first.class_counts if _same_counts(parts) else np.concatenate(widest, axis=1),
        **several,
    )


def rectified_parts(below: LayerBlock) -> dict[str, np.ndarray | None]:
    """The fields of a ReLU's block that follow from the block of the layer below it."""
    on = below.sample_values > 0
    return {
        "maxima_counts": histogram.rectified(below.maxima_counts),
        "position_counts": None if below.position_counts is None else histogram.rectified(below.position_counts),
        "sample_images": below.sample_images,
        "sample_values": np.maximum(below.sample_values, 0),
        "sample_places": np.where(on, below.sample_places, 0).astype(below.sample_places.dtype),
    }


_UNIT_AXES = {
    "not_a_number": 0,
    "active": 0,
    "maxima_counts": 0,
    "position_counts": 0,
    "class_sums": 1,
    "sample_values": 1,
    "sample_places": 1,
}
_HITS = ("largest", "smallest", "own_class")
_MOMENTS = ("maxima", "positions")
_COUNTS = ("maxima_counts", "position_counts")


def _same_counts(parts: list[LayerBlock]) -> bool:
    return all(part.class_counts.shape[1] == 1 for part in parts)


def _derived_away(block: LayerBlock) -> dict[str, object]:
    nothing = np.zeros((0, 0), np.float32)
    return {
        "maxima_counts": None,
        "position_counts": None,
        "sample_images": nothing,
        "sample_values": nothing,
        "sample_places": nothing,
    }


def _about(block: LayerBlock) -> np.ndarray:
    return np.array([block.width, block.gated], np.int64)


def _layer_arrays(block: LayerBlock) -> dict[str, np.ndarray]:
    """The arrays of a block that are neither None nor empty."""
    arrays = {"about": _about(block)}
    for kind in _HITS:
        hits = getattr(block, kind)
        if hits is not None:
            arrays |= {f"{kind}_{name}": getattr(hits, name) for name in topk.FIELDS}
    for kind in _MOMENTS:
        values = getattr(block, kind)
        if values is not None:
            arrays |= {f"{kind}_{name}": getattr(values, name) for name in moments.FIELDS}
    for name in _COUNTS:
        counts = getattr(block, name)
        if counts is not None:
            arrays[name] = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
    for name in ("not_a_number", "active", "classes", "class_counts", "class_sums", *_SAMPLE):
        arrays[name] = getattr(block, name)
    return {name: array for name, array in arrays.items() if array.size}


_SAMPLE = ("sample_images", "sample_values", "sample_places")


def _of_layer_arrays(
    get: Callable[[str], np.ndarray], layer: str, derived: Mapping[str, np.ndarray | None] | None
) -> LayerBlock:
    def array_or_none(field: str) -> np.ndarray | None:
        try:
            return get(f"{layer}/{field}")
        except KeyError:
            return None

    def record(kind: str, form: type, names: tuple[str, ...]) -> Hits | Moments | None:
        parts = [array_or_none(f"{kind}_{name}") for name in names]
        return None if parts[0] is None else form(*parts)

    width, gated = (int(number) for number in get(f"{layer}/about"))
    active = get(f"{layer}/active")
    units = len(active)
    empty = {
        "classes": np.zeros(0, np.int64),
        "class_counts": np.zeros((0, 1), np.int64),
        "class_sums": np.zeros((0, units)),
        "sample_images": np.zeros(0, np.int64),
        "sample_values": np.zeros((0, units), np.float32),
        "sample_places": np.zeros((0, units), np.uint16),
    }
    stored: dict[str, np.ndarray | None] = {}
    for name, nothing in empty.items():
        array = array_or_none(name)
        stored[name] = nothing if array is None else array
    for name in _COUNTS:
        counts = array_or_none(name)
        stored[name] = None if counts is None else counts.astype(np.int64)
    if derived is not None:
        stored |= derived
    return LayerBlock(
        width=width,
        gated=bool(gated),
        **{kind: record(kind, Hits, topk.FIELDS) for kind in _HITS},
        **{kind: record(kind, Moments, moments.FIELDS) for kind in _MOMENTS},
        not_a_number=get(f"{layer}/not_a_number"),
        active=active,
        **stored,
    )
