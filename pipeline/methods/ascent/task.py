"""The tasks of gradient ascent: a block of units of one layer in one style; of few units, several samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.costs import PASSES_PER_STEP, Pass, climb_seconds
from pipeline.errors import SettingsError, UnitError
from pipeline.methods.ascent.settings import AscentSettings, StyleRecord, StyleSettings, check_distinct
from pipeline.methods.method import Estimate, Method
from pipeline.plan import Plan
from pipeline.records import Record
from pipeline.request import Config, Request, some_names
from pipeline.settings import check_choice
from pipeline.sweep import Swept
from pipeline.task import DEFLATED_SHARE, Sizes, Task, packed, sample_record, sample_words
from pipeline.units import Units, select_units
from pipeline.work import Work

ASCENT_REVISION = 3  # raise it when the numbers that gradient ascent computes change


@dataclass(frozen=True)
class AscentTask(Task):
    """The pictures of a block of units of one layer in one style.

    samples : one, or several of a block that is smaller than a micro-batch.
    model : digest of the network.
    batch : items of a micro-batch.
    precision : of the climbs, "float32" or "bf16".
    """

    model: str
    layer: str
    units: tuple[int, ...]
    samples: tuple[int, ...]
    style: StyleRecord
    batch: int
    seconds: float
    precision: str = "float32"
    shown_first: bool = field(default=False, compare=False)

    method = "ascent"
    given_back = True

    @property
    def count(self) -> int:
        return len(self.units) * len(self.samples)

    @property
    def pictures(self) -> list[tuple[int, int]]:
        """The unit and sample of each picture, in the order of the result."""
        return [(unit, sample) for sample in self.samples for unit in self.units]

    @property
    def words(self) -> str:
        return f"{self.layer}, {self.style.name}, {sample_words(self.samples)}"

    def record(self) -> Record:
        return {
            "method": self.method,
            "revision": ASCENT_REVISION,
            "model": self.model,
            "layer": self.layer,
            "units": list(self.units),
            "sample": sample_record(self.samples),
            "style": self.style.record(),
            "batch": self.batch,
            **({} if self.precision == "float32" else {"precision": self.precision}),
        }


class Ascent(Method):
    """Regularized gradient ascent (Yosinski et al. 2015)."""

    name, setting, numbers, makes_pictures = "ascent", StyleRecord, StyleSettings, True
    after = ()

    def read(self, config: Config) -> tuple[StyleRecord, ...]:
        shared, styles = config.read(AscentSettings, "ascent"), []
        for name in some_names(config.values, "styles", "low_frequency"):
            check_choice("styles", name, tuple(config.values["style"]))
            style = config.read(StyleSettings, f"style.{name}")
            styles.append(StyleRecord(style, shared, config.seed, config.device, precision=config.precision))
        check_distinct(tuple(styles))
        _style_units(config)
        return tuple(styles)

    def ask(self, plan: Plan, request: Request) -> Plan:
        """The plan with each style for the units that it is meant for; all of them for all if none would be left."""
        only, asked, samples = _style_units(request.config), plan, request.config.samples
        options = some_names(request.config.values, "styles", "low_frequency")
        named = list(zip(options, request.asked[self.name], strict=True))
        for option, style in reversed(named):  # the style that is asked for last leads
            units = request.units
            if option in only:
                chosen = _selected(request, option, only[option])
                units = {layer: tuple(sorted({*units[layer]} & {*chosen[layer]})) for layer in units if layer in chosen}
            if any(units.values()):
                asked = asked.asking(self.name, [style], units, samples)
        return plan.asking(self.name, request.asked[self.name], request.units, samples) if asked is plan else asked

    def swept(self, base: str, iterations: int, settings: Sequence[Swept], request: Request) -> tuple[StyleRecord, ...]:
        config = request.config
        check_choice("sweep.base", base, tuple(config.values["style"]))
        shared = config.read(AscentSettings, "ascent")
        style = replace(config.read(StyleSettings, f"style.{base}"), max_iter=iterations)
        return tuple(
            StyleRecord(
                replace(style, name=one.name, **one.changes),
                shared,
                config.seed,
                config.device,
                precision=config.precision,
            )
            for one in settings
        )

    def stages(self, work: Work) -> Iterator[Sequence[Task]]:
        yield work.stage(self.name, ascent_tasks(work.left))

    def estimate(self, plan: Plan, tasks: Sequence[AscentTask]) -> Iterable[Estimate]:
        for layer in plan.layers():
            styles = plan.layer_names(self.name, layer.name)
            lines = [(name, [name]) for name in styles if not plan.is_swept(self.name, name)]
            swept = [name for name in styles if plan.is_swept(self.name, name)]
            for title, group in [*lines, *([(f"sweep of {len(swept)}", swept)] if swept else [])]:
                chosen = [task for task in tasks if task.layer == layer.name and task.style.name in group]
                size = layer.picture(plan.settings[self.name][group[0]].ascent.canvas, plan.card.image)
                pictures = sum(task.count for task in chosen)
                yield Estimate(
                    layer=layer.name,
                    name=title,
                    units=len({unit for task in chosen for unit in task.units}),
                    results=pictures,
                    tasks=len(chosen),
                    seconds=sum(task.seconds for task in chosen),
                    size=size,
                    bytes=int(pictures * size[0] * size[1] * 3 * DEFLATED_SHARE),
                )


def _selected(request: Request, option: str, addresses: Sequence[str]) -> Units:
    """The units that get a style. Raises UnitError, with the setting, for an address that names none."""
    try:
        return select_units(request.card, addresses)
    except UnitError as error:
        raise UnitError(f"style_units.{option}: {error}") from None


def _style_units(config: Config) -> dict[str, tuple[str, ...]]:
    """Style → the addresses of the units that alone get it. Raises SettingsError for anything else."""
    only = config.values.get("style_units") or {}  # a sweep has none
    if not isinstance(only, Mapping):
        raise SettingsError(f"style_units: got {only!r}, expected styles and addresses, as +style_units.STYLE=[fc8]")
    for name in only:
        check_choice("style_units", name, tuple(config.values["style"]))
    return {name: some_names({f"style_units.{name}": only[name]}, f"style_units.{name}", "fc8") for name in only}


def ascent_tasks(plan: Plan) -> tuple[AscentTask, ...]:
    """All tasks of gradient ascent, sample by sample, so that every unit has a first picture early.

    Units are cut on a fixed grid, so that complete blocks stay valid when a later request adds units or samples.
    """
    tasks = []
    for (name, style), asked in plan.method_samples("ascent").items():
        layer, record = plan.card.layer(name), plan.settings["ascent"][style]
        one = Pass.of(layer, record.ascent.canvas, plan.card)
        macs, precision = PASSES_PER_STEP * one.macs * record.style.max_iter, record.climbs(layer)
        sizes = Sizes.of(record.device, macs, layer.bytes[record.ascent.canvas], precision)
        batch = sizes.batch_of(layer.channels)
        for units, samples in packed(asked, min(layer.channels, sizes.block), batch):
            seconds = climb_seconds(
                record.device.kind,
                precision,
                one,
                items=len(units) * len(samples),
                batch=batch,
                iterations=record.style.max_iter,
            )
            first = name == plan.card.class_layer and 0 in samples
            tasks.append(AscentTask(plan.card.digest, name, units, samples, record, batch, seconds, precision, first))
    return tuple(sorted(tasks, key=lambda task: task.samples[0]))


ASCENT = Ascent()
