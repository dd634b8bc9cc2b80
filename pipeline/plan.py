"""What is asked of an atlas: the canonical union of all requests. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from pipeline.card import LayerCard, NetworkCard
from pipeline.errors import OutputError
from pipeline.records import MiningRecord, Record, StyleRecord
from pipeline.sweep import SweepPlace
from pipeline.tasks import ScoreTask
from pipeline.units import Units

PartKey = tuple[str, str, int]  # layer, style, sample


@dataclass(frozen=True)
class Plan:
    """The union of what has been asked of one atlas.

    units : (layer, style, sample) → the units whose pictures are asked for, rising. mining : the dataset side, or None;
    tops : layer → the units whose best images are asked for. scores : what judges have been asked.
    sweep : style → its place, of the styles that belong to a style search.
    """

    card: NetworkCard
    styles: Mapping[str, StyleRecord]
    units: Mapping[PartKey, tuple[int, ...]]
    scores: tuple[ScoreTask, ...] = ()
    mining: MiningRecord | None = None
    tops: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sweep: Mapping[str, SweepPlace] = field(default_factory=dict)

    @classmethod
    def of_request(cls, card: NetworkCard, units: Units, styles: Sequence[StyleRecord], samples: int) -> Plan:
        """The plan of a single request: `samples` pictures of each of the units in each of the styles."""
        parts = {
            (layer, style.name, sample): chosen
            for layer, chosen in units.items()
            for style in styles
            for sample in range(samples)
        }
        return cls(card, {style.name: style for style in styles}, parts)

    def with_tops(self, mining: MiningRecord, units: Units) -> Plan:
        """This plan and the best images of these units."""
        return replace(self, mining=mining, tops=dict(units))

    def with_sweep(self, sweep: Mapping[str, SweepPlace]) -> Plan:
        """This plan, its styles of these names as those of a style search."""
        return replace(self, sweep=dict(sweep))

    def union(self, other: Plan) -> Plan:
        """This plan and what `other` asks beyond it.

        Raises OutputError if the two are of different networks, or give one style's name different numbers.
        """
        self._agree(other)
        units = {key: tuple(sorted({*self.units.get(key, ()), *other.units.get(key, ())}))
                 for key in {*self.units, *other.units}}  # fmt: skip
        tops = {
            layer: tuple(sorted({*self.tops.get(layer, ()), *other.tops.get(layer, ())}))
            for layer in {*self.tops, *other.tops}
        }
        scores = {(task.judge, task.layer, task.style): task for task in (*self.scores, *other.scores)}
        mining = self.mining if other.mining is None else other.mining
        styles, sweep = {**self.styles, **other.styles}, {**self.sweep, **other.sweep}
        return Plan(self.card, styles, units, tuple(scores.values()), mining, tops, sweep)

    def with_score(self, task: ScoreTask) -> Plan:
        """This plan with what a judge is asked; an older question about the same pictures goes."""
        key = (task.judge, task.layer, task.style)
        kept = tuple(old for old in self.scores if (old.judge, old.layer, old.style) != key)
        return replace(self, scores=(*kept, task))

    def layers(self) -> tuple[LayerCard, ...]:
        """The layers that have parts, in the order of the network."""
        asked = {layer for layer, _, _ in self.units} | set(self.tops)
        return tuple(layer for layer in self.card.layers if layer.name in asked)

    def layer_units(self, layer: str) -> tuple[int, ...]:
        """All units asked for of a layer, in any style or by their best images."""
        parts = (units for (name, _, _), units in self.units.items() if name == layer)
        return tuple(sorted(set(self.tops.get(layer, ())).union(*parts)))

    def layer_styles(self, layer: str) -> tuple[str, ...]:
        """Names of the styles asked for of a layer, sorted."""
        return tuple(sorted({style for name, style, _ in self.units if name == layer}))

    def samples(self, layer: str, style: str) -> int:
        """How many samples the style of the layer has at most."""
        return 1 + max(sample for name, of, sample in self.units if (name, of) == (layer, style))

    def _agree(self, other: Plan) -> None:
        if self.card.digest != other.card.digest:
            raise OutputError(
                f"atlas of {self.card.name}@{self.card.digest[:12]}: this request is for "
                f"{other.card.name}@{other.card.digest[:12]}, another definition or other weights; "
                f"choose another folder by OUT=…"
            )
        for name in self.styles.keys() & other.styles.keys():
            changes = differences(self.styles[name].record(), other.styles[name].record())
            if changes:
                own = "" if name in other.sweep else f"give this variant a name of its own by style.{name}.name=…, or "
                raise OutputError(
                    f"style {name}: the atlas has it with other numbers ({'; '.join(changes)}); {own}choose another "
                    f"folder by OUT=…"
                )
        if self.mining is not None and other.mining is not None:
            changes = differences(self.mining.record(), other.mining.record())
            if changes:
                spoken = [change for change in changes if not change.startswith("dataset.digest")] or ["other images"]
                raise OutputError(
                    f"dataset {self.mining.dataset.name}: the atlas has been mined with other settings or another "
                    f"dataset ({'; '.join(spoken[:6])}); results of the two do not mix: ask with the same, or choose "
                    f"another folder by OUT=…"
                )

    def record(self) -> Record:
        """The plan as plain JSON values, sorted."""
        order = {layer.name: place for place, layer in enumerate(self.card.layers)}
        keys = sorted(self.units, key=lambda key: (order[key[0]], key[1], key[2]))
        scores = sorted(self.scores, key=lambda task: (task.judge, task.layer, task.style))
        return {
            "version": 1,
            "network": self.card.record(),
            "styles": {name: self.styles[name].record() for name in sorted(self.styles)},
            "units": [[*key, runs(self.units[key])] for key in keys],
            "scores": [task.record() for task in scores],
            "mining": None if self.mining is None else self.mining.record(),
            "tops": {layer: runs(self.tops[layer]) for layer in sorted(self.tops)},
            "sweep": {name: asdict(self.sweep[name]) for name in sorted(self.sweep)},
        }

    @classmethod
    def of_record(cls, record: Mapping) -> Plan:
        """The plan of such values."""
        if record.get("version") != 1:
            raise OutputError(f"plan.json: version {record.get('version')}, expected 1; choose another folder by OUT=…")
        return cls(
            card=NetworkCard.of_record(record["network"]),
            styles={name: StyleRecord.of_record(style) for name, style in record["styles"].items()},
            units={(layer, style, sample): _unrun(pairs) for layer, style, sample, pairs in record["units"]},
            scores=tuple(ScoreTask.of_record(task) for task in record["scores"]),
            mining=None if record["mining"] is None else MiningRecord.of_record(record["mining"]),
            tops={layer: _unrun(pairs) for layer, pairs in record["tops"].items()},
            sweep={name: SweepPlace(**place) for name, place in record.get("sweep", {}).items()},
        )


def runs(units: Sequence[int]) -> list[list[int]]:
    """Rising numbers as [start, stop) pairs."""
    pairs: list[list[int]] = []
    for unit in units:
        if pairs and unit == pairs[-1][1]:
            pairs[-1][1] = unit + 1
        else:
            pairs.append([unit, unit + 1])
    return pairs


def _unrun(pairs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(unit for start, stop in pairs for unit in range(start, stop))


def differences(old: Mapping, new: Mapping, path: str = "") -> list[str]:
    """Each value that differs between two records, as "path: old, now new"."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{path}{key}.")
        elif before != after:
            found.append(f"{path}{key}: {before}, now {after}")
    return found
