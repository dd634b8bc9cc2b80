"""The plan of an atlas: the canonical union of all requests, as plain values. It names no method."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.card import LayerCard, NetworkCard
from pipeline.errors import OutputError
from pipeline.records import Record, of_record, to_record
from pipeline.units import Units

VERSION = 2
PartKey = tuple[str, str, str, int]  # method, layer, name of a setting, sample
Parts = Mapping[PartKey, tuple[int, ...]]  # → units, ascending


class NamedSettings:
    """A named setting of a method: a style, a run, a dataset. Its record decides results.

    name : key in the plan and in the atlas.
    """

    name: str

    def clash(self, changes: list[str], swept: bool) -> str | None:
        """The error text for a later setting that has this name but other values; None if it may replace this one.

        changes : each value that differs, as "path: old, now new".
        swept : whether the later setting belongs to a sweep.
        """
        return None

    def record(self) -> Record:
        """Everything that decides results, as plain JSON values."""
        return to_record(self)


@dataclass(frozen=True)
class SweepPlace:
    """The position of a setting in a sweep. It affects no picture.

    axis : "none", an axis, or "random".
    place : place in the row, 0 for "none"; or number of the draw.
    base : name of the setting that provides the numbers that are not swept.
    """

    axis: str
    place: int
    base: str


@dataclass(frozen=True)
class Plan:
    """The union of all requests of one atlas.

    settings : method → name → setting.
    parts : (method, layer, name, sample) → requested units, ascending.
    order : method → names in the order of the latest request, earlier ones after them; the first leads.
    sweep : method → name → position, for settings that belong to a sweep.
    """

    card: NetworkCard
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sweep: Mapping[str, Mapping[str, SweepPlace]] = field(default_factory=dict)

    def asking(
        self, method: str, settings: Sequence[NamedSettings], units: Units | None = None, samples: int = 1
    ) -> Plan:
        """This plan with these settings of one method added: `samples` results for each unit and setting."""
        if not settings:
            return self
        parts = {
            (method, layer, one.name, sample): chosen
            for layer, chosen in ({} if units is None else units).items()
            for one in settings
            for sample in range(samples)
        }
        asked = Plan(self.card, {method: {one.name: one for one in settings}}, parts)
        return self.union(replace(asked, order={method: tuple(one.name for one in settings)}))

    def with_sweep(self, method: str, places: Mapping[str, SweepPlace]) -> Plan:
        """This plan with settings of a method marked as parts of a sweep. places : name → position."""
        return replace(self, sweep={**self.sweep, method: {**self.sweep.get(method, {}), **places}})

    def union(self, other: Plan) -> Plan:
        """The union with a later plan. Where both have a setting of the same name, the later one counts.

        `pipeline.methods.registry.together` checks whether two plans agree.
        """
        methods = {*self.settings, *other.settings}
        return Plan(
            self.card,
            {name: {**self.settings.get(name, {}), **other.settings.get(name, {})} for name in methods},
            {
                key: tuple(sorted({*self.parts.get(key, ()), *other.parts.get(key, ())}))
                for key in {*self.parts, *other.parts}
            },
            {name: _ordered(other.order.get(name, ()), self.order.get(name, ())) for name in methods},
            {name: {**self.sweep.get(name, {}), **other.sweep.get(name, {})} for name in {*self.sweep, *other.sweep}},
        )

    def without(self, held: Mapping[PartKey, Collection[int]]) -> Plan:
        """This plan without the units that are held already. A part of which nothing is left is empty."""
        left = {
            key: tuple(unit for unit in units if unit not in held[key]) if key in held else units
            for key, units in self.parts.items()
        }
        return replace(self, parts=left)

    def of(self, method: str) -> dict[str, Any]:
        """Name → setting of the method, sorted by name."""
        asked = self.settings.get(method, {})
        return {name: asked[name] for name in sorted(asked)}

    def is_swept(self, method: str, name: str) -> bool:
        """Whether the setting belongs to a sweep."""
        return name in self.sweep.get(method, {})

    def place(self, method: str, name: str) -> int:
        """The setting's index in `order`, from 0; the first leads."""
        return self.order[method].index(name)

    def method_parts(self, method: str) -> Parts:
        """The parts of one method, sorted by sample, then name, then layer in the order of the network."""
        rank = self._rank()
        keys = [key for key in self.parts if key[0] == method]
        return {key: self.parts[key] for key in sorted(keys, key=lambda key: (key[3], key[2], rank[key[1]]))}

    def method_samples(self, method: str) -> dict[tuple[str, str], dict[int, tuple[int, ...]]]:
        """(layer, name) → sample → requested units, sorted by name, then layer in the order of the network."""
        parts: dict[tuple[str, str], dict[int, tuple[int, ...]]] = {}
        rank = self._rank()
        for owner, layer, name, sample in sorted(self.parts, key=lambda key: (key[2], rank[key[1]], key[3])):
            if owner == method:
                parts.setdefault((layer, name), {})[sample] = self.parts[owner, layer, name, sample]
        return parts

    def layers(self) -> tuple[LayerCard, ...]:
        """The layers that have parts, in the order of the network."""
        asked = {layer for _, layer, _, _ in self.parts}
        return tuple(layer for layer in self.card.layers if layer.name in asked)

    def layer_units(self, layer: str, method: str | None = None) -> tuple[int, ...]:
        """The requested units of a layer, ascending. method : only those of this method; None for all methods."""
        parts = (
            units
            for (owner, name, _, _), units in self.parts.items()
            if name == layer and (method is None or owner == method)
        )
        return tuple(sorted(set().union(*parts)))

    def layer_names(self, method: str, layer: str) -> tuple[str, ...]:
        """Names of a method's settings requested for a layer, sorted."""
        return tuple(sorted({key[2] for key in self.parts if key[:2] == (method, layer)}))

    def samples(self, method: str, layer: str, name: str) -> int:
        """Largest number of samples that a unit of the layer has in the setting."""
        return 1 + max(key[3] for key in self.parts if key[:3] == (method, layer, name))

    def record(self) -> Record:
        """The plan as plain JSON values, sorted."""
        rank = self._rank()
        keys = sorted(self.parts, key=lambda key: (key[0], rank[key[1]], key[2], key[3]))
        return {
            "version": VERSION,
            "network": self.card.record(),
            "settings": {
                method: {name: one.record() for name, one in self.of(method).items()}
                for method in sorted(self.settings)
            },
            "parts": [[*key, to_ranges(self.parts[key])] for key in keys],
            "order": {method: list(self.order[method]) for method in sorted(self.order)},
            "sweep": {
                method: {name: to_record(places[name]) for name in sorted(places)}
                for method, places in sorted(self.sweep.items())
            },
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any], kinds: Mapping[str, type]) -> Plan:
        """The inverse of `record`.

        kinds : method → class of its settings.
        Raises OutputError for a version, a method or a setting that this program does not know.
        """
        if record.get("version") != VERSION:
            raise OutputError(
                f"plan.json: version {record.get('version')}, expected {VERSION}; update the program, or choose "
                f"another folder with OUT=…"
            )
        unknown = sorted({*record["settings"]} - {*kinds})
        if unknown:
            raise OutputError(
                f"plan.json: method {unknown[0]} is not known to this version; update the program, or choose another "
                f"folder with OUT=…"
            )
        card = NetworkCard.of_record(record["network"])
        return cls(
            card=card,
            settings={
                method: {
                    name: of_record(kinds[method], one, f"plan.json: {method} {name}") for name, one in asked.items()
                }
                for method, asked in record["settings"].items()
            },
            parts=dict(_part(card, *part) for part in record["parts"]),
            order={method: tuple(names) for method, names in record["order"].items()},
            sweep={
                method: {name: of_record(SweepPlace, one, f"plan.json: sweep {name}") for name, one in places.items()}
                for method, places in record["sweep"].items()
            },
        )

    def _rank(self) -> dict[str, int]:
        return {layer.name: place for place, layer in enumerate(self.card.layers)}


def _part(card: NetworkCard, method: str, layer: str, name: str, sample: int, pairs: Any) -> tuple[PartKey, Any]:
    """A part as it is in a record. Raises ValueError, TypeError or UnitError for one that no request makes."""
    channels = card.layer(layer).channels
    if not (isinstance(method, str) and isinstance(name, str) and type(sample) is int and sample >= 0):
        raise ValueError(f"a part of {method}, {layer}, {name}, {sample}")
    for start, stop in pairs:  # before they are counted out
        if not (type(start) is int and type(stop) is int and 0 <= start < stop <= channels):
            raise ValueError(f"units {start} to {stop} of {layer}, which has {channels}")
    return (method, layer, name, sample), from_ranges(pairs)


def _ordered(later: Iterable[str], before: Iterable[str]) -> tuple[str, ...]:
    """The names of the latest request in their order, then the earlier ones."""
    return tuple(dict.fromkeys((*later, *before)))


def to_ranges(units: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as [start, stop) pairs."""
    pairs: list[list[int]] = []
    for unit in units:
        if pairs and unit == pairs[-1][1]:
            pairs[-1][1] = unit + 1
        else:
            pairs.append([unit, unit + 1])
    return pairs


def from_ranges(pairs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The numbers of [start, stop) pairs."""
    return tuple(unit for start, stop in pairs for unit in range(start, stop))
