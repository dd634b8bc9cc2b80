"""What is asked of an atlas, and the tasks that answer it. Pure functions of settings, card and digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from pipeline.card import LayerCard, NetworkCard
from pipeline.errors import OutputError
from pipeline.settings import AscentSettings, DeviceSettings, StyleSettings
from pipeline.units import Units

ASCENT_REVISION = 1  # raise it when the numbers that gradient ascent computes change
SCORE_REVISION = 1
PASSES_PER_STEP = 3  # a step of ascent is a forward pass and about two more for the gradient

Record = dict[str, object]


@dataclass(frozen=True)
class StyleRecord:
    """All that decides a style's pictures: its numbers, what all styles share, the seed and the device's sizes."""

    style: StyleSettings
    ascent: AscentSettings
    seed: int
    device: DeviceSettings

    @property
    def name(self) -> str:
        return self.style.name

    def record(self) -> Record:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Mapping]) -> StyleRecord:
        return cls(
            style=StyleSettings(**record["style"]),
            ascent=AscentSettings(**record["ascent"]),
            seed=int(record["seed"]),  # type: ignore[call-overload]
            device=DeviceSettings(**record["device"]),
        )


@dataclass(frozen=True)
class AscentTask:
    """One sample of a block of units of one layer in one style: the smallest piece that is stored and resumed.

    batch : items of a micro-batch; all have this shape.
    """

    model: str  # digest
    layer: str
    units: tuple[int, ...]
    sample: int
    style: StyleRecord
    batch: int
    macs: int  # of the whole task

    method = "ascent"

    @property
    def pictures(self) -> int:
        return len(self.units)

    @property
    def seconds(self) -> float:
        """What the task is taken to cost on its share of the device."""
        return self.macs / self.style.device.macs_per_second

    @property
    def id(self) -> str:
        return record_digest(self.record())

    def record(self) -> Record:
        """Everything that decides the result, as plain JSON values."""
        return {
            "method": self.method,
            "revision": ASCENT_REVISION,
            "model": self.model,
            "layer": self.layer,
            "units": list(self.units),
            "sample": self.sample,
            "style": self.style.record(),
            "batch": self.batch,
        }


@dataclass(frozen=True)
class ScoreTask:
    """What a judge says of all pictures of one style of the class layer.

    pictures : SHA-256 of the pixels. classes : for every unit the judge's class that stands for it, or −1.
    """

    judge: str
    judge_digest: str
    layer: str
    style: str
    pictures: str
    units: tuple[int, ...]
    classes: tuple[int, ...]

    method = "score"

    @property
    def id(self) -> str:
        return record_digest(self.record())

    def record(self) -> Record:
        return {"method": self.method, "revision": SCORE_REVISION} | json.loads(json.dumps(asdict(self)))

    @classmethod
    def of_record(cls, record: Mapping[str, object]) -> ScoreTask:
        values = {key: value for key, value in record.items() if key not in ("method", "revision")}
        values["units"], values["classes"] = tuple(values["units"]), tuple(values["classes"])
        return cls(**values)


def record_digest(record: Record) -> str:
    """SHA-256 of a record in canonical JSON, the first 32 hexadecimal digits."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


PartKey = tuple[str, str, int]  # layer, style, sample


@dataclass(frozen=True)
class Plan:
    """The union of what has been asked of one atlas.

    units : (layer, style, sample) → the units asked for, rising. scores : what judges have been asked.
    """

    card: NetworkCard
    styles: Mapping[str, StyleRecord]
    units: Mapping[PartKey, tuple[int, ...]]
    scores: tuple[ScoreTask, ...] = ()

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

    def union(self, other: Plan) -> Plan:
        """This plan and what `other` asks beyond it.

        Raises OutputError if the two are of different networks, or give one style's name different numbers.
        """
        self._agree(other)
        units = {key: tuple(sorted({*self.units.get(key, ()), *other.units.get(key, ())}))
                 for key in {*self.units, *other.units}}  # fmt: skip
        scores = {(task.judge, task.layer, task.style): task for task in (*self.scores, *other.scores)}
        return Plan(self.card, {**self.styles, **other.styles}, units, tuple(scores.values()))

    def with_score(self, task: ScoreTask) -> Plan:
        """This plan with what a judge is asked; an older question about the same pictures goes."""
        key = (task.judge, task.layer, task.style)
        kept = tuple(old for old in self.scores if (old.judge, old.layer, old.style) != key)
        return replace(self, scores=(*kept, task))

    def layers(self) -> tuple[LayerCard, ...]:
        """The layers that have parts, in the order of the network."""
        asked = {layer for layer, _, _ in self.units}
        return tuple(layer for layer in self.card.layers if layer.name in asked)

    def layer_units(self, layer: str) -> tuple[int, ...]:
        """All units asked for of a layer, in any style."""
        parts = (units for (name, _, _), units in self.units.items() if name == layer)
        return tuple(sorted(set().union(*parts)))

    def layer_styles(self, layer: str) -> tuple[str, ...]:
        """Names of the styles asked for of a layer, sorted."""
        return tuple(sorted({style for name, style, _ in self.units if name == layer}))

    def samples(self, layer: str, style: str) -> int:
        """How many samples the style of the layer has at most."""
        return 1 + max(sample for name, of, sample in self.units if (name, of) == (layer, style))

    def tasks(self) -> tuple[AscentTask, ...]:
        """All tasks, in plan order: sample by sample, so that every unit soon has a first picture."""
        order = {layer.name: place for place, layer in enumerate(self.card.layers)}
        keys = sorted(self.units, key=lambda key: (key[2], key[1], order[key[0]]))
        return tuple(
            task
            for layer, style, sample in keys
            for task in self._cut(self.card.layer(layer), self.styles[style], sample)
        )

    def _cut(self, layer: LayerCard, style: StyleRecord, sample: int) -> list[AscentTask]:
        """Blocks of units on a fixed grid, so that a later request for more units keeps whole blocks."""
        device, canvas = style.device, style.ascent.canvas
        macs = max(1, layer.macs[canvas]) * PASSES_PER_STEP * style.style.max_iter
        most = max(1, min(device.max_batch, device.batch_bytes // (PASSES_PER_STEP * layer.bytes[canvas])))
        batches = max(1, int(device.task_seconds * device.macs_per_second / (macs * most)))
        block = min(layer.channels, most * batches)
        tasks, asked = [], self.units[layer.name, style.name, sample]
        for start in range(0, layer.channels, block):
            units = tuple(unit for unit in asked if start <= unit < start + block)
            if units:
                rounds = -(-len(units) // most)
                batch = -(-len(units) // rounds)  # rounds of equal size: hardly an item is padding
                tasks.append(AscentTask(self.card.digest, layer.name, units, sample, style, batch, macs * len(units)))
        return tasks

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
                raise OutputError(
                    f"style {name}: the atlas has it with other numbers ({'; '.join(changes)}); give this variant "
                    f"a name of its own by style.{name}.name=…, or choose another folder by OUT=…"
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
        }

    @classmethod
    def of_record(cls, record: Mapping) -> Plan:
        """The plan of such values."""
        if record.get("version") != 1:
            raise OutputError(f"plan.json: version {record.get('version')}, expected 1; choose another folder by OUT=…")
        return cls(
            card=NetworkCard.of_record(record["network"]),
            styles={name: StyleRecord.of_record(style) for name, style in record["styles"].items()},
            units={
                (layer, style, sample): tuple(unit for start, stop in pairs for unit in range(start, stop))
                for layer, style, sample, pairs in record["units"]
            },
            scores=tuple(ScoreTask.of_record(task) for task in record["scores"]),
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
