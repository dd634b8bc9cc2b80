"""What decides results, as values that a plan and its tasks carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline.dataset_settings import TopSettings
from pipeline.settings import AscentSettings, DeviceSettings, StyleSettings

Record = dict[str, object]  # plain JSON values


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
class DatasetRecord:
    """A dataset as results depend on it. classes : names, in the order of its class numbers; images : their count.

    ordered : whether the classes are the class layer's units, in their order.
    """

    name: str
    kind: str
    digest: str
    images: int
    classes: tuple[str, ...]
    ordered: bool
    preprocess: str
    reduced_decoding: bool
    bad_share: float
    block: int

    def reading(self) -> Record:
        """What decides the pixels that the network sees of an image."""
        return {name: getattr(self, name) for name in ("digest", "preprocess", "reduced_decoding")}


@dataclass(frozen=True)
class MiningRecord:
    """All that decides the dataset side of an atlas."""

    dataset: DatasetRecord
    top: TopSettings
    device: DeviceSettings

    def record(self) -> Record:
        """Plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def of_record(cls, record: Mapping[str, Mapping]) -> MiningRecord:
        dataset, top = dict(record["dataset"]), dict(record["top"])
        dataset["classes"] = tuple(dataset["classes"])
        for name in ("rules", "whole_image_rules"):
            top[name] = tuple(top[name])
        return cls(DatasetRecord(**dataset), TopSettings(**top), DeviceSettings(**record["device"]))


def record_digest(record: Record) -> str:
    """SHA-256 of a record in canonical JSON, the first 32 hexadecimal digits."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
