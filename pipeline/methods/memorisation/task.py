"""The tasks of the memorisation test: the pictures of one class in one run against the real images of the class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.costs import Pass, pass_seconds, read_seconds
from pipeline.dataset_settings import DatasetRecord
from pipeline.methods.memorisation.settings import MemorisationSettings
from pipeline.methods.method import Estimate, Method
from pipeline.plan import Plan
from pipeline.records import Record, to_record
from pipeline.request import Config, Request
from pipeline.settings import DeviceSettings
from pipeline.task import Task
from pipeline.work import Work

MEMORISATION_REVISION = 1  # raise it when the numbers that the test computes change
COMPARED_SECONDS = 2.5e-3  # of an image, to compare it with the pictures in pixels and layers; measured on doodlenet


@dataclass(frozen=True)
class MemorisationTask(Task):
    """The real images of one class that are nearest to the pictures of its unit in one run.

    unit : unit of the class layer, which is the number of the class.
    run : name of the run, for reports.
    layers : layers whose values are compared, besides the pixels.
    window : box of the image that the pictures show.
    digest : SHA-256 of the pictures, which represents them in the task's id.
    shown : which of the samples have a picture.
    batch : images of one forward pass.
    pixels : uint8 (sample, y, x, rgb), the pictures; the task carries them.
    """

    model: str
    dataset: DatasetRecord
    device: DeviceSettings
    batch: int
    settings: MemorisationSettings
    run: str
    layer: str
    layers: tuple[str, ...]
    unit: int
    window: tuple[int, int, int, int]
    digest: str
    shown: tuple[bool, ...]
    seconds: float
    pixels: np.ndarray = field(repr=False, compare=False)

    method = "memorisation"
    given_back = True

    @property
    def count(self) -> int:
        return sum(self.shown)

    @property
    def words(self) -> str:
        return f"{self.layer}:{self.unit}, {self.run}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": MEMORISATION_REVISION,
            "model": self.model,
            "dataset": self.dataset.reading(),
            "device": to_record(self.device),
            "batch": self.batch,
            "images": self.settings.images,
            "typical": self.settings.typical,
            "layer": self.layer,
            "layers": list(self.layers),
            "unit": self.unit,
            "window": list(self.window),
            "pictures": self.digest,
            "shown": list(self.shown),
        }


class Memorisation(Method):
    """The memorisation test (Nguyen et al. 2016, figure S22) of all runs that have pictures of the classes."""

    name, setting, requested = "memorisation", MemorisationSettings, False
    after = ("dgn", "tops")

    def read(self, config: Config) -> MemorisationSettings:
        return config.read(MemorisationSettings, self.name)

    def ask(self, plan: Plan, request: Request) -> Plan:
        asked, mining = request.asked[self.name], _mining(plan)
        wanted = asked.samples and mining is not None and mining.dataset.ordered
        return plan.asking(self.name, [asked]) if wanted else plan

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        if work.results.get("tops") is None:
            return
        stored, tests = self.part("pictures"), []
        for run in tested_runs(work.plan):
            held = stored.held_test(work, run)
            tasks = list(stored.memorisation_tasks(work, run, held))
            yield work.with_images(work.stage(self.name, tasks))
            test = stored.read_test(work, run, tasks, held)
            if test is not None:
                tests.append(test)
                work.images |= {number: image for number, image in test.images.items() if number not in work.images}
        work.results[self.name] = tests

    def estimate(self, plan: Plan, tasks: Sequence[Task]) -> Iterable[Estimate]:
        for run in tested_runs(plan):
            classes = len(plan.parts["dgn", plan.card.class_layer, run, 0])
            yield Estimate(
                layer=plan.card.class_layer,
                name=run,
                units=classes,
                results=0,
                tasks=classes,
                seconds=classes * class_seconds(plan),
                note="and the nearest real images",
            )


MEMORISATION = Memorisation()


def settings_of(plan: Plan) -> MemorisationSettings | None:
    """The plan's settings of the test; None if there is no test."""
    return plan.settings.get(MEMORISATION.name, {}).get(MemorisationSettings.name)


def tested_runs(plan: Plan) -> tuple[str, ...]:
    """The runs whose class pictures are compared with real images, sorted."""
    mining = _mining(plan)
    if settings_of(plan) is None or mining is None or not mining.dataset.ordered:
        return ()
    return tuple(run for run in plan.layer_names("dgn", plan.card.class_layer) if not plan.is_swept("dgn", run))


def compared_layers(plan: Plan) -> tuple[str, ...]:
    """The layers whose values are compared: convolutional and fully connected ones, and the class layer."""
    card = plan.card
    return tuple(
        layer.name for layer in card.layers if layer.has_units and (layer.shown or layer.name == card.class_layer)
    )


def class_seconds(plan: Plan) -> float:
    """Estimated time of the test of one class, assuming that all classes have equally many images."""
    mining, settings = _mining(plan), settings_of(plan)
    dataset = mining.dataset
    images = min(settings.images, max(1, dataset.images // len(dataset.classes)))
    reading = COMPARED_SECONDS + read_seconds(dataset.kind, again=True)
    return (pass_seconds(mining.device.kind, Pass.whole(plan.card)) + reading) * (images + settings.samples)


def _mining(plan: Plan):
    """The plan's mining record; the test reads the same images on the same device."""
    return plan.settings.get("tops", {}).get("dataset")
