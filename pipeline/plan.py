"""What is asked of an atlas: the canonical union of all requests. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from pipeline.card import LayerCard, NetworkCard
from pipeline.dataset_settings import MemorisationSettings
from pipeline.errors import OutputError
from pipeline.records import MiningRecord, Record, StyleRecord
from pipeline.search_records import CombinationRecord, SearchRecord
from pipeline.sweep import SweepPlace
from pipeline.tasks import ScoreTask
from pipeline.units import Units

PartKey = tuple[str, str, int]  # layer, style or search, sample
Parts = Mapping[PartKey, tuple[int, ...]]  # → units, rising


@dataclass(frozen=True)
class Plan:
    """The union of what has been asked of one atlas.

    units : (layer, style, sample) → the units whose pictures are asked for, rising. mining : the dataset side, or None;
    tops : layer → the units whose best images are asked for. scores : what judges have been asked.
    sweep : style → its place, of the styles that belong to a style search. searches, dgn : as styles and units, for
    pictures through priors; combinations : the sets of units that are excited together. memorisation : how pictures of
    the classes are compared with real images, or None.
    """

    card: NetworkCard
    styles: Mapping[str, StyleRecord]
    units: Parts
    scores: tuple[ScoreTask, ...] = ()
    mining: MiningRecord | None = None
    tops: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sweep: Mapping[str, SweepPlace] = field(default_factory=dict)
    searches: Mapping[str, SearchRecord] = field(default_factory=dict)
    dgn: Parts = field(default_factory=dict)
    combinations: Mapping[str, CombinationRecord] = field(default_factory=dict)
    memorisation: MemorisationSettings | None = None

    @classmethod
    def of_request(cls, card: NetworkCard, units: Units, styles: Sequence[StyleRecord], samples: int) -> Plan:
        """The plan of a single request: `samples` pictures of each of the units in each of the styles."""
        return cls(card, {style.name: style for style in styles}, _parts(units, styles, samples))

    def with_tops(self, mining: MiningRecord, units: Units) -> Plan:
        """This plan and the best images of these units."""
        return replace(self, mining=mining, tops=dict(units))

    def with_memorisation(self, settings: MemorisationSettings) -> Plan:
        """This plan and the memorisation test of its searches of the class layer."""
        return replace(self, memorisation=settings)

    def with_searches(
        self,
        searches: Sequence[SearchRecord],
        units: Units,
        samples: int,
        combinations: Sequence[CombinationRecord],
    ) -> Plan:
        """This plan, `samples` pictures of each of these units in each of the searches, and these combinations."""
        return replace(
            self,
            searches={search.name: search for search in searches},
            dgn=_parts(units, searches, samples),
            combinations={asked.name: asked for asked in combinations},
        )

    def with_sweep(self, sweep: Mapping[str, SweepPlace]) -> Plan:
        """This plan, its styles of these names as those of a style search."""
        return replace(self, sweep=dict(sweep))

    def union(self, other: Plan) -> Plan:
        """This plan and what `other` asks beyond it.

        Raises OutputError if the two are of different networks, or give one style's name different numbers.
        """
        self._agree(other)
        scores = {task.question: task for task in (*self.scores, *other.scores)}
        mining = self.mining if other.mining is None else other.mining
        return Plan(
            self.card,
            {**self.styles, **other.styles},
            _joined(self.units, other.units),
            tuple(scores.values()),
            mining,
            _joined(self.tops, other.tops),
            {**self.sweep, **other.sweep},
            {**self.searches, **other.searches},
            _joined(self.dgn, other.dgn),
            {**self.combinations, **other.combinations},
            self.memorisation if other.memorisation is None else other.memorisation,
        )

    def with_score(self, task: ScoreTask) -> Plan:
        """This plan with what a judge is asked; an older question about the same pictures goes."""
        kept = tuple(old for old in self.scores if old.question != task.question)
        return replace(self, scores=(*kept, task))

    def layers(self) -> tuple[LayerCard, ...]:
        """The layers that have parts, in the order of the network."""
        asked = {layer for layer, _, _ in (*self.units, *self.dgn)} | set(self.tops)
        return tuple(layer for layer in self.card.layers if layer.name in asked)

    def layer_units(self, layer: str) -> tuple[int, ...]:
        """All units asked for of a layer, in any style or search or by their best images."""
        parts = (units for (name, _, _), units in (*self.units.items(), *self.dgn.items()) if name == layer)
        return tuple(sorted(set(self.tops.get(layer, ())).union(*parts)))

    def layer_styles(self, layer: str) -> tuple[str, ...]:
        """Names of the styles asked for of a layer, sorted."""
        return tuple(sorted({style for name, style, _ in self.units if name == layer}))

    def samples(self, layer: str, style: str) -> int:
        """How many samples the style of the layer has at most."""
        return 1 + max(sample for name, of, sample in self.units if (name, of) == (layer, style))

    def layer_searches(self, layer: str) -> tuple[str, ...]:
        """Names of the searches asked for of a layer, sorted."""
        return tuple(sorted({search for name, search, _ in self.dgn if name == layer}))

    def search_samples(self, layer: str, search: str) -> int:
        """How many samples the search of the layer has at most."""
        return 1 + max(sample for name, of, sample in self.dgn if (name, of) == (layer, search))

    def all_searches(self) -> tuple[SearchRecord, ...]:
        """The searches of single units and of combinations, by name."""
        found = {asked.search.name: asked.search for asked in self.combinations.values()} | dict(self.searches)
        return tuple(found[name] for name in sorted(found))

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
        self._agree_on_searches(other)
        if self.mining is not None and other.mining is not None:
            changes = differences(self.mining.record(), other.mining.record())
            if changes:
                spoken = [change for change in changes if not change.startswith("dataset.digest")] or ["other images"]
                raise OutputError(
                    f"dataset {self.mining.dataset.name}: the atlas has been mined with other settings or another "
                    f"dataset ({'; '.join(spoken[:6])}); results of the two do not mix: ask with the same, or choose "
                    f"another folder by OUT=…"
                )

    def _agree_on_searches(self, other: Plan) -> None:
        there = {search.name: search for search in self.all_searches()}
        digests = {search.prior.name: search.prior.digest for search in self.all_searches()}
        for search in other.all_searches():
            prior = search.prior
            if digests.get(prior.name, prior.digest) != prior.digest:
                raise OutputError(
                    f"prior {prior.name}: the atlas has another of this name ({digests[prior.name][:12]}, now "
                    f"{prior.digest[:12]}); give this one a name of its own, or choose another folder by OUT=…"
                )
            before = there.get(search.name, search)
            if changes := differences(before.record(), search.record()):
                raise OutputError(
                    f"search {search.name}: the atlas has it with other numbers ({'; '.join(changes)}); make this a "
                    f"variant with a name of its own by +dgn.variants.NAME.…, or choose another folder by OUT=…"
                )
        for name in self.combinations.keys() & other.combinations.keys():
            before, now = (plan.combinations[name].record() for plan in (self, other))
            changes = differences(before, now)
            if changes:
                spoken = ["other units" if change.startswith("items:") else change for change in changes]
                raise OutputError(
                    f"combinations {name}: the atlas has them with other numbers ({'; '.join(spoken)}); give these a "
                    f"name of their own, or choose another folder by OUT=…"
                )

    def record(self) -> Record:
        """The plan as plain JSON values, sorted."""
        scores = sorted(self.scores, key=lambda task: task.question)
        return {
            "version": 1,
            "network": self.card.record(),
            "styles": {name: self.styles[name].record() for name in sorted(self.styles)},
            "units": self._spelled(self.units),
            "scores": [task.record() for task in scores],
            "mining": None if self.mining is None else self.mining.record(),
            "tops": {layer: runs(self.tops[layer]) for layer in sorted(self.tops)},
            "searches": {name: self.searches[name].record() for name in sorted(self.searches)},
            "dgn": self._spelled(self.dgn),
            "combinations": {name: self.combinations[name].record() for name in sorted(self.combinations)},
            "sweep": {name: asdict(self.sweep[name]) for name in sorted(self.sweep)},
            "memorisation": None if self.memorisation is None else asdict(self.memorisation),
        }

    def _spelled(self, parts: Parts) -> list[list]:
        order = {layer.name: place for place, layer in enumerate(self.card.layers)}
        return [[*key, runs(parts[key])] for key in sorted(parts, key=lambda key: (order[key[0]], key[1], key[2]))]

    @classmethod
    def of_record(cls, record: Mapping) -> Plan:
        """The plan of such values."""
        if record.get("version") != 1:
            raise OutputError(f"plan.json: version {record.get('version')}, expected 1; choose another folder by OUT=…")
        return cls(
            card=NetworkCard.of_record(record["network"]),
            styles={name: StyleRecord.of_record(style) for name, style in record["styles"].items()},
            units=_unspelled(record["units"]),
            scores=tuple(ScoreTask.of_record(task) for task in record["scores"]),
            mining=None if record["mining"] is None else MiningRecord.of_record(record["mining"]),
            tops={layer: _unrun(pairs) for layer, pairs in record["tops"].items()},
            searches={name: SearchRecord.of_record(one) for name, one in record.get("searches", {}).items()},
            dgn=_unspelled(record.get("dgn", [])),
            combinations={
                name: CombinationRecord.of_record(one) for name, one in record.get("combinations", {}).items()
            },
            sweep={name: SweepPlace(**place) for name, place in record.get("sweep", {}).items()},
            memorisation=MemorisationSettings(**asked) if (asked := record.get("memorisation")) else None,
        )


def _parts(units: Units, of: Sequence[StyleRecord | SearchRecord], samples: int) -> Parts:
    return {
        (layer, one.name, sample): chosen for layer, chosen in units.items() for one in of for sample in range(samples)
    }


def _joined(one: Mapping, other: Mapping) -> dict:
    """The units of both, key by key."""
    return {key: tuple(sorted({*one.get(key, ()), *other.get(key, ())})) for key in {*one, *other}}


def _unspelled(rows: Sequence[Sequence]) -> Parts:
    return {(layer, name, sample): _unrun(pairs) for layer, name, sample, pairs in rows}


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
