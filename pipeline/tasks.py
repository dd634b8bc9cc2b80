"""Tasks: the smallest pieces that are stored and resumed, each with everything that decides its result."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from pipeline.dataset_settings import MemorisationSettings
from pipeline.records import MiningRecord, Record, StyleRecord, record_digest

ASCENT_REVISION = 1  # raise it when the numbers that gradient ascent computes change
SCORE_REVISION = 1
MINE_REVISION = 2
IMAGES_REVISION = 1
BACKPROJECT_REVISION = 1
MEMORISATION_REVISION = 1


class Task(ABC):
    """A piece of work with everything that decides its result; equal ids have equal results."""

    noun = "pictures"  # what `pictures` counts, for those who watch

    @abstractmethod
    def record(self) -> Record:
        """Everything that decides the result, as plain JSON values."""

    @property
    def id(self) -> str:
        return record_digest(self.record())


@dataclass(frozen=True)
class AscentTask(Task):
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
    def words(self) -> str:
        return f"{self.layer}, {self.style.name}, sample {self.sample}"

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
class MineTask(Task):
    """Hits and statistics of all layers over the images start … stop−1 of a dataset. batch : of the forward passes."""

    model: str
    mining: MiningRecord
    layers: tuple[str, ...]
    start: int
    stop: int
    batch: int
    macs: int

    method, noun = "mine", "images"

    @property
    def pictures(self) -> int:
        return self.stop - self.start

    @property
    def seconds(self) -> float:
        return self.macs / self.mining.device.macs_per_second

    @property
    def words(self) -> str:
        return f"images {self.start}-{self.stop - 1}"

    def record(self) -> Record:
        dataset, top = self.mining.dataset, self.mining.top
        return {
            "method": self.method,
            "revision": MINE_REVISION,
            "model": self.model,
            "dataset": dataset.reading() | {"ordered": dataset.ordered, "classes": len(dataset.classes)},
            "layers": list(self.layers),
            "images": [self.start, self.stop],
            "top": top.mined(),
            "device": asdict(self.mining.device),
            "batch": self.batch,
        }


@dataclass(frozen=True)
class ImagesTask(Task):
    """The pixels of some images of a dataset, as the network sees them. numbers : rising."""

    mining: MiningRecord
    image: tuple[int, int]
    ground: tuple[int, int, int]
    numbers: tuple[int, ...]

    method, noun = "images", "images"

    @property
    def pictures(self) -> int:
        return len(self.numbers)

    @property
    def seconds(self) -> float:
        return 0.01 * len(self.numbers)

    @property
    def words(self) -> str:
        return f"images {self.numbers[0]}-{self.numbers[-1]}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": IMAGES_REVISION,
            "dataset": self.mining.dataset.reading(),
            "image": list(self.image),
            "ground": list(self.ground),
            "numbers": list(self.numbers),
        }


@dataclass(frozen=True)
class BackprojectTask(Task):
    """The back-projections of the best images of a block of units of one layer.

    hits : (unit, image, row, column, activation) of each, units rising, best first; image −1 where there is none.
    """

    model: str
    mining: MiningRecord
    ground: tuple[int, int, int]
    layer: str
    units: tuple[int, ...]
    hits: tuple[tuple[int, int, int, int, float], ...]
    rules: tuple[str, ...]
    batch: int
    macs: int

    method, noun = "backproject", "back-projections"

    @property
    def pictures(self) -> int:
        return len(self.hits)

    @property
    def seconds(self) -> float:
        return self.macs / self.mining.device.macs_per_second

    @property
    def words(self) -> str:
        return f"{self.layer}:{self.units[0]}-{self.units[-1]}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": BACKPROJECT_REVISION,
            "model": self.model,
            "dataset": self.mining.dataset.reading(),
            "ground": list(self.ground),
            "layer": self.layer,
            "units": list(self.units),
            "hits": [list(hit) for hit in self.hits],
            "rules": list(self.rules),
            "lrn": self.mining.top.lrn,
            "device": asdict(self.mining.device),
            "batch": self.batch,
        }


@dataclass(frozen=True)
class ScoreTask(Task):
    """What a judge says of all pictures of one style, or search, of the class layer.

    style : its name. pictures : SHA-256 of the pixels. classes : for every unit the judge's class that stands for it,
    or −1. made_by : "ascent" for a style, "dgn" for a search.
    """

    judge: str
    judge_digest: str
    layer: str
    style: str
    pictures: str
    units: tuple[int, ...]
    classes: tuple[int, ...]
    made_by: str = "ascent"

    method = "score"

    @property
    def question(self) -> tuple[str, str, str, str]:
        """Who is asked about which pictures: there is one answer at a time."""
        return self.judge, self.layer, self.made_by, self.style

    def record(self) -> Record:
        values = json.loads(json.dumps(asdict(self)))
        if self.made_by == "ascent":  # as it was before there were others
            del values["made_by"]
        return {"method": self.method, "revision": SCORE_REVISION} | values

    @classmethod
    def of_record(cls, record: Mapping[str, object]) -> ScoreTask:
        values = {key: value for key, value in record.items() if key not in ("method", "revision")}
        values["units"], values["classes"] = tuple(values["units"]), tuple(values["classes"])
        return cls(**values)


@dataclass(frozen=True)
class MemorisationTask(Task):
    """The real images of one class that are nearest to the pictures of its unit by one search.

    unit : of the class layer, and number of the class. window : box of the image that the pictures show. layers : whose
    values are compared beside the pixels. digest : SHA-256 of the pictures. shown : which of the samples there are.
    pixels : uint8 (sample, y, x, rgb), the pictures; they travel with the task; in its id the digest stands for them.
    """

    model: str
    mining: MiningRecord
    settings: MemorisationSettings
    search: str  # for words
    layer: str
    layers: tuple[str, ...]
    unit: int
    window: tuple[int, int, int, int]
    digest: str
    shown: tuple[bool, ...]
    macs: int
    pixels: np.ndarray = field(repr=False, compare=False)

    method = "memorisation"

    @property
    def pictures(self) -> int:
        return sum(self.shown)

    @property
    def seconds(self) -> float:
        return self.macs / self.mining.device.macs_per_second

    @property
    def words(self) -> str:
        return f"{self.layer}:{self.unit}, {self.search}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": MEMORISATION_REVISION,
            "model": self.model,
            "dataset": self.mining.dataset.reading(),
            "device": asdict(self.mining.device),
            "batch": self.mining.top.batch,
            "images": self.settings.images,
            "typical": self.settings.typical,
            "layer": self.layer,
            "layers": list(self.layers),
            "unit": self.unit,
            "window": list(self.window),
            "pictures": self.digest,
            "shown": list(self.shown),
        }
