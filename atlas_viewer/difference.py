"""How two atlases differ: two snapshots of one, two networks, or two settings of gradient ascent or DGN-AM.

Units are compared by number, those of class layers whose labels differ by label. What has the same seal in both files
is the same and is not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import MissingError, nearest
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.numbers import Value
from atlas_viewer.evidence.statistics import Statistics
from atlas_viewer.evidence.tops import Tops
from atlas_viewer.field import Status
from atlas_viewer.layer import Layer

STATISTICS = "statistics"  # of the dataset, as evidence that is compared
COLUMNS = ("layer", "evidence", "unit", "label", "unit in b", "a", "b", "difference", "status in a", "status in b")


@dataclass(frozen=True)
class UnitDifference:
    """A unit that differs.

    unit, other : its numbers in A and B.
    first, second : its best activation, or the largest in any image, in A and B; NaN without one.
    status, other_status : the outcomes of its pictures that are not ok, or "ok"; "dead" of statistics.
    """

    layer: str
    evidence: str
    unit: int
    label: str
    other: int
    first: float
    second: float
    status: str
    other_status: str

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.second - self.first

    def row(self) -> tuple[object, ...]:
        """The values of COLUMNS."""
        return (
            *(self.layer, self.evidence, self.unit, self.label, self.other),
            *(self.first, self.second, self.difference, self.status, self.other_status),
        )


@dataclass(frozen=True)
class Line:
    """One kind of evidence of one layer: by one setting, hits of one kind, or statistics.

    layer, other : the layer in A and B; None of one that the other atlas does not have.
    evidence : ascent/<style>, dgn/<run>, tops/<kind> or statistics; with | between those of A and B if they are two.
    units : number of units in both.
    only_first, only_second : units that one atlas alone has.
    differing : the units that differ.
    median, largest : of the differences' magnitudes; 0 where nothing differs, NaN without a number in both.
    pictures : pictures whose stored bytes differ, or hits that are not the same image; None where not comparable.
    first, second : the settings' pictures in A and B, for figures; None of other evidence.
    rows : row in A and in B of each unit that differs, in the order of `differing`.
    """

    layer: Layer | None
    other: Layer | None
    evidence: str
    units: int
    only_first: int = 0
    only_second: int = 0
    differing: tuple[UnitDifference, ...] = ()
    median: float = 0.0
    largest: float = 0.0
    pictures: int | None = 0
    first: Climb | None = None
    second: Climb | None = None
    rows: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """The name of the layer in A, or in both."""
        names = [layer.name for layer in (self.layer, self.other) if layer is not None]
        return " | ".join(dict.fromkeys(names))

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.differing or self.only_first or self.only_second)


@dataclass(frozen=True)
class _Match:
    """The units that two layers share: their rows in each, and how many each has alone."""

    rows: np.ndarray
    others: np.ndarray
    only_first: int
    only_second: int
    by_number: bool


def heads(a: Atlas, b: Atlas) -> Iterator[tuple[str, str, str]]:
    """Yield what the atlases say of themselves where they differ: name, A's value, B's value."""
    for name, one, other in (
        ("network", a.cited, b.cited),
        ("input", str(a.input_size), str(b.input_size)),
        ("dataset", *(_dataset(atlas) for atlas in (a, b))),
        ("packages", *(", ".join(atlas.packages.split("\n")).strip(", ") for atlas in (a, b))),
    ):
        if one != other:
            yield name, one, other


def numbers(line: Line) -> Iterator[tuple[str, Value, Value]]:
    """Yield the hyperparameters of a line's settings that differ: name, A's value, B's value.

    Of two methods only those that both have.
    """
    if line.first is not None and line.second is not None:
        one, other = line.first.numbers, line.second.numbers
        alike = line.first.kind == line.second.kind
        for name in sorted({*one, *other} if alike else {*one} & {*other}):
            if one.get(name) != other.get(name):
                yield name, one.get(name, "–"), other.get(name, "–")


def distinct_units(lines: Iterable[Line]) -> int:
    """How many units differ by any evidence; one that differs by several counts once."""
    return len({(unit.layer, unit.unit) for line in lines for unit in line.differing})


def compare(a: Atlas, b: Atlas, settings: tuple[str, str] | None = None, tolerance: float = 0.0) -> Iterator[Line]:
    """Yield a line for each kind of evidence of each layer, in the order of the layers.

    settings : a style or run of A and one of B, compared with each other instead of all by name.
    tolerance : share of the larger magnitude up to which activations count as equal; above 0, pictures and hits alone
        make no difference.
    Raises MissingError if no layer of either atlas has one of these settings.
    """
    lines = [line for one, other in _layers(a, b) for line in _layer(one, other, settings, tolerance)]
    if settings is not None and not lines:
        known = [{*layer.styles, *layer.runs} for atlas in (a, b) for layer in atlas]
        known = sorted(set().union(*known))
        strange = next((name for name in settings if name not in known), None)
        why = f"no style or run {strange}{nearest(strange, known)}" if strange else "no layer has both"
        raise MissingError(f"settings: {why}; the atlases have {', '.join(known)}")
    yield from lines


def _layers(a: Atlas, b: Atlas) -> Iterator[tuple[Layer | None, Layer | None]]:
    """Yield the layers of both by name; class layers also if their names differ; then those that only B has."""
    other_classes = {layer.name: layer for layer in b if layer.info.class_layer and layer.name not in a.layers}
    matched = set()
    for layer in a:
        other = b[layer.name] if layer.name in b.layers else None
        if other is None and layer.info.class_layer and other_classes:
            other = next(iter(other_classes.values()))
        matched |= {other.name} if other is not None else set()
        yield layer, other
    for layer in b:
        if layer.name not in matched:
            yield None, layer


def _layer(
    one: Layer | None, other: Layer | None, settings: tuple[str, str] | None, tolerance: float
) -> Iterator[Line]:
    if one is None or other is None:
        if settings is None:
            yield _alone(one, other, "all")
        return
    match = _match(one, other)
    for method, firsts, seconds in (("ascent", one.ascent, other.ascent), ("dgn", one.dgn, other.dgn)):
        for first, second in _pairs(firsts, seconds) if settings is None else ():
            yield _line(
                one, other, match, f"{method}/{first or second}", firsts.get(first), seconds.get(second), tolerance
            )
    if settings is not None:
        firsts, seconds = {**one.ascent, **one.dgn}, {**other.ascent, **other.dgn}
        first, second = settings
        if first in firsts and second in seconds:
            name = " | ".join(dict.fromkeys((firsts[first].path, seconds[second].path)))
            yield _line(one, other, match, name, firsts[first], seconds[second], tolerance)
        return
    for kind in dict.fromkeys((*one.kinds, *other.kinds)):
        hits = [layer.tops(kind) if kind in layer.kinds else None for layer in (one, other)]
        yield _line(one, other, match, f"tops/{kind}", *hits, tolerance)
    if one.statistics is not None or other.statistics is not None:
        yield _line(one, other, match, STATISTICS, one.statistics, other.statistics, tolerance)


def _pairs(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each name of either twice, with an empty one where the other atlas lacks it."""
    for name in dict.fromkeys((*first, *second)):
        yield name if name in first else "", name if name in second else ""


def _alone(one: Layer | None, other: Layer | None, evidence: str) -> Line:
    return Line(one, other, evidence, 0, len(one or ()), len(other or ()), median=math.nan, largest=math.nan)


def _line(
    one: Layer,
    other: Layer,
    match: _Match,
    evidence: str,
    first: Climb | Tops | Statistics | None,
    second: Climb | Tops | Statistics | None,
    tolerance: float,
) -> Line:
    if first is None or second is None:
        return Line(one, other, evidence, 0, 0 if first is None else len(one), 0 if second is None else len(other),
                    median=math.nan, largest=math.nan)  # fmt: skip
    climbs = (first, second) if isinstance(first, Climb) else (None, None)
    blank = Line(one, other, evidence, len(match.rows), match.only_first, match.only_second,
                 first=climbs[0], second=climbs[1])  # fmt: skip
    seals = [str(evidence.group.attrs.get("seal", "")) for evidence in (first, second)]
    if match.by_number and seals[0] and seals[0] == seals[1] and not blank.only_first and not blank.only_second:
        return blank
    values = _values(first)[match.rows], _values(second)[match.others]
    said = _states(first)[match.rows], _states(second)[match.others]
    parts = _parts(first, second, match)
    unequal = ~_equal(*values, tolerance) | (said[0] != said[1])
    if parts is not None and tolerance == 0:
        unequal |= parts.any(axis=1)
    size = np.abs(values[1].astype(float) - values[0])
    finite = size[np.isfinite(size)]
    rows = sorted(np.flatnonzero(unequal).tolist(), key=lambda row: -np.nan_to_num(size[row], nan=np.inf))
    differing = tuple(
        UnitDifference(
            blank.name, evidence, int(one.units[match.rows[row]]), one.labels[match.rows[row]],
            int(other.units[match.others[row]]), float(values[0][row]), float(values[1][row]),
            str(said[0][row]), str(said[1][row]),
        )
        for row in rows
    )  # fmt: skip
    return Line(
        one, other, evidence, blank.units, blank.only_first, blank.only_second, differing,
        median=float(np.median(finite)) if finite.size else math.nan,
        largest=float(finite.max()) if finite.size else math.nan,
        pictures=None if parts is None else int(parts.sum()),
        first=climbs[0], second=climbs[1],
        rows=tuple((int(match.rows[row]), int(match.others[row])) for row in rows),
    )  # fmt: skip


def _match(one: Layer, other: Layer) -> _Match:
    """By label where both layers name their units and the names differ, else by number; nothing of unequal layers."""
    labelled = all(layer.info.class_layer and all(layer.labels) for layer in (one, other))
    named = {row: label for row, label in enumerate(other.labels)}
    if labelled and one.labels != other.labels:
        keys = [_class_name(label) for label in one.labels], [_class_name(label) for label in named.values()]
    elif one.info.channels == other.info.channels:
        keys = one.units.tolist(), other.units.tolist()
    else:
        keys = (), ()
    places = {key: row for row, key in reversed(list(enumerate(keys[1])))}
    pairs = [(row, places[key]) for row, key in enumerate(keys[0]) if key in places]
    rows, others = np.array(pairs, int).reshape(-1, 2).T
    return _Match(rows, others, len(one) - len(rows), len(other) - len(set(others.tolist())), isinstance(keys[0], list)
                  and keys[0] == one.units.tolist())  # fmt: skip


def _class_name(label: str) -> str:
    """The name by which classes are matched: the words before the first comma, in lower case."""
    return label.split(",")[0].strip().casefold()


def _values(evidence: Climb | Tops | Statistics) -> np.ndarray:
    """(unit,) the number that is compared: the best picture's, the first hit's, or the largest activation."""
    if isinstance(evidence, Statistics):
        return evidence.most
    if isinstance(evidence, Tops):
        count = evidence.activation.shape[1]
        return evidence.activation[:, 0] if count else np.full(len(evidence.units), np.nan)
    sample = evidence.best_sample
    return np.where(sample >= 0, evidence.activation[np.arange(len(sample)), sample], np.nan)


def _states(evidence: Climb | Tops | Statistics) -> np.ndarray:
    """(unit,) the state of each unit in a word or two."""
    if isinstance(evidence, Statistics):
        return np.where(evidence.dead, "dead", "ok").astype(object)
    if isinstance(evidence, Tops):
        return np.array([f"{count} hits" for count in evidence.there.sum(axis=1).tolist()], dtype=object)
    names = np.array([status.name for status in sorted(Status)], dtype=object)
    rows = evidence.group["status"][...]
    bad = [", ".join(dict.fromkeys(names[row[row != Status.ok]].tolist())) for row in rows]
    return np.array([text.replace("_", " ") or "ok" for text in bad], dtype=object)


def _parts(first: object, second: object, match: _Match) -> np.ndarray | None:
    """(unit, part) which pictures or hits differ; None where they cannot be compared."""
    if isinstance(first, Tops) and isinstance(second, Tops):
        one, other = (_hashes(tops) for tops in (first, second))
    elif isinstance(first, Climb) and isinstance(second, Climb) and first.size == second.size:
        names = ("pixels_digest", "best_pixels_digest") if isinstance(first, Run) and isinstance(second, Run) else (
            "pixels_digest",)  # fmt: skip
        if any(name not in climb.group for name in names for climb in (first, second)):
            return None
        one, other = (np.stack([climb.group[name][...] for name in names], -1) for climb in (first, second))
    else:
        return None
    count = min(one.shape[1], other.shape[1])
    differs = one[match.rows, :count] != other[match.others, :count]
    further = abs(one.shape[1] - other.shape[1])  # pictures that one of them has alone
    differs = differs.reshape(len(match.rows), count, -1).any(axis=-1)
    return np.concatenate([differs, np.ones((len(match.rows), further), bool)], axis=1)


def _hashes(tops: Tops) -> np.ndarray:
    """(unit, rank, byte) the hash of each hit's image; zeros where there is no hit."""
    hashes = np.zeros((*tops.image.shape, tops.dataset.hash.shape[1]), np.uint8)
    hashes[tops.there] = tops.dataset.hash[tops.image[tops.there]]
    return hashes


def _equal(first: np.ndarray, second: np.ndarray, tolerance: float) -> np.ndarray:
    first, second = first.astype(float), second.astype(float)
    scale = tolerance * np.maximum(np.abs(first), np.abs(second))
    with np.errstate(invalid="ignore"):
        near = np.abs(first - second) <= scale
    return near | (np.isnan(first) & np.isnan(second)) | (first == second)


def _dataset(atlas: Atlas) -> str:
    if atlas.dataset is None:
        return "none"
    return f"{atlas.dataset.name}@{atlas.dataset.digest[:12]}, {atlas.dataset.images} images"
